"""POST /ai-models/upload/{upload_id}/files: announces more files."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from registry.schemas.direct import AddFiles
from registry.schemas.uploads import Upload
from registry.uploads import showing, starting
from registry.web.answers import body_schema
from registry.web.apps import create_handler
from registry.web.requests import Caller, json_body

router = APIRouter()


@router.post("/ai-models/upload/{upload_id}/files", operation_id="add_files", openapi_extra=body_schema(AddFiles))
def add_files(principal: Caller, upload_id: str, request: Annotated[AddFiles, json_body(AddFiles)]) -> Upload:
    """Announce more files of an upload, before it is complete."""
    upload = starting.add_files(principal=principal, upload_id=upload_id, request=request)
    return showing.show(upload, urls=False, limit=0)[0]


lambda_handler = create_handler(router)
