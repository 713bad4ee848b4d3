"""The sweep: finds lost events, dead workers, abandoned uploads and half-done deletes, by work rows that are due."""

from __future__ import annotations

import time

from registry import deleting, exports, records
from registry.catalog import reserving
from registry.deadlines import Deadline
from registry.observability import get_logger, write_work_age
from registry.records import UploadRow, WorkRow
from registry.settings import get_settings
from registry.uploads import ending, waking
from registry.uploads.leases import OPEN

_ROWS = 200  # of a shard, a sweep; what is left is due still
_MAX_RECHECK_SECONDS = 3_600


def sweep(deadline: Deadline, *, everything: bool = False) -> int:
    """Looks at all that is due; `everything`: at all open uploads, due or not, as after a crash. How many rows. One
    that fails stays due and does not keep the others from being looked at; so does what there was no time for."""
    looked_at, oldest = 0, 0.0
    for shard in range(records.WORK_SHARDS):
        due = None if everything else WorkRow.sk < f"{int(time.time()):012d}"
        for work in WorkRow.query(f"WK#{shard}", due, limit=None if everything else _ROWS, consistent_read=True):
            overdue = time.time() - int(work.sk.split("#")[0])
            oldest = max(oldest, overdue)
            if deadline.passed:
                break  # the other shards are read all the same, for their oldest row
            if everything and work.kind in ("purge", "archive") and overdue < 0:
                continue
            looked_at += 1
            try:
                _look_at(work, deadline)
            except Exception:  # noqa: BLE001  # it stays due, and the log says why
                get_logger().exception("sweep failed", kind=work.kind, upload_id=work.upload_id)
    write_work_age(oldest)
    return looked_at


def _look_at(work: WorkRow, deadline: Deadline) -> None:
    if work.kind == "delete":
        deleting.finish_delete(work, deadline)
    elif work.kind == "purge":
        ending.purge(work)
    elif work.kind == "archive":
        exports.drop(work)
    else:
        upload = UploadRow.find(f"A#{work.upload_id}")
        if upload is None:
            ending.purge(work)
        else:
            _look_at_upload(upload, work)


def _look_at_upload(upload: UploadRow, work: WorkRow) -> None:
    if upload.due != work.sk:  # a rescheduling that died half done: this row is the one to go on with
        work_is_old = upload.due is not None and WorkRow.find(work.pk, upload.due) is not None
        if work_is_old:
            work.delete()
            return
        upload.due = work.sk
    if upload.status == "ready":
        ending.finish_again(upload)
    elif upload.status not in OPEN:
        ending.clean_up(upload, inbox_only=reserving.prefix_is_anothers(work))
    elif upload.expires_at < time.time():
        ending.fail(upload, code="expired", detail="The upload was not completed in time", status="aborted")
    elif not ending.end_if_dead(upload):
        ending.reschedule(upload, kind="upload", due=_next_look(upload))
        if upload.lease_until < time.time() and waking.wake(upload.upload_id) is not None:
            waking.start_worker(upload.upload_id)


def _next_look(upload: UploadRow) -> float:
    """Soon for a young upload, whose event may be lost, and for one that is worked on; seldom for an old one, whose
    client sleeps."""
    now = time.time()
    if upload.lease_until >= now:
        return float(upload.lease_until) + 1
    age = now - int(upload.upload_id[:12], 16) / 1000
    return now + min(_MAX_RECHECK_SECONDS, max(get_settings().recheck_seconds, age / 4))
