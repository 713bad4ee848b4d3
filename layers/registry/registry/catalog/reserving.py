"""Who gets a version's name: one conditional transaction decides, nobody looks first."""

from __future__ import annotations

import re
import time

from registry import naming, records
from registry.errors import ConflictError, UnavailableError
from registry.records import IdempotencyRow, ModelRow, OpenRow, Transaction, UploadRow, VersionRow, WorkRow
from registry.settings import get_settings

_NUMBERED = re.compile(r"v([1-9][0-9]{0,14})")
_TRIES = 8


def note_highest(user_id: str, model_id: str, version: str) -> None:
    """Remembers that a version vN was asked for by name, so that the next one without a name comes after it."""
    match = _NUMBERED.fullmatch(version)
    if match:
        number = int(match[1])
        records.update_if(
            ModelRow(f"M#{user_id}#{model_id}", "#"),
            [ModelRow.highest.set(number)],
            ModelRow.highest.does_not_exist() | (ModelRow.highest < number),
        )


def next_version(user_id: str, model_id: str) -> str:
    """A vN that was never used: one above the highest ever reserved."""
    row = ModelRow(f"M#{user_id}#{model_id}", "#")
    row.update(actions=[ModelRow.highest.add(1)])
    return f"v{int(row.highest)}"


def work_row(upload: UploadRow, *, kind: str, due: float) -> WorkRow:
    """What the sweep has to look at, and when (seconds since 1970)."""
    return WorkRow(
        *records.work_key(upload.upload_id, due),
        kind=kind,
        upload_id=upload.upload_id,
        user_id=upload.user_id,
        model_id=upload.model_id,
        version=upload.version,
        prefix=upload.prefix,
    )


def reserve(upload: UploadRow, *, due: float, idempotency: IdempotencyRow | None = None) -> bool:
    """Takes the version's name for an upload and writes the upload, its work row and, for direct ones, its place
    among the open uploads: all or nothing. Sets `upload.prefix`. False if the Idempotency-Key was used before.
    ConflictError if the name is taken: `version_exists`, `version_uploading` or `version_deleting`."""
    key = records.version_key(upload.user_id, upload.model_id, upload.version)
    before: VersionRow | None = None
    for _ in range(_TRIES):
        upload.prefix = _prefix(upload, before)
        work = work_row(upload, kind="upload", due=due)
        upload.due = work.sk
        row = VersionRow(
            *key,
            status="uploading",
            user_id=upload.user_id,
            model_id=upload.model_id,
            version=upload.version,
            upload_id=upload.upload_id,
            prefix=upload.prefix,
        )
        free = VersionRow.pk.does_not_exist()
        if before is not None:
            free = (VersionRow.status == "gone") & (VersionRow.upload_id == before.upload_id)
        transaction = Transaction().save(row, free).save(upload, UploadRow.pk.does_not_exist()).save(work)
        if upload.kind in ("archive", "files"):
            transaction.save(OpenRow(f"O#{upload.user_id}", upload.upload_id, expires=upload.expires))
        if idempotency is not None:
            unused = IdempotencyRow.pk.does_not_exist() | (IdempotencyRow.expires < int(time.time()))
            transaction.save(idempotency, unused)
        if transaction.commit():
            return True
        used = IdempotencyRow.find(idempotency.pk) if idempotency is not None else None
        if used is not None and (used.expires or 0) >= time.time():
            return False
        before = VersionRow.find(*key)
        if before is not None and before.status != "gone":
            raise _conflict(before, upload.principal)
    raise UnavailableError("many uploads of this version begin at once: try again", code="busy")


def _prefix(upload: UploadRow, before: VersionRow | None) -> str:
    """A name that was used lately lives apart from what a late worker of the earlier attempt may still write."""
    lately = before is not None and (before.expires is None or before.expires > time.time())
    attempt = upload.upload_id if lately else None
    return naming.version_prefix(upload.user_id, upload.model_id, upload.version, attempt=attempt)


def _conflict(row: VersionRow, principal: str) -> ConflictError:
    if row.status == "deleting":
        return ConflictError("This version is being deleted: try again in a moment", code="version_deleting")
    if row.status == "ready":
        return ConflictError("Model with this ID and version already exists", code="version_exists")
    holder = UploadRow.find(f"A#{row.upload_id}")
    own = {"upload_id": row.upload_id} if holder is not None and holder.principal == principal else {}
    return ConflictError(
        "Model with this ID and version already exists",
        code="version_uploading",
        **own,
    )


def tombstone(row: VersionRow) -> VersionRow:
    """What is left of an attempt: for a while its prefix is not used again."""
    return VersionRow(
        row.pk,
        row.sk,
        status="gone",
        user_id=row.user_id,
        model_id=row.model_id,
        version=row.version,
        upload_id=row.upload_id,
        prefix=row.prefix,
        expires=int(time.time()) + get_settings().tombstone_expires_seconds,
    )


def prefix_is_anothers(work: WorkRow) -> bool:
    """Whether a later attempt lives under this prefix by now, as the tombstone that kept it apart has expired: work
    that was left undone for so long must not delete it."""
    row = VersionRow.find(*records.version_key(work.user_id, work.model_id, work.version))
    if row is None or row.status == "gone":
        return False
    return row.upload_id != work.upload_id and row.prefix == work.prefix


def end_attempt(upload: UploadRow, *, status: str, code: str, detail: str) -> bool:
    """An open upload fails or is aborted: its version's name is free again and whoever works on it has lost its
    lease. False if it was no longer open."""
    version = VersionRow(
        *records.version_key(upload.user_id, upload.model_id, upload.version),
        status="gone",
        user_id=upload.user_id,
        model_id=upload.model_id,
        version=upload.version,
        upload_id=upload.upload_id,
        prefix=upload.prefix,
    )
    actions = [
        UploadRow.status.set(status),
        UploadRow.code.set(code),
        UploadRow.detail.set(detail[:1000]),
        UploadRow.fence.add(1),
        UploadRow.lease_until.set(0),
        UploadRow.expires.set(int(upload.expires_at)),
    ]
    ended = (
        Transaction()
        .save(tombstone(version), (VersionRow.upload_id == upload.upload_id) & (VersionRow.status == "uploading"))
        .update(upload, actions, UploadRow.status.is_in("uploading", "processing"))
        .delete(OpenRow(f"O#{upload.user_id}", upload.upload_id))
    )
    for _ in range(_TRIES):  # a worker that renews its lease just now is a conflict, not a refusal
        if ended.commit():
            return True
        now = UploadRow.find(upload.pk)
        if now is None or now.status not in ("uploading", "processing"):
            return False
    raise UnavailableError("the upload is busy: try again", code="busy")
