"""POST /ai-models/upload/direct: begins an upload whose bytes go straight to the store."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from registry.schemas.starting import StartUpload
from registry.schemas.uploads import Upload
from registry.uploads import showing, starting
from registry.web.answers import body_schema, link_next
from registry.web.apps import create_handler
from registry.web.requests import Caller, json_body

router = APIRouter()


@router.post(
    "/ai-models/upload/direct", operation_id="start_upload", status_code=201, openapi_extra=body_schema(StartUpload)
)
def start_upload(
    principal: Caller,
    http: Request,
    response: Response,
    request: Annotated[StartUpload, json_body(StartUpload)],
    idempotency_key: Annotated[str | None, Header()] = None,
    urls: Annotated[bool, Query(description="whether to answer with URLs at once")] = True,
) -> Upload:
    """Start a direct upload of files or of one ZIP, of any size."""
    upload = starting.start_upload(principal=principal, request=request, idempotency_key=idempotency_key)
    view, following = showing.show(upload, urls=urls)
    link_next(http, response, following, instead=(f"/ai-models/upload/{upload.upload_id}", {"urls": str(urls).lower()}))
    return view


lambda_handler = create_handler(router)
