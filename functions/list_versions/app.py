"""GET /ai-models/{user_id}/{model_id}/versions: the versions of a model."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from registry import versions
from registry.schemas.answers import Metadata
from registry.web.answers import link_next
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.get("/ai-models/{user_id}/{model_id}/versions", operation_id="list_versions")
def list_versions(
    principal: Caller,
    request: Request,
    response: Response,
    user_id: str,
    model_id: str,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str | None = None,
) -> list[Metadata]:
    """List the versions of a model, newest first, active and not."""
    found, following = versions.list_versions(
        principal=principal, user_id=user_id, model_id=model_id, limit=limit, cursor=cursor
    )
    link_next(request, response, following)
    return found


lambda_handler = create_handler(router)
