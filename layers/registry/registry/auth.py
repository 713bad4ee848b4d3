"""Who calls, and what they may do. `authenticate_request` settles the first; every use case asks for the second.

Everybody may do all in the namespace that is their own, for which nothing is read. In another's, what its owner has
granted to them or to a group of theirs: looked up anew for each request, one row for each of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from registry import naming, records
from registry.errors import ForbiddenError, NotFoundError
from registry.principals import ANYBODY, Principal
from registry.records import ALL_MODELS, GrantRow

__all__ = ["ANYBODY", "ROLES", "Action", "Principal", "Rights", "Role", "authorise", "rights_of"]

Action = Literal["read", "write"]
Role = Literal["read", "write", "admin"]
ROLES: tuple[Role, ...] = ("read", "write", "admin")  # each allows what those before it do
_DOES: dict[Role, str] = {"read": "read", "write": "change", "admin": "administer"}


@dataclass(frozen=True, slots=True)
class Rights:
    """What a principal may do in a user's namespace: `everywhere` in all of it, more in single models."""

    principal: Principal
    user_id: str
    everywhere: Role | None
    by_model: Mapping[str, Role]

    @property
    def nothing(self) -> bool:
        """Whether all of it is hidden from them."""
        return self.everywhere is None and not self.by_model

    @property
    def limited(self) -> bool:
        """Whether they may not read each model that there is, or will be."""
        return self.everywhere is None or self.principal.models is not None

    def holds(self, role: Role, model_id: str | None = None) -> bool:
        """Whether they have been given a role, whatever a token of theirs allows; with no model in the namespace as a
        whole."""
        held = [self.everywhere, self.by_model.get(model_id) if model_id is not None else None]
        return any(each is not None and ROLES.index(each) >= ROLES.index(role) for each in held)

    def may(self, action: Role, model_id: str | None = None, *, role: Role | None = None) -> bool:
        """Whether they may do this. `role`: what has to be given to them, where that is more than the action says."""
        return self.holds(role or action, model_id) and self._refusal_of_token(action, model_id) is None

    def authorise(self, action: Role, model_id: str | None = None, *, role: Role | None = None) -> None:
        """NotFoundError where they may not even read: what one may not see is not there. ForbiddenError where they may
        read, but not this; or where only their token may not."""
        needed: Role = role or action
        what = f"model {model_id!r} of user {self.user_id!r}" if model_id else f"all models of user {self.user_id!r}"
        if not self.holds(needed, model_id):
            if self.nothing or (model_id is not None and not self.holds("read", model_id)):
                raise _missing(self.user_id, model_id)
            raise ForbiddenError(f"You may not {_DOES[needed]} {what}", code=f"no_{needed}_grant")
        refusal = self._refusal_of_token(action, model_id)
        if refusal is not None:
            raise refusal

    def seen(self) -> Callable[[str], bool] | None:
        """Which models of the namespace they may read; None: each."""
        return (lambda model_id: self.may("read", model_id)) if self.limited else None

    def _refusal_of_token(self, action: Role, model_id: str | None) -> ForbiddenError | None:
        principal = self.principal
        if action != "read" and principal.scope == "read":
            return ForbiddenError("This token is for reading only", code="token_reads_only")
        if principal.models is not None and (model_id is None or not fnmatchcase(model_id, principal.models)):
            return ForbiddenError(f"This token is for the models {principal.models!r} only", code="token_other_models")
        return None


def _missing(user_id: str, model_id: str | None) -> NotFoundError:
    what = f"Model {model_id!r} of user {user_id!r}" if model_id else f"User {user_id!r}"
    return NotFoundError(f"{what} not found", code="not_found")


def rights_of(principal: Principal, user_id: str) -> Rights:
    """What a principal may do in a user's namespace, now: to be asked for in each request, and not kept."""
    if principal.everything or principal.id == user_id:
        return Rights(principal, user_id, "admin", {})
    roles: dict[str, Role] = {}
    keys = [records.grant_key(user_id, grantee) for grantee in _grantees(principal)]
    for row in GrantRow.batch_get(keys, consistent_read=True):
        for model_id, role in row.roles.items():
            if role in ROLES and ROLES.index(role) >= ROLES.index(roles.get(model_id, role)):
                roles[model_id] = role
    everywhere = roles.pop(ALL_MODELS, None)
    return Rights(principal, user_id, everywhere, roles)


def _grantees(principal: Principal) -> list[str]:
    """By which names things may have been granted to them. A user id that looks like a group is nobody's grantee."""
    groups = [f"@{group}" for group in sorted(principal.groups) if naming.is_group(group)]
    return ([] if principal.id.startswith("@") else [principal.id]) + groups


def authorise(principal: Principal, action: Role, user_id: str, model_id: str) -> None:
    """Raises NotFoundError or ForbiddenError where the principal may not, as `Rights.authorise` says."""
    rights_of(principal, user_id).authorise(action, model_id)
