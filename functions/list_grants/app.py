"""GET /ai-models/grants/{user_id}: who may do what in a user's namespace."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from registry import grants
from registry.schemas.grants import Grant
from registry.web.answers import link_next
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.get("/ai-models/grants/{user_id}", operation_id="list_grants")
def list_grants(
    principal: Caller,
    request: Request,
    response: Response,
    user_id: str,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str | None = None,
) -> list[Grant]:
    """List the grants in a user's namespace, by grantee and model; the next page is in the Link header."""
    found, following = grants.list_grants(principal=principal, user_id=user_id, limit=limit, cursor=cursor)
    link_next(request, response, following)
    return found


lambda_handler = create_handler(router)
