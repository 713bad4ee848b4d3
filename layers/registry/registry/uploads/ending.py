"""How an upload ends, well or not. Each step may be done twice, and is: by the sweep, if a function dies here."""

from __future__ import annotations

import time

from registry import naming, records
from registry.catalog import changing, publishing, reading, reserving
from registry.files import StoredFile
from registry.observability import get_logger
from registry.records import UploadRow, VersionRow, WorkRow
from registry.settings import get_settings
from registry.storage import multiparts, objects
from registry.uploads import specs
from registry.uploads.leases import OPEN

_FORMS = ("form", "folder")


def fail(upload: UploadRow, *, code: str, detail: str, status: str = "failed") -> bool:
    """Ends an open upload without a version; nothing is left of it but its own row. False if it had ended already."""
    ended = reserving.end_attempt(upload, status=status, code=code, detail=detail)
    if ended:
        get_logger().info("upload ended", upload_id=upload.upload_id, status=status, code=code)
        clean_up(upload)
    return ended


def end_if_dead(upload: UploadRow) -> bool:
    """Ends an upload by form whose lease has run out before all its bytes were here: nobody can send the rest."""
    if upload.kind not in _FORMS or upload.status not in OPEN or upload.lease_until >= time.time():
        return False
    if upload.kind == "folder":
        key = naming.inbox_key(upload.user_id, upload.upload_id, naming.ARCHIVE_SLOT)
        if objects.find_object(key) is not None:
            return False
    return fail(upload, code="interrupted", detail="The upload was interrupted before all of it was stored")


def clean_up(upload: UploadRow, *, inbox_only: bool = False) -> None:
    """Takes away all that a failed or aborted upload wrote, and has it looked at once more when no worker of it can
    live and no URL of it can be valid. `inbox_only`: what lies where its files would lie is not its own."""
    # By name: not every store lists what is begun below a prefix (MinIO does not).
    for slot, multipart in specs.iter_multiparts(upload):
        multiparts.abort_multipart(naming.inbox_key(upload.user_id, upload.upload_id, slot), multipart)
    abort_members(upload)
    if inbox_only:
        _empty_inbox(upload.user_id, upload.upload_id)
    else:
        _delete_attempt(upload.user_id, upload.upload_id, upload.prefix)
    changing.delete_files(upload.upload_id)
    reschedule(upload, kind="purge", due=time.time() + _purge_after())


def abort_members(upload: UploadRow) -> None:
    """Throws away what is there of members that nobody came to the end of."""
    for row in specs.find_begun(upload).values():
        if row.key and row.multipart:
            multiparts.abort_multipart(row.key, row.multipart)


def finish(upload: UploadRow, version: VersionRow, stored: list[StoredFile]) -> None:
    """After publication: remembers where the bytes lie and empties the inbox. Clients still hold URLs into it, so
    that it is emptied once more when those have expired."""
    publishing.remember_digests(version, stored)
    if upload.kind == "form":
        if any("-" in file.etag for file in stored):  # it went in parts, perhaps by the second multipart that was begun
            multiparts.abort_prefix(version.prefix)
        drop_work(upload)
    else:
        _leave_inbox(upload)


def finish_again(upload: UploadRow) -> None:
    """The same for a worker that died between publication and this."""
    version = VersionRow.find(*records.version_key(upload.user_id, upload.model_id, upload.version))
    if version is not None and version.upload_id == upload.upload_id and version.status == "ready":
        finish(upload, version, list(reading.iter_files(version)))
    elif upload.kind == "form":
        drop_work(upload)
    else:
        _leave_inbox(upload)


def purge(work: WorkRow) -> None:
    """The last look at an attempt: what still lies there is nobody's, unless its version was published."""
    version = VersionRow.find(*records.version_key(work.user_id, work.model_id, work.version))
    if version is not None and version.upload_id == work.upload_id and version.status != "gone":
        _empty_inbox(work.user_id, work.upload_id)
        multiparts.abort_prefix(work.prefix)  # of a worker that died: all that the version has is an object by now
    elif reserving.prefix_is_anothers(work):
        _empty_inbox(work.user_id, work.upload_id)
    else:
        _delete_attempt(work.user_id, work.upload_id, work.prefix)
    work.delete()


def _purge_after() -> int:
    return max(get_settings().purge_after_seconds, get_settings().url_expires_seconds)


def _empty_inbox(user_id: str, upload_id: str) -> None:
    inbox = naming.inbox_prefix(user_id, upload_id)
    multiparts.abort_prefix(inbox)
    objects.delete_prefix(inbox)


def _leave_inbox(upload: UploadRow) -> None:
    _empty_inbox(upload.user_id, upload.upload_id)
    reschedule(upload, kind="purge", due=time.time() + _purge_after())


def _delete_attempt(user_id: str, upload_id: str, prefix: str) -> None:
    _empty_inbox(user_id, upload_id)
    multiparts.abort_prefix(prefix)
    objects.delete_prefix(prefix)


def reschedule(upload: UploadRow, *, kind: str, due: float) -> None:
    """Replaces an upload's work row; the new one first, so that there always is one."""
    new = reserving.work_row(upload, kind=kind, due=due)
    if new.sk == upload.due:
        new.save()
        return
    new.save()
    drop_work(upload)
    records.update_if(UploadRow(upload.pk, upload.sk), [UploadRow.due.set(new.sk)], UploadRow.pk.exists())
    upload.due = new.sk


def drop_work(upload: UploadRow) -> None:
    """Removes an upload's work row: nothing is left to do."""
    if upload.due:
        pk, _ = records.work_key(upload.upload_id, 0)
        WorkRow(pk, upload.due).delete()
