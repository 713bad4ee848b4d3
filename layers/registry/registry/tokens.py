"""The registry's own tokens (`mk_…`): made and revoked by their user, known again by their hash."""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, cast

from registry import naming, records
from registry.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from registry.observability import get_logger
from registry.principals import Principal, Scope
from registry.records import TokenPlaceRow, TokenRow, Transaction
from registry.settings import DAY_SECONDS, get_settings

if TYPE_CHECKING:
    from registry.schemas.tokens import CreateToken, NewToken, RevokedToken, Token

MAX_TOKENS = 100  # of one user: as many as a BatchGetItem reads
USUAL_DAYS = 90
USE_NOTED_SECONDS = 3_600
_PREFIX = "mk_"
_TOKEN = re.compile(r"mk_[A-Za-z0-9_-]{43}")  # 32 bytes in base64url
_TRIES = 8
_NOTING_SECONDS = 1  # beyond which a request does not wait for the note that its token was used


def authenticate(token: str) -> Principal:
    """The token's bearer: its owner, within the token's bounds and in no group. UnauthenticatedError, whose `code` is
    the reason and never part of the token."""
    if not _TOKEN.fullmatch(token):
        raise UnauthenticatedError("The token is none of this registry's", code="token_malformed")
    pk = records.token_pk(token)
    row = TokenRow.find(pk)
    if row is None or not hmac.compare_digest(row.pk, pk):
        raise UnauthenticatedError("The token was never made, or is revoked", code="token_unknown")
    now = time.time()
    if _end(row) <= now:
        raise UnauthenticatedError("The token has expired", code="token_expired")
    _note_use(row, now)
    return Principal(row.user_id, scope=cast(Scope, row.scope), models=row.models, token_id=row.token_id)


def create_token(*, principal: Principal, asked: CreateToken) -> NewToken:
    """Makes a token for the caller. ConflictError if they have as many as one may have."""
    from registry.schemas.tokens import NewToken  # the authorizer needs no pydantic

    _check_signed_in(principal)
    token = _PREFIX + secrets.token_urlsafe(32)
    now = int(time.time())
    row = TokenRow(
        records.token_pk(token),
        "#",
        token_id=naming.new_token_id(),
        user_id=principal.id,
        name=asked.name,
        scope=asked.scope,
        models=naming.check_model_pattern(asked.models) if asked.models is not None else None,
        created=now,
        expires=_choose_end(asked.expires_at, now),
    )
    for _ in range(_TRIES):
        places = {place.sk: place for place in _places(principal.id)}
        free = [sk for sk in map("{:03d}".format, range(MAX_TOKENS)) if _is_free(places.get(sk), now)]
        if not free:
            raise ConflictError(f"You have {MAX_TOKENS} tokens: revoke one first", code="too_many_tokens")
        if _take(principal.id, sk := secrets.choice(free), places.get(sk), row):
            get_logger().info("token_made", user_id=principal.id, token_id=row.token_id, scope=row.scope)
            return NewToken(**_show(row).model_dump(), token=token)
    raise UnavailableError("many tokens are made at once: try again", code="busy")


def list_tokens(*, principal: Principal) -> list[Token]:
    """The caller's tokens that have not expired, newest first."""
    _check_signed_in(principal)
    keys = [(place.token_pk, "#") for place in _places(principal.id)]
    rows = list(TokenRow.batch_get(keys, consistent_read=True)) if keys else []
    rows = [row for row in rows if (row.expires or 0) > time.time()]
    return [_show(row) for row in sorted(rows, key=lambda row: row.token_id, reverse=True)]


