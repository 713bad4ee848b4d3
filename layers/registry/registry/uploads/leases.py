"""Who may work on an upload: one at a time, for a minute at a time, fenced by a counter."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from registry import records
from registry.errors import ConflictError
from registry.observability import get_logger
from registry.records import UploadRow
from registry.settings import get_settings

OPEN = ("uploading", "processing")


class LeaseLostError(ConflictError):
    """Somebody else works on the upload, or it has ended: stop, and write nothing more."""

    code = "lease_lost"

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"Upload {upload_id} has ended, or took longer than its reservation lasted: look at it")


class Lease:
    """The right to work on an upload; renewed by a thread while the `with` block runs."""

    def __init__(self, upload: UploadRow) -> None:
        self.upload = upload
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
        row = UploadRow(self.upload.pk, self.upload.sk)
        until = time.monotonic() + get_settings().lease_seconds
        while not self._stop.wait(seconds):
            try:
                renewed = records.update_if(row, [UploadRow.lease_until.set(_until(time.time()))], self._ours)
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
            records.update_if(UploadRow(self.upload.pk, self.upload.sk), [UploadRow.lease_until.set(0)], self._ours)


def _until(now: float) -> int:
    return int(now) + get_settings().lease_seconds


def first_lease() -> int:
    """What a row says that is written with its lease taken."""
    return _until(time.time())
