"""Taking a version out of the catalog, and what is noted of its files after publication."""

from __future__ import annotations

from registry import records, search
from registry.catalog import publishing, reading, reserving
from registry.errors import ConflictError
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

_TRIES = 16


def remember_files(row: VersionRow, stored: list[StoredFile]) -> None:
    """Writes down what was found out of files since they were published: the CRC-32 of those that had none, the ETag of
    those that a restore has copied. Nothing else of a published file ever changes."""
    if not stored:
        return
    by_path = {file.path: file for file in stored}
    inline = [by_path.get(file.path, file).pack() for file in reading.inline_files(row)]
    same = (VersionRow.status == "ready") & (VersionRow.upload_id == row.upload_id)
    if not records.update_if(row, [VersionRow.files.set(inline)], same) or len(inline) == row.file_count:
        return
    for manifest in reading.manifest_rows(row, first=min(by_path), last=max(by_path)):
        files = [StoredFile.unpack(packed) for packed in manifest.files]
        if any(by_path.get(file.path, file) != file for file in files):
            packed = [by_path.get(file.path, file).pack() for file in files]
            records.update_if(manifest, [ManifestRow.files.set(packed)], ManifestRow.pk.exists())


def prepare_delete(row: VersionRow) -> None:
    """Before a version turns invisible: the hint for the one that will be the newest then, as the delete may take long
    to come to it."""
    if row.active:
        publishing.prepare_latest(row)


def begin_delete(row: VersionRow, *, due: float, for_good: bool = False) -> WorkRow | None:
    """The version turns invisible, and what is left to do is on record, also whether the objects' earlier versions go
    (`for_good`). None if it was no longer there."""
    work = WorkRow(
        *records.work_key(row.upload_id, due, "delete"),
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
    """What is on record as done for an upload's files, or begun."""
    _delete_rows(f"A#{upload_id}", Row.sk.startswith("R#"))
    _delete_rows(f"A#{upload_id}", Row.sk.between("T#", "U~"))


def _delete_rows(pk: str, condition: records.Condition | None = None) -> None:
    found = Row.query(pk, condition, consistent_read=True, attributes_to_get=["pk", "sk"])
    records.delete_all(Row(row.pk, row.sk) for row in found)
