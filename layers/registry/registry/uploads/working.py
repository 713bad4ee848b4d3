"""The worker: whatever woke an upload, it finds out what there is to do, and does it under the upload's lease."""

from __future__ import annotations

import time

from registry import records
from registry.deadlines import Deadline
from registry.observability import get_logger
from registry.records import UploadRow
from registry.settings import get_settings
from registry.uploads import ending, promoting, sharing, specs, unpacking, waking
from registry.uploads.leases import OPEN, Lease, LeaseLostError, ShareLease

_HOPS_WITHOUT_PROGRESS = 5
_NO_PROGRESS, _TOO_LONG = "no_progress", "a file takes longer than a function may run"


def work(upload_id: str, deadline: Deadline) -> bool:
    """Works on an upload until nothing is left to do, or the time is over: then a successor is started. Does
    nothing if somebody else holds the lease: that one sees the wake. Whether it had the lease."""
    lease = Lease.acquire(upload_id)
    if lease is None:
        return False
    with lease:
        work_under(lease, deadline)
    return True


def is_held(upload: UploadRow) -> bool:
    """Whether somebody held the upload's lease when this row was read: then `work` would do nothing."""
    return bool(upload.lease_until >= int(time.time()))


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
                _hand_over(lease, moved=lease.moved or _progress(lease.upload) != before)
                return
            if sharing.is_spread(lease.upload):
                watch(lease.upload)
            if lease.release():
                return
    except Exception as error:
        # An abort takes away what a worker stands on: whatever it stumbles over then is no fault.
        if not isinstance(error, LeaseLostError) and not lease.was_taken():
            raise
        get_logger().info("lease lost", upload_id=lease.upload.upload_id)


def work_on_share(upload_id: str, number: int, deadline: Deadline) -> None:
    """Works on one share of an archive until it is done, or the time is over: then a successor is started. Does nothing
    if somebody else holds its lease, or it is done: whoever looks at the upload starts it again if need be."""
    lease = ShareLease.acquire_share(upload_id, number)
    if lease is None:
        return
    with lease:
        try:
            done = unpacking.unpack_share(lease, deadline)
            if deadline.passed and not done:
                _hand_over_share(lease)
            elif lease.end(done=done) and waking.wake(upload_id) is not None:
                waking.start_worker(upload_id)
        except Exception as error:
            if not isinstance(error, LeaseLostError) and not lease.was_taken():
                raise
            get_logger().info("lease lost", upload_id=upload_id, share=number)


def _step(lease: Lease, deadline: Deadline) -> bool:
    """Does what there is to do; whether the upload has ended by it."""
    if lease.upload.kind in ("archive", "folder"):
        return unpacking.unpack(lease, deadline)
    return promoting.promote(lease, deadline)


def _progress(upload: UploadRow) -> int:
    return 0 if upload.kind in ("archive", "folder") else specs.progress(upload)[0]


def _hand_over(lease: Lease, *, moved: bool) -> None:
    """Out of time: a successor goes on. One that never gets anything done is not started for ever."""
    upload = lease.upload
    hops = 0 if moved else int(upload.hops) + 1
    if hops >= _HOPS_WITHOUT_PROGRESS:
        ending.fail(upload, code=_NO_PROGRESS, detail=_TOO_LONG)
        return
    ours = (UploadRow.fence == int(upload.fence)) & UploadRow.status.is_in(*OPEN)
    if records.update_if(upload, [UploadRow.hops.set(hops), UploadRow.lease_until.set(0)], ours):
        waking.start_worker(upload.upload_id)


def _hand_over_share(lease: ShareLease) -> None:
    upload = lease.upload
    hops = 0 if lease.moved else lease.hops + 1
    if hops >= _HOPS_WITHOUT_PROGRESS:
        ending.fail(UploadRow.find(upload.pk) or upload, code=_NO_PROGRESS, detail=_TOO_LONG)
    elif lease.end(hops=hops):
        waking.start_share(upload.upload_id, lease.share)


def wait(upload_id: str, deadline: Deadline) -> UploadRow | None:
    """The upload once it has ended or nobody works on it, or as it is when the time is over."""
    pause = 0.05
    while True:
        upload = UploadRow.find(f"A#{upload_id}")
        if upload is None or upload.status not in OPEN or deadline.passed:
            return upload
        if upload.lease_until < time.time() and not sharing.is_spread(upload):
            return upload
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)


def request_deadline() -> Deadline:
    """Until when a request that begins now may take."""
    return Deadline(get_settings().wait_seconds or None)
