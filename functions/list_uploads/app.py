"""GET /ai-models/upload: a user's open uploads."""

from __future__ import annotations

from fastapi import APIRouter
from registry.schemas.uploads import Upload
from registry.uploads import showing
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.get("/ai-models/upload", operation_id="list_uploads")
def list_uploads(principal: Caller, user_id: str) -> list[Upload]:
    """List a user's open uploads, newest first."""
    return showing.list_uploads(principal=principal, user_id=user_id)


lambda_handler = create_handler(router)
