"""What every look at an upload begins with: may the caller, is it there, is it open?"""

from __future__ import annotations

from registry import naming
from registry.auth import Action, Principal, rights_of
from registry.errors import ConflictError, NotFoundError
from registry.records import UploadRow
from registry.uploads.leases import OPEN


def find_upload(principal: Principal, upload_id: str, action: Action) -> UploadRow:
    """An upload, for whoever may write its model: to others it is not there. NotFoundError, ForbiddenError."""
    upload = UploadRow.find(f"A#{naming.check_upload_id(upload_id)}")
    rights = rights_of(principal, upload.user_id) if upload is not None else None
    if upload is None or rights is None or not rights.holds("write", upload.model_id):
        raise NotFoundError(f"Upload {upload_id!r} not found", code="upload_not_found")
    rights.authorise(action, upload.model_id)
    return upload


def refuse_ended(upload: UploadRow) -> None:
    """ConflictError for an upload that is no longer open."""
    if upload.status not in OPEN:
        raise ConflictError(f"The upload has ended: it is {upload.status}", code="upload_ended")
