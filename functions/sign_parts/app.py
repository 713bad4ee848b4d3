"""POST /ai-models/upload/{upload_id}/parts: URLs of parts with their digests signed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from registry.schemas.parts import SignParts
from registry.schemas.uploads import Multipart
from registry.uploads import showing
from registry.web.answers import body_schema
from registry.web.apps import create_handler
from registry.web.requests import Caller, json_body

router = APIRouter()


@router.post("/ai-models/upload/{upload_id}/parts", operation_id="sign_parts", openapi_extra=body_schema(SignParts))
def sign_parts(principal: Caller, upload_id: str, request: Annotated[SignParts, json_body(SignParts)]) -> Multipart:
    """Get URLs of parts that the store takes only with bytes of the given SHA-256."""
    return showing.sign_parts(principal=principal, upload_id=upload_id, request=request)


lambda_handler = create_handler(router)
