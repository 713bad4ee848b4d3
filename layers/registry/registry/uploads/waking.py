"""Has an upload looked at. Apart from the worker, so that who only wakes it need not import all that it does."""

from __future__ import annotations

from registry import records, tasks
from registry.records import UploadRow
from registry.uploads.leases import OPEN


def wake(upload_id: str, *, user_id: str | None = None) -> UploadRow | None:
    """Counts one more reason to look at an upload, so that whoever works on it looks again. The upload, or None if it
    has ended, or is not that user's."""
    row, condition = UploadRow(f"A#{upload_id}", "#"), UploadRow.status.is_in(*OPEN)
    if user_id is not None:
        condition &= UploadRow.user_id == user_id
    return row if records.update_if(row, [UploadRow.wake.add(1)], condition) else None


def start_worker(upload_id: str) -> None:
    """Has a worker look at an upload."""
    tasks.start_function("receive_upload", {"upload_id": upload_id})


def start_share(upload_id: str, number: int) -> None:
    """Has a worker go on with one share of an archive."""
    tasks.start_function("receive_upload", {"upload_id": upload_id, "share": number})
