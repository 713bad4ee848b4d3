"""GET /ai-models/{user_id}/{model_id}/download: one file, or a whole version as a ZIP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from registry import downloads
from registry.web.apps import create_handler
from registry.web.contents import content_answer
from registry.web.requests import Caller

router = APIRouter()


@router.get("/ai-models/{user_id}/{model_id}/download", operation_id="download_model", response_class=Response)
def download_model(
    principal: Caller,
    request: Request,
    user_id: str,
    model_id: str,
    filename: Annotated[str | None, Query(description="path of the file in the version; none: all, as a ZIP")] = None,
    version: str | None = None,
    redirect: Annotated[bool, Query(description="answer 307 to a presigned URL")] = False,
    wait: Annotated[int, Query(ge=0, include_in_schema=False)] = 0,
) -> Response:
    """Download a file of a version, or without `filename` the whole version as a ZIP."""
    content = downloads.download_model(
        principal=principal,
        user_id=user_id,
        model_id=model_id,
        version=version,
        filename=filename,
        redirect=redirect,
        waited=wait,
    )
    return content_answer(request, content)


lambda_handler = create_handler(router)
