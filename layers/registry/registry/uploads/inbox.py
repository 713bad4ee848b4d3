"""The bucket is ours alone: made sure of before the first upload, and before an object that nobody knows is deleted."""

from __future__ import annotations

from registry.naming import InboxKey
from registry.records import UploadRow
from registry.storage import claiming


def claim() -> None:
    """UnavailableError `inbox_taken` or `inbox_not_empty` where the bucket is another installation's."""
    claiming.claim_inbox(_is_known)


def _is_known(key: InboxKey) -> bool:
    upload = UploadRow.find(f"A#{key.upload_id}")
    return upload is not None and upload.user_id == key.user_id
