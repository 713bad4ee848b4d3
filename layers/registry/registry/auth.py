"""Who calls, and what they may do. `authenticate_request` settles the first; every use case asks for the second."""

from __future__ import annotations

from typing import Literal

from registry.errors import NotFoundError
from registry.principals import ANYBODY, Principal

__all__ = ["ANYBODY", "Action", "Principal", "authorise", "may"]

Action = Literal["read", "write"]


def may(principal: Principal, action: Action, user_id: str, model_id: str | None = None) -> bool:
    """Whether a principal may do this in a user's namespace: in its own, all."""
    del action, model_id  # grants will tell them apart
    return principal.everything or principal.id == user_id


def authorise(principal: Principal, action: Action, user_id: str, model_id: str | None = None) -> None:
    """Raises NotFoundError where the principal may not: what one may not see is not there."""
    if not may(principal, action, user_id, model_id):
        what = f"Model {model_id!r} of user {user_id!r}" if model_id else f"User {user_id!r}"
        raise NotFoundError(f"{what} not found", code="not_found")
