"""PUT /ai-models/grants/{user_id}/…: lets somebody read, write or administer in a user's namespace."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from registry import grants
from registry.schemas.grants import Grant, PutGrant
from registry.web.answers import body_schema
from registry.web.apps import create_handler
from registry.web.requests import Caller, json_body

router = APIRouter()


@router.put("/ai-models/grants/{user_id}/{grant:path}", operation_id="put_grant", openapi_extra=body_schema(PutGrant))
def put_grant(principal: Caller, user_id: str, grant: str, asked: Annotated[PutGrant, json_body(PutGrant)]) -> Grant:
    """Grant a role on all models (`grant`: a user id or @group), or on one (`grant`: model_id/grantee)."""
    return grants.put_grant(principal=principal, user_id=user_id, place=grant, role=asked.role)


lambda_handler = create_handler(router)
