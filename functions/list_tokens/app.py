"""GET /ai-models/tokens: the caller's registry tokens."""

from __future__ import annotations

from fastapi import APIRouter
from registry import tokens
from registry.schemas.tokens import Token
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.get("/ai-models/tokens", operation_id="list_tokens")
def list_tokens(principal: Caller) -> list[Token]:
    """List your registry tokens, newest first: what each allows and when it was last used, never the token itself."""
    return tokens.list_tokens(principal=principal)


lambda_handler = create_handler(router)
