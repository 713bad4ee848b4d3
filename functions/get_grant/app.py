"""GET /ai-models/grants/{user_id}/…: what somebody may do in a user's namespace."""

from __future__ import annotations

from fastapi import APIRouter
from registry import grants
from registry.schemas.grants import Grant
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.get("/ai-models/grants/{user_id}/{grant:path}", operation_id="get_grant")
def get_grant(principal: Caller, user_id: str, grant: str) -> Grant:
    """Get what is granted on all models (`grant`: a user id or @group), or on one (`grant`: model_id/grantee)."""
    return grants.get_grant(principal=principal, user_id=user_id, place=grant)


lambda_handler = create_handler(router)
