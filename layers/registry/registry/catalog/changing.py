"""Changing what is said of a version, and taking a version out of the catalog."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from registry import records, search
from registry.catalog import publishing, reading, reserving
from registry.errors import ConflictError, InvalidError, NotFoundError, PreconditionFailedError
from registry.files import StoredFile
from registry.records import (
    DigestRow,
    ManifestRow,
    Row,
    Transaction,
    UploadRow,
    VersionRow,
    WorkRow,
)
from registry.schemas import VersionFields, invalid_from

_TRIES = 16
_CLEARED: dict[str, Any] = {"framework": "other", "model_type": "other"}


def update(
    *, user_id: str, model_id: str, version: str | None, changes: VersionFields, if_match: str | None
) -> VersionRow:
    """Replaces the given values, null clearing them; tried again on whatever another update left. The new row."""
    given = changes.model_fields_set
    for _ in range(_TRIES):
        row = reading.get_version(user_id, model_id, version)
        if if_match not in (None, "*", reading.etag_of(row)):
            raise PreconditionFailedError(
                f"The version has changed: its ETag is now {reading.etag_of(row)}", code="etag_mismatch"
            )
        if _update_once(row, changes, given):
            return row
    raise ConflictError("Too many updates at once: try again", code="busy")


def _update_once(row: VersionRow, changes: VersionFields, given: set[str]) -> bool:
    old = reading.fields_of(row)
    new = _merge(old, changes, given)
    was_active = bool(row.active)
    active = changes.is_active is not False if "is_active" in given else was_active  # null: as at first
    primary = _primary(row, changes.primary_file_path) if "primary_file_path" in given else row.primary
    before, after = search.version_terms(row.model_id, old), search.version_terms(row.model_id, new)
    rev = int(row.rev) + 1
    added, removed = after - before, before - after
    if active != was_active:
        latest = {search.LATEST}
        added, removed = after | (latest if active else set()), before | (latest if was_active else set())
    if was_active and not active:
        publishing.prepare_latest(row)
    search.add(row, added, rev=rev, active=active)
    actions = [
        VersionRow.fields.set(new.model_dump(exclude_none=True)),
        VersionRow.active.set(active),
        VersionRow.updated.set(records.now_text()),
        VersionRow.rev.set(rev),
        VersionRow.primary.set(primary) if primary else VersionRow.primary.remove(),
    ]
    same = (VersionRow.rev == int(row.rev)) & (VersionRow.status == "ready") & (VersionRow.upload_id == row.upload_id)
    if not records.update_if(row, actions, same):
        return False
    search.remove(row, removed, rev=rev, active=was_active)
    if active != was_active:
        publishing.ensure_latest(row.user_id, row.model_id)
    return True


def _merge(old: VersionFields, changes: VersionFields, given: set[str]) -> VersionFields:
    values = {name: getattr(changes, name) for name in given - {"is_active", "primary_file_path"}}
    for name, value in _CLEARED.items():
        if name in values and values[name] is None:
            values[name] = value
    try:
        return VersionFields.model_validate({**old.model_dump(), **values})
    except ValidationError as error:
        raise invalid_from(error) from None


def _primary(row: VersionRow, wanted: str | None) -> str | None:
    if wanted is None:
        return None
    try:
        return reading.find_file(row, wanted.removeprefix(row.prefix)).path
    except NotFoundError:
        raise InvalidError(
            f"primary_file_path must be one of the version's files, not {wanted[:200]!r}", code="no_such_file"
        ) from None


def remember_crcs(row: VersionRow, stored: list[StoredFile]) -> None:
    """Writes down the CRC-32 of files that had none, so that they are read for it only once. Nothing else of a
    published file ever changes."""
    by_path = {file.path: file for file in stored}
    inline = [by_path.get(file.path, file).pack() for file in reading.inline_files(row)]
    same = (VersionRow.status == "ready") & (VersionRow.upload_id == row.upload_id)
    if not records.update_if(row, [VersionRow.files.set(inline)], same) or len(inline) == row.file_count:
        return
    for manifest in ManifestRow.query(f"F#{row.upload_id}", consistent_read=True):
        files = [StoredFile.unpack(packed) for packed in manifest.files]
        if any(file.crc32 is None and file.path in by_path for file in files):
            packed = [by_path.get(file.path, file).pack() for file in files]
            records.update_if(manifest, [ManifestRow.files.set(packed)], ManifestRow.pk.exists())


def begin_delete(row: VersionRow, *, due: float, for_good: bool = False) -> WorkRow | None:
    """The version turns invisible, and what is left to do is on record, also whether the objects' earlier versions go
    (`for_good`). None if it was no longer there."""
    work = WorkRow(
        *records.work_key(row.upload_id, due),
        kind="delete",
        upload_id=row.upload_id,
        user_id=row.user_id,
        model_id=row.model_id,
        version=row.version,
        prefix=row.prefix,
        for_good=for_good or None,
    )
    ready = (VersionRow.status == "ready") & (VersionRow.upload_id == row.upload_id)
    for _ in range(_TRIES):
        if Transaction().update(row, [VersionRow.status.set("deleting")], ready).save(work).commit():
            return work
        now = VersionRow.find(row.pk, row.sk)
        if now is None or now.status != "ready" or now.upload_id != row.upload_id:
            return None
    raise ConflictError("The version is busy: try again", code="busy")


def finish_delete(work: WorkRow) -> None:
    """After the objects are gone: hints, files and records go, and the name is free. May be done twice."""
    row = VersionRow.find(*records.version_key(work.user_id, work.model_id, work.version))
    if row is not None and row.upload_id == work.upload_id and row.status == "deleting":
        digests = {file.sha256 for file in reading.iter_files(row)}
        records.delete_all(DigestRow(records.digest_pk(row.user_id, sha256), row.upload_id) for sha256 in digests)
        terms = search.version_terms(row.model_id, reading.fields_of(row)) | {search.LATEST}
        records.delete_all(search.make_postings(row, terms, rev=0, active=bool(row.active)))
        search.remove_words(row.user_id, {term[2:] for term in terms if term.startswith("w:")})
        publishing.ensure_latest(row.user_id, row.model_id)
        delete_attempt(work.upload_id)
        same = (VersionRow.upload_id == row.upload_id) & (VersionRow.status == "deleting")
        records.save_if(reserving.tombstone(row), same)
    work.delete()


def delete_attempt(upload_id: str) -> None:
    """Every row of an upload and of its version's files."""
    delete_files(upload_id)
    UploadRow(f"A#{upload_id}", "#").delete()


def delete_files(upload_id: str) -> None:
    """The rows of an upload's files, announced, done and published; not the upload's own."""
    own = f"A#{upload_id}"
    _delete_rows(own, Row.sk.startswith("S#"))
    _delete_rows(f"F#{upload_id}")
    delete_results(upload_id)
    Row(own, "P").delete()


def delete_results(upload_id: str) -> None:
    """What is on record as done for an upload's files."""
    _delete_rows(f"A#{upload_id}", Row.sk.startswith("R#"))


def _delete_rows(pk: str, condition: records.Condition | None = None) -> None:
    found = Row.query(pk, condition, consistent_read=True, attributes_to_get=["pk", "sk"])
    records.delete_all(Row(row.pk, row.sk) for row in found)
