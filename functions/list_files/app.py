"""GET /ai-models/{user_id}/{model_id}/files: the files of a version."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from registry import versions
from registry.schemas.answers import File
from registry.web.answers import link_next
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.get("/ai-models/{user_id}/{model_id}/files", operation_id="list_files")
def list_files(
    principal: Caller,
    request: Request,
    response: Response,
    user_id: str,
    model_id: str,
    version: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    cursor: str | None = None,
    urls: Annotated[bool, Query(description="each with a presigned GET, 500 a page")] = False,
) -> list[File]:
    """List the files of a version, by path."""
    found, following = versions.list_files(
        principal=principal,
        user_id=user_id,
        model_id=model_id,
        version=version,
        limit=limit,
        cursor=cursor,
        urls=urls,
    )
    link_next(request, response, following)
    return found


lambda_handler = create_handler(router)
