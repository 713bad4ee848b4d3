"""What users let others do in their namespaces: given, shown and taken away, by them and by those they let administer.

A grantee has one row in a namespace, whose `roles` name what they may do with each model, or with all. So what somebody
may do there is one read, for a model as for a list; and a grant is one conditional write.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry import naming, records
from registry.auth import Principal, Rights, Role, rights_of
from registry.catalog import reading
from registry.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, UnavailableError
from registry.observability import get_logger
from registry.records import ALL_MODELS, GrantRow
from registry.schemas.grants import Grant, RevokedGrant

MAX_GRANTS = 500  # of one grantee in one namespace: that row is read whenever they call
_ROWS_A_CALL = 200
_TRIES = 8


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a grant stands, as paths say it: `{grantee}`, or `{model_id}/{grantee}`."""

    user_id: str
    model_id: str | None
    grantee: str

    @classmethod
    def read(cls, user_id: str, place: str) -> _Place:
        model_id, slash, grantee = place.rpartition("/")
        return cls(
            naming.check_user_id(user_id),
            naming.check_model_id(model_id) if slash else None,
            naming.check_grantee(grantee),
        )

    @property
    def slot(self) -> str:
        return self.model_id or ALL_MODELS

    def row(self) -> GrantRow:
        return GrantRow(*records.grant_key(self.user_id, self.grantee))

    def missing(self) -> NotFoundError:
        return NotFoundError(f"Nothing is granted to {self.grantee!r} here", code="grant_not_found")


def get_grant(*, principal: Principal, user_id: str, place: str) -> Grant:
    """One grant. NotFoundError."""
    where = _Place.read(user_id, place)
    rights_of(principal, user_id).authorise("read", where.model_id, role="admin")
    row = GrantRow.find(*records.grant_key(user_id, where.grantee))
    role = row.roles.get(where.slot) if row is not None else None
    if role is None:
        raise where.missing()
    return Grant(user_id=user_id, model_id=where.model_id, grantee=where.grantee, role=role)


def put_grant(*, principal: Principal, user_id: str, place: str, role: Role) -> Grant:
    """Grants a role, instead of the one that was granted there before. ConflictError if the grantee has as many grants
    as one may have."""
    where = _Place.read(user_id, place)
    _authorise_change(principal, where)
    if where.grantee == user_id:
        raise InvalidError(f"{user_id!r} may do all here: it is their own namespace", code="grant_to_owner")
    _write(where, role)
    _log("granted", principal, where, role)
    return Grant(user_id=user_id, model_id=where.model_id, grantee=where.grantee, role=role)


def _write(where: _Place, role: Role) -> None:
    slot = GrantRow.roles[where.slot]
    room = slot.exists() | records.fewer_than(MAX_GRANTS, GrantRow.roles)
    for _ in range(_TRIES):
        if records.update_if(where.row(), [slot.set(role)], GrantRow.pk.exists() & room):
            return
        first = where.row()
        first.roles = {where.slot: role}
        if records.save_if(first, GrantRow.pk.does_not_exist()):
            return
        row = GrantRow.find(first.pk, first.sk)
        if row is not None and where.slot not in row.roles and len(row.roles) >= MAX_GRANTS:
            raise ConflictError(
                f"{where.grantee!r} has {MAX_GRANTS} grants of user {where.user_id!r}: grant a role on all models "
                "instead, or make a group",
                code="too_many_grants",
            )
    raise UnavailableError("this grantee's grants change just now: try again", code="busy")


def delete_grant(*, principal: Principal, user_id: str, place: str) -> RevokedGrant:
    """Takes a grant away; from the next request on it counts for nothing. NotFoundError where there is none, so that a
    misspelt grantee is not taken for one who has lost it."""
    where = _Place.read(user_id, place)
    _authorise_change(principal, where)
    row, slot = where.row(), GrantRow.roles[where.slot]
    if not records.update_if(row, [slot.remove()], slot.exists()):
        raise where.missing()
    records.delete_if(row, records.fewer_than(1, GrantRow.roles))  # a row without roles grants nothing either
    _log("grant_revoked", principal, where, None)
    return RevokedGrant(user_id=user_id, model_id=where.model_id, grantee=where.grantee)


def _authorise_change(principal: Principal, where: _Place) -> None:
    rights_of(principal, where.user_id).authorise("admin", where.model_id)
    if principal.token_id is not None:  # what a stolen one grants would outlast it
        raise ForbiddenError(
            "Grants are given and revoked by whoever signed in at the issuer, not by a token of the registry",
            code="token_not_allowed",
        )


def _log(event: str, principal: Principal, where: _Place, role: Role | None) -> None:
    get_logger().info(
        event,
        principal=principal.id,
        user_id=where.user_id,
        model_id=where.model_id,
        grantee=where.grantee,
        role=role,
    )


def list_grants(
    *, principal: Principal, user_id: str, limit: int, cursor: str | None
) -> tuple[list[Grant], str | None]:
    """The grants in a namespace that the caller may administer, by grantee and model; and where the next page begins.
    Who administers one model has all grantees passed through: a page that ended before would name one of another."""
    rights = rights_of(principal, naming.check_user_id(user_id))
    if not any(rights.may("read", model_id, role="admin") for model_id in (None, *rights.by_model)):
        rights.authorise("read", role="admin")
    after = _read_cursor(cursor) if cursor else ("", "")
    condition = GrantRow.sk >= after[0] if cursor else None
    found: list[Grant] = []
    pk, _ = records.grant_key(user_id, "")
    for row in GrantRow.query(pk, condition, consistent_read=True, page_size=_ROWS_A_CALL):
        for grant in _grants_of(row, rights):
            if (grant.grantee, grant.model_id or ALL_MODELS) <= after:
                continue
            if len(found) == limit:
                return found, _make_cursor(found[-1].grantee, found[-1].model_id or ALL_MODELS)
            found.append(grant)
    return found, None


def _grants_of(row: GrantRow, rights: Rights) -> list[Grant]:
    grants = [
        Grant(user_id=rights.user_id, model_id=slot if slot != ALL_MODELS else None, grantee=row.sk, role=role)
        for slot, role in sorted(row.roles.items())
    ]
    return [grant for grant in grants if rights.may("read", grant.model_id, role="admin")]


def _make_cursor(grantee: str, slot: str) -> str:
    return reading.make_cursor(f"{grantee}/{slot}")


def _read_cursor(cursor: str) -> tuple[str, str]:
    grantee, _, slot = reading.read_cursor(cursor).partition("/")
    if not grantee or not slot:
        raise InvalidError("cursor is none of ours: take it from the Link header", code="bad_cursor")
    return grantee, slot
