"""What every look at an upload begins with: may the caller, is it there, is it open?"""

from __future__ import annotations

from registry import naming
from registry.auth import Principal, authorise
from registry.errors import ConflictError, NotFoundError
from registry.records import UploadRow
from registry.uploads.leases import OPEN


def find_upload(principal: Principal, upload_id: str, action: str) -> UploadRow:
    """An upload that the caller may see. NotFoundError."""
    upload = UploadRow.find(f"A#{naming.check_upload_id(upload_id)}")
    missing = NotFoundError(f"Upload {upload_id!r} not found", code="upload_not_found")
    if upload is None:
        raise missing
    try:
        authorise(principal, "write" if action == "write" else "read", upload.user_id, upload.model_id)
    except NotFoundError:
        raise missing from None
    return upload


def refuse_ended(upload: UploadRow) -> None:
    """ConflictError for an upload that is no longer open."""
    if upload.status not in OPEN:
        raise ConflictError(f"The upload has ended: it is {upload.status}", code="upload_ended")
