"""POST /ai-models/upload/direct: begins an upload whose bytes go straight to the store."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query
from registry.schemas import StartUpload, Upload
from registry.uploads import showing, starting
from registry.web import Caller, body_schema, create_handler, json_body

router = APIRouter()


@router.post(
    "/ai-models/upload/direct", operation_id="start_upload", status_code=201, openapi_extra=body_schema(StartUpload)
)
def start_upload(
    principal: Caller,
    request: Annotated[StartUpload, json_body(StartUpload)],
    idempotency_key: Annotated[str | None, Header()] = None,
    urls: Annotated[bool, Query(description="whether to answer with URLs at once")] = True,
) -> Upload:
    """Start a direct upload of files or of one ZIP, of any size."""
    upload = starting.start_upload(principal=principal, request=request, idempotency_key=idempotency_key)
    return showing.show(upload, urls=urls)[0]


lambda_handler = create_handler(router)
