"""Who calls, and how the authorizer hands it on to the endpoints: API Gateway's context has texts, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from registry import naming
from registry.errors import UnauthenticatedError

Scope = Literal["read", "write"]
MAX_GROUPS = 99  # their grants and the user's own: as many as a BatchGetItem reads
_SCOPES = ("read", "write")
_EVERY_MODEL = "*"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `groups`: those the issuer says they are in. A registry token (`token_id`) may allow less than its
    owner may: `scope` "write" is to read and to write, `models` a pattern of model ids (`*`: any characters), None all
    of them. `everything`: authentication is off, and everybody may do all."""

    id: str
    groups: frozenset[str] = frozenset()
    scope: Scope = "write"
    models: str | None = None
    everything: bool = False
    token_id: str | None = None


ANYBODY = Principal("anybody", everything=True)


def write_context(principal: Principal) -> dict[str, str]:
    """What is to be known of a principal beside its id."""
    if principal.token_id is None:
        return {"groups": " ".join(sorted(principal.groups))} if principal.groups else {}
    return {"token_id": principal.token_id, "scope": principal.scope, "models": principal.models or _EVERY_MODEL}


def read_context(context: Any) -> Principal:
    """Who calls, as API Gateway hands on what `write_context` said. UnauthenticatedError for whatever that never
    writes: a bound that is damaged or lost must not widen a right."""
    said = context if isinstance(context, Mapping) else {}
    principal_id = said.get("principalId")
    if not isinstance(principal_id, str) or not principal_id:
        raise UnauthenticatedError("A bearer token is needed")
    groups, token_id, scope, models = (said.get(name) for name in ("groups", "token_id", "scope", "models"))
    if token_id is None and scope is None and models is None:
        return Principal(principal_id, groups=_read_groups(groups))
    known = isinstance(token_id, str) and naming.is_token_id(token_id)
    bounded = scope in _SCOPES and isinstance(models, str) and naming.is_model_pattern(models)
    if not known or not bounded or groups is not None:
        raise UnauthenticatedError("A bearer token is needed")
    pattern = None if models == _EVERY_MODEL else models
    return Principal(principal_id, scope=cast(Scope, scope), models=pattern, token_id=token_id)


def _read_groups(text: Any) -> frozenset[str]:
    if text is None:
        return frozenset()
    names = text.split(" ") if isinstance(text, str) else []
    if not 1 <= len(names) <= MAX_GROUPS or not all(naming.is_group(name) for name in names):
        raise UnauthenticatedError("A bearer token is needed")
    return frozenset(names)
