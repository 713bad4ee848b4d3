"""GET /ai-models/search/{user_id}: a user's versions that fit a query."""

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


@router.get("/ai-models/search/{user_id}", operation_id="search_models")
def search_models(
    principal: Caller,
    request: Request,
    response: Response,
    user_id: str,
    query: Annotated[str | None, Query(max_length=512, description="each word must begin some word")] = None,
    framework: Framework | None = None,
    model_type: ModelType | None = None,
    tags: Annotated[str | None, Query(description="comma-separated; all must match")] = None,
    is_production_ready: bool | None = None,
    is_active: bool = True,
    latest: bool = False,
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str | None = None,
) -> list[Metadata]:
    """Search a user's versions by the words of name, description, algorithm, model_id and tags; newest first."""
    filters = Filters(
        framework=framework,
        model_type=model_type,
        tags=tags,
        is_production_ready=is_production_ready,
        is_active=is_active,
        latest=latest,
    )
    found, following = versions.list_models(
        principal=principal,
        user_id=user_id,
        filters=filters,
        paging=Paging(skip=skip, limit=limit, cursor=cursor),
        query=query,
    )
    link_next(request, response, following)
    return found


lambda_handler = create_handler(router)
