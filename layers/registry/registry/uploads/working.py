"""The worker: whatever woke an upload, it finds out what there is to do, and does it under the upload's lease."""

from __future__ import annotations

import time

from registry import records, tasks
from registry.deadlines import Deadline
from registry.observability import get_logger
from registry.records import UploadRow
from registry.settings import get_settings
from registry.uploads import ending, promoting, specs, unpacking
from registry.uploads.leases import OPEN, Lease, LeaseLostError

_HOPS_WITHOUT_PROGRESS = 5


def wake(upload_id: str) -> UploadRow | None:
    """Counts one more reason to look at an upload, so that whoever works on it looks again. The upload, or None if it
    has ended."""
    row = UploadRow(f"A#{upload_id}", "#")
    return row if records.update_if(row, [UploadRow.wake.add(1)], UploadRow.status.is_in(*OPEN)) else None


def start_worker(upload_id: str) -> None:
    """Has a worker look at an upload."""
    tasks.start_function("receive_upload", {"upload_id": upload_id})


def work(upload_id: str, deadline: Deadline) -> bool:
    """Works on an upload until nothing is left to do, or the time is over: then a successor is started. Does
    nothing if somebody else holds the lease: that one sees the wake. Whether it had the lease."""
    lease = Lease.acquire(upload_id)
    if lease is None:
        return False
    with lease:
        work_under(lease, deadline)
    return True


def watch(upload: UploadRow) -> None:
    """Has the sweep look as soon as the lease has run out for certain that somebody holds now: if that one is dead, the
    event that found it held was its retry, and the last there is."""
    lease = get_settings().lease_seconds
    due = int(time.time()) + lease + 1
    if upload.due is not None and int(upload.due.split("#")[0]) > due + lease:
        ending.reschedule(upload, kind="upload", due=due)


def work_under(lease: Lease, deadline: Deadline) -> None:
    """The same under a lease that is held already."""
    try:
        while True:
            before = _progress(lease.upload)
            finished = _step(lease, deadline)
            if finished:
                return
            if deadline.passed:
                _hand_over(lease, moved=_progress(lease.upload) != before)
                return
            if lease.release():
                return
    except Exception as error:
        # An abort takes away what a worker stands on: whatever it stumbles over then is no fault.
        if not isinstance(error, LeaseLostError) and not lease.was_taken():
            raise
        get_logger().info("lease lost", upload_id=lease.upload.upload_id)


def _step(lease: Lease, deadline: Deadline) -> bool:
    """Does what there is to do; whether the upload has ended by it."""
    if lease.upload.kind in ("archive", "folder"):
        return unpacking.unpack(lease, deadline)
    return promoting.promote(lease, deadline)


def _progress(upload: UploadRow) -> int:
    if upload.kind in ("archive", "folder"):
        return unpacking.count_done(upload)
    return specs.progress(upload)[0]


def _hand_over(lease: Lease, *, moved: bool) -> None:
    """Out of time: a successor goes on. One that never gets anything done is not started for ever."""
    upload = lease.upload
    hops = 0 if moved else int(upload.hops) + 1
    if hops >= _HOPS_WITHOUT_PROGRESS:
        ending.fail(upload, code="no_progress", detail="a file takes longer than a function may run")
        return
    ours = (UploadRow.fence == int(upload.fence)) & UploadRow.status.is_in(*OPEN)
    if records.update_if(upload, [UploadRow.hops.set(hops), UploadRow.lease_until.set(0)], ours):
        start_worker(upload.upload_id)


def wait(upload_id: str, deadline: Deadline) -> UploadRow | None:
    """The upload once it has ended or nobody works on it, or as it is when the time is over."""
    pause = 0.05
    while True:
        upload = UploadRow.find(f"A#{upload_id}")
        if upload is None or upload.status not in OPEN or upload.lease_until < time.time() or deadline.passed:
            return upload
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)


def request_deadline() -> Deadline:
    """Until when a request that begins now may take."""
    return Deadline(get_settings().wait_seconds or None)
