"""POST /ai-models/tokens: makes a registry token for the caller, and shows it this once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from registry import tokens
from registry.schemas.tokens import CreateToken, NewToken
from registry.web.answers import body_schema
from registry.web.apps import create_handler
from registry.web.requests import Caller, json_body

router = APIRouter()


@router.post("/ai-models/tokens", operation_id="create_token", status_code=201, openapi_extra=body_schema(CreateToken))
def create_token(
    principal: Caller, response: Response, asked: Annotated[CreateToken, json_body(CreateToken)]
) -> NewToken:
    """Make a token that programs can send instead of one of the issuer's; it is shown in this answer, never again."""
    response.headers["Cache-Control"] = "no-store"
    return tokens.create_token(principal=principal, asked=asked)


lambda_handler = create_handler(router)
