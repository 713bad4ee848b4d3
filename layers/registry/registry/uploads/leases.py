"""Who may work on an upload, or on a share of one: one at a time, for a minute at a time, fenced by a counter."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from registry import records
from registry.deadlines import Deadline, OutOfTimeError
from registry.errors import ConflictError
from registry.observability import get_logger
from registry.records import ShareRow, UploadRow
from registry.settings import get_settings
from registry.uploads import specs

OPEN = ("uploading", "processing")


class LeaseLostError(ConflictError):
    """Somebody else works on the upload, or it has ended: stop, and write nothing more."""

    code = "lease_lost"

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"Upload {upload_id} has ended, or took longer than its reservation lasted: look at it")


class Lease:
    """The right to work on an upload; renewed by a thread while the `with` block runs. `moved`: something that its
    holder got done is on record."""

    share = -1  # all of it

    def __init__(self, upload: UploadRow) -> None:
        self.upload = upload
        self.moved = False
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{upload.upload_id[-6:]}", daemon=True)

    @classmethod
    def acquire(cls, upload_id: str) -> Lease | None:
        """Takes the lease of an open upload; None if it is held or the upload has ended."""
        upload = UploadRow(f"A#{upload_id}", "#")
        now = time.time()
        taken = records.update_if(
            upload,
            [UploadRow.lease_until.set(_until(now)), UploadRow.fence.add(1)],
            UploadRow.status.is_in(*OPEN) & (UploadRow.lease_until < int(now)),
        )
        return cls(upload) if taken else None

    @property
    def fence(self) -> int:
        """Higher than that of everybody who held it before."""
        return int(self.upload.fence)

    @property
    def hops(self) -> int:
        """How many holders in a row have got nothing done."""
        return int(self.upload.hops)

    def check(self) -> None:
        """LeaseLostError if the lease is no longer ours."""
        if self._lost.is_set():
            raise LeaseLostError(self.upload.upload_id)

    def is_ours(self) -> bool:
        """Whether the table says so, now."""
        now = UploadRow.find(self.upload.pk)
        return now is not None and now.status in OPEN and now.fence == self.upload.fence

    def was_taken(self) -> bool:
        """Whether somebody ended the upload, or works on it, instead of this worker."""
        now = UploadRow.find(self.upload.pk)
        return now is None or now.fence != self.upload.fence or now.status in ("failed", "aborted")

    def release(self) -> bool:
        """Gives it up if the upload was not woken since it was last read; False, and the upload read anew, if so."""
        released = records.update_if(
            self.upload, [UploadRow.lease_until.set(0)], self._ours & (UploadRow.wake == int(self.upload.wake))
        )
        if not released:
            now = UploadRow.find(self.upload.pk)
            if now is None or now.status not in OPEN or now.fence != self.upload.fence:
                raise LeaseLostError(self.upload.upload_id)
            self.upload = now
        return released

    @property
    def _ours(self):  # type: ignore[no-untyped-def]  # pynamodb's conditions are untyped in parts
        return (UploadRow.fence == int(self.upload.fence)) & UploadRow.status.is_in(*OPEN)

    def _renew(self) -> None:
        seconds = get_settings().lease_seconds / 3
        until = time.monotonic() + get_settings().lease_seconds
        while not self._stop.wait(seconds):
            try:
                renewed = self._set_lease(_until(time.time()))
            except Exception:  # noqa: BLE001  # whatever it is: without a renewal the lease runs out
                get_logger().exception("lease not renewed", upload_id=self.upload.upload_id)
                renewed = time.monotonic() < until
            else:
                until = time.monotonic() + get_settings().lease_seconds
            if not renewed:
                self._lost.set()
                return

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is not None and not self._lost.is_set():  # so that a retry need not wait for it to run out
            self._set_lease(0)

    def _set_lease(self, until: int) -> bool:
        row = UploadRow(self.upload.pk, self.upload.sk)  # `self.upload` must not learn of a wake that it has not seen
        held = UploadRow.lease_until > 0  # a renewal that is late takes nothing back that was given up
        return records.update_if(row, [UploadRow.lease_until.set(until)], self._ours & held)


class TimedLease(Lease):
    """A lease in the hands of what is dropped when the function's time is over."""

    def __init__(self, lease: Lease, deadline: Deadline) -> None:
        self.upload = lease.upload
        self._lease = lease
        self._deadline = deadline

    def check(self) -> None:
        """LeaseLostError if the lease is no longer ours; OutOfTimeError."""
        self._lease.check()
        if self._deadline.over:
            raise OutOfTimeError


class ShareLease(Lease):
    """The right to work on one share of an upload. It ends with the upload, which is looked at with every renewal."""

    def __init__(self, upload: UploadRow, row: ShareRow, number: int) -> None:
        super().__init__(upload)
        self.share = number
        self._row = row

    @classmethod
    def acquire_share(cls, upload_id: str, number: int) -> ShareLease | None:
        """Takes the lease of a share that is not done; None if it is held, or there is no such share any more."""
        row = ShareRow(f"A#{upload_id}", specs.share_sk(number))
        now = time.time()
        free = (ShareRow.lease_until < int(now)) & (ShareRow.done == False)  # noqa: E712
        if not records.update_if(row, [ShareRow.lease_until.set(_until(now)), ShareRow.fence.add(1)], free):
            return None
        upload = UploadRow.find(row.pk)
        return cls(upload, row, number) if upload is not None and upload.status in OPEN else None

    @property
    def fence(self) -> int:
        """Higher than that of everybody who held it before."""
        return int(self._row.fence)

    @property
    def hops(self) -> int:
        """How many holders in a row have got nothing done."""
        return int(self._row.hops)

    def is_ours(self) -> bool:
        """Whether the table says so, now."""
        return not self.was_taken()

    def was_taken(self) -> bool:
        """Whether the upload has ended, or somebody works on the share instead of this worker."""
        now = ShareRow.find(self._row.pk, self._row.sk)
        return now is None or now.fence != self._row.fence or not self._is_open()

    def end(self, *, done: bool = False, hops: int = 0) -> bool:
        """Gives it up, for good if the share is `done`; False if it was not ours any more."""
        actions = [ShareRow.lease_until.set(0), ShareRow.done.set(done), ShareRow.hops.set(hops)]
        return records.update_if(ShareRow(self._row.pk, self._row.sk), actions, self._ours)

    def _is_open(self) -> bool:
        upload = UploadRow.find(self.upload.pk)
        return upload is not None and upload.status in OPEN

    @property
    def _ours(self):  # type: ignore[no-untyped-def]
        return ShareRow.fence == int(self._row.fence)

    def _set_lease(self, until: int) -> bool:
        row = ShareRow(self._row.pk, self._row.sk)
        held = ShareRow.lease_until > 0
        return records.update_if(row, [ShareRow.lease_until.set(until)], self._ours & held) and self._is_open()


def _until(now: float) -> int:
    return int(now) + get_settings().lease_seconds


def first_lease() -> int:
    """What a row says that is written with its lease taken."""
    return _until(time.time())