def revoke_token(*, principal: Principal, token_id: str) -> RevokedToken:
    """Takes one of the caller's tokens away. NotFoundError for any other."""
    from registry.schemas.tokens import RevokedToken

    _check_signed_in(principal)
    for _ in range(_TRIES):  # a use that is noted just now is a conflict, not a refusal
        place = next((each for each in _places(principal.id) if each.token_id == token_id), None)
        if place is None:
            raise NotFoundError("You have no token of this id", code="token_not_found")
        gone = Transaction().delete(place, TokenPlaceRow.token_id == token_id).delete(TokenRow(place.token_pk, "#"))
        if gone.commit():
            get_logger().info("token_revoked", user_id=principal.id, token_id=token_id)
            return RevokedToken(token_id=token_id)
    raise UnavailableError("the token is busy: try again", code="busy")


def _check_signed_in(principal: Principal) -> None:
    """A token that was stolen must not make others, nor see or take away those that replace it."""
    if principal.everything:
        raise ConflictError("Authentication is off: no token is needed, and none is made", code="authentication_off")
    if principal.token_id is not None:
        raise ForbiddenError(
            "Tokens are made, listed and revoked by whoever signed in at the issuer, not by a token of the registry",
            code="token_not_allowed",
        )


def _choose_end(wanted: str | None, now: int) -> int:
    days = get_settings().own_token_days
    if not days:
        raise ForbiddenError("This registry makes no tokens of its own", code="tokens_not_made")
    latest = now + days * DAY_SECONDS
    if wanted is None:
        return min(now + USUAL_DAYS * DAY_SECONDS, latest)
    try:
        end = int(datetime.fromisoformat(wanted).timestamp())
    except OverflowError:  # the offset leads out of the years that there are
        end = 0
    if not now < end <= latest:
        raise InvalidError(f"expires_at must lie ahead, by {days} days at most", code="bad_expires_at")
    return end


def _end(row: TokenRow) -> float:
    """When a token ends: as it was made, or sooner where the setting has been lowered since."""
    return min(row.expires or 0, row.created + get_settings().own_token_days * DAY_SECONDS)


def _places(user_id: str) -> list[TokenPlaceRow]:
    return list(TokenPlaceRow.query(f"TK#{user_id}", consistent_read=True))


def _is_free(place: TokenPlaceRow | None, now: int) -> bool:
    return place is None or (place.expires or 0) <= now


def _take(user_id: str, number: str, before: TokenPlaceRow | None, row: TokenRow) -> bool:
    """Writes a token and its place; of a token that had the place and has expired, nothing is left."""
    place = TokenPlaceRow(f"TK#{user_id}", number, token_id=row.token_id, token_pk=row.pk, expires=row.expires)
    transaction = Transaction().save(row, TokenRow.pk.does_not_exist())
    if before is None:
        return transaction.save(place, TokenPlaceRow.pk.does_not_exist()).commit()
    transaction.save(place, TokenPlaceRow.token_id == before.token_id)
    return transaction.delete(TokenRow(before.token_pk, "#")).commit()


def _note_use(row: TokenRow, now: float) -> None:
    """Once an hour. The condition keeps a token that was revoked meanwhile from coming back as half a row. No fault
    refuses a token that is good, and none keeps its bearer waiting: what hangs is left to itself."""
    last = TokenRow.last_used
    if row.last_used is not None and row.last_used > now - USE_NOTED_SECONDS:
        return

    def note() -> None:
        try:
            due = last.does_not_exist() | (last <= int(now) - USE_NOTED_SECONDS)
            records.update_if(row, [last.set(int(now))], TokenRow.pk.exists() & due)
        except Exception:  # noqa: BLE001
            get_logger().warning("token_use_not_noted", token_id=row.token_id, exc_info=True)

    noting = threading.Thread(target=note, daemon=True)
    noting.start()
    noting.join(_NOTING_SECONDS)


def _show(row: TokenRow) -> Token:
    from registry.schemas.tokens import Token

    return Token(
        token_id=row.token_id,
        name=row.name,
        scope=cast(Scope, row.scope),
        models=row.models,
        created_at=records.time_text(row.created),
        expires_at=records.time_text(_end(row)),
        last_used_at=records.time_text(row.last_used) if row.last_used is not None else None,
    )
