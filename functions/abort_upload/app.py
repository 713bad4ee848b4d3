"""DELETE /ai-models/upload/{upload_id}: ends an upload, leaving nothing of it."""

from __future__ import annotations

from fastapi import APIRouter
from registry.schemas.uploads import Upload
from registry.uploads import completing, showing
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.delete("/ai-models/upload/{upload_id}", operation_id="abort_upload")
def abort_upload(principal: Caller, upload_id: str) -> Upload:
    """Abort an upload: its parts and files go, and its version is free again."""
    upload = completing.abort_upload(principal=principal, upload_id=upload_id)
    return showing.show(upload, urls=False, limit=0)[0]


lambda_handler = create_handler(router)
