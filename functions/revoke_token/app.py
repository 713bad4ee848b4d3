"""DELETE /ai-models/tokens/{token_id}: revokes a registry token of the caller's."""

from __future__ import annotations

from fastapi import APIRouter
from registry import tokens
from registry.schemas.tokens import RevokedToken
from registry.web.apps import create_handler
from registry.web.requests import Caller

router = APIRouter()


@router.delete("/ai-models/tokens/{token_id}", operation_id="revoke_token")
def revoke_token(principal: Caller, token_id: str) -> RevokedToken:
    """Revoke a token of yours; a minute later it is accepted nowhere."""
    return tokens.revoke_token(principal=principal, token_id=token_id)


lambda_handler = create_handler(router)
