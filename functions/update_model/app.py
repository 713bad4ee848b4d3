"""PUT /ai-models/{user_id}/{model_id}: changes what is said of a version."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response
from registry import versions
from registry.schemas.answers import Metadata
from registry.schemas.requests import VersionFields
from registry.web.answers import body_schema
from registry.web.apps import create_handler
from registry.web.requests import Caller, json_body

router = APIRouter()


@router.put("/ai-models/{user_id}/{model_id}", operation_id="update_model", openapi_extra=body_schema(VersionFields))
def update_model(
    principal: Caller,
    response: Response,
    user_id: str,
    model_id: str,
    changes: Annotated[VersionFields, json_body(VersionFields)],
    version: str | None = None,
    if_match: Annotated[str | None, Header()] = None,
) -> Metadata:
    """Update a version's metadata: given values replace the old ones whole, null clears them."""
    metadata, etag = versions.update_model(
        principal=principal,
        user_id=user_id,
        model_id=model_id,
        version=version,
        changes=changes,
        if_match=if_match,
    )
    response.headers["ETag"] = etag
    return metadata


lambda_handler = create_handler(router)
