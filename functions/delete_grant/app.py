"""DELETE /ai-models/grants/{user_id}/…: takes away what was granted."""

from __future__ import annotations

from fastapi import APIRouter
from registry import grants
from registry.schemas.grants import RevokedGrant
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.delete("/ai-models/grants/{user_id}/{grant:path}", operation_id="delete_grant")
def delete_grant(principal: Caller, user_id: str, grant: str) -> RevokedGrant:
    """Revoke what was granted on all models (`grant`: a user id or @group), or on one (`grant`: model_id/grantee)."""
    return grants.delete_grant(principal=principal, user_id=user_id, place=grant)


lambda_handler = create_handler(router)
