"""GET /ai-models/{user_id}/{model_id}: a version's metadata."""

from __future__ import annotations

from fastapi import APIRouter, Response
from registry import versions
from registry.schemas.answers import Metadata
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.get("/ai-models/{user_id}/{model_id}", operation_id="get_model")
def get_model(
    principal: Caller, response: Response, user_id: str, model_id: str, version: str | None = None
) -> Metadata:
    """Get a model's metadata: a version's, or the newest."""
    metadata, etag = versions.get_model(principal=principal, user_id=user_id, model_id=model_id, version=version)
    response.headers["ETag"] = etag
    return metadata


lambda_handler = create_handler(router)
