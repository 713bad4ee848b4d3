"""GET /ai-models/upload/{upload_id}: an upload as it is now, and how to go on with it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from registry.schemas.uploads import Upload
from registry.schemas.words import FileStatus
from registry.uploads import showing
from registry.web.answers import link_next
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.get("/ai-models/upload/{upload_id}", operation_id="get_upload")
def get_upload(
    principal: Caller,
    request: Request,
    response: Response,
    upload_id: str,
    urls: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    cursor: str | None = None,
    state: FileStatus | None = None,
) -> Upload:
    """Get an upload; with `urls=true` fresh URLs for what is missing, at most 500 a page."""
    upload, following = showing.get_upload(
        principal=principal, upload_id=upload_id, urls=urls, limit=limit, cursor=cursor, state=state
    )
    link_next(request, response, following)
    return upload


lambda_handler = create_handler(router)
