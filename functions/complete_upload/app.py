"""POST /ai-models/upload/{upload_id}/complete: all has been sent."""

from __future__ import annotations

from fastapi import APIRouter, Response
from registry.schemas.uploads import Upload
from registry.uploads import completing, showing
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.post("/ai-models/upload/{upload_id}/complete", operation_id="complete_upload")
def complete_upload(principal: Caller, response: Response, upload_id: str) -> Upload:
    """Finish an upload: 200 once its version is published, 202 while it is processed. May be repeated."""
    upload = completing.complete_upload(principal=principal, upload_id=upload_id)
    ended = upload.status not in ("uploading", "processing")
    response.status_code = 200 if ended else 202
    return showing.show(upload, urls=False, limit=showing.MAX_PAGE if ended else 0)[0]


lambda_handler = create_handler(router)
