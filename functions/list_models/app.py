"""GET /ai-models/{user_id}: a user's versions, newest first."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from registry import versions
from registry.schemas.answers import Metadata
from registry.schemas.words import Framework, ModelType
from registry.versions import Filters, Paging
from registry.web.answers import link_next
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.get("/ai-models/{user_id}", operation_id="list_models")
def list_models(
    principal: Caller,
    request: Request,
    response: Response,
    user_id: str,
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str | None = None,
    framework: Framework | None = None,
    model_type: ModelType | None = None,
    tags: Annotated[str | None, Query(description="comma-separated; all must match")] = None,
    is_production_ready: bool | None = None,
    is_active: bool = True,
    latest: Annotated[bool, Query(description="only the newest version of each model")] = False,
) -> list[Metadata]:
    """List a user's versions, newest first; the next page is in the Link header."""
    filters = Filters(
        framework=framework,
        model_type=model_type,
        tags=tags,
        is_production_ready=is_production_ready,
        is_active=is_active,
        latest=latest,
    )
    paging = Paging(skip=skip, limit=limit, cursor=cursor)
    found, following = versions.list_models(principal=principal, user_id=user_id, filters=filters, paging=paging)
    link_next(request, response, following)
    return found


lambda_handler = create_handler(router)
