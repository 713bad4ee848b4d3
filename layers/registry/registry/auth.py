"""Who calls, and what they may do. `authenticate_request` settles the first; every use case asks for the second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from registry.errors import NotFoundError

Action = Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `groups`: those the issuer says they are in. A registry token may allow less than its owner may:
    `scope` "write" is to read and to write, `models` a pattern of model ids (`*`: any characters), None all of them.
    `everything`: authentication is off, and everybody may do all."""

    id: str
    groups: frozenset[str] = frozenset()
    scope: Action = "write"
    models: str | None = None
    everything: bool = False


ANYBODY = Principal("anybody", everything=True)


def may(principal: Principal, action: Action, user_id: str, model_id: str | None = None) -> bool:
    """Whether a principal may do this in a user's namespace: in its own, all."""
    del action, model_id  # grants will tell them apart
    return principal.everything or principal.id == user_id


def authorise(principal: Principal, action: Action, user_id: str, model_id: str | None = None) -> None:
    """Raises NotFoundError where the principal may not: what one may not see is not there."""
    if not may(principal, action, user_id, model_id):
        what = f"Model {model_id!r} of user {user_id!r}" if model_id else f"User {user_id!r}"
        raise NotFoundError(f"{what} not found", code="not_found")
