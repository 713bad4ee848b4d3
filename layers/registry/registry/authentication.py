"""Who sent a JWT of the one issuer whose tokens the settings say to believe. (Tokens of our own are `tokens`'.)"""

from __future__ import annotations

import re
import time
from functools import cache
from typing import Any

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAlgorithmError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidKeyError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from registry import naming
from registry.errors import InvalidError, UnauthenticatedError
from registry.principals import MAX_GROUPS, Principal
from registry.settings import SettingsError, get_settings
from registry.signing_keys import ALGORITHMS, SigningKeys

MAX_TOKEN_CHARACTERS = 8_192  # API Gateway takes 10,240 bytes of headers in all
LEEWAY_SECONDS = 30  # how far clocks may differ
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REASONS: dict[type[PyJWTError], str] = {
    ExpiredSignatureError: "token_expired",
    ImmatureSignatureError: "token_too_early",
    InvalidAlgorithmError: "wrong_algorithm",
    InvalidAudienceError: "wrong_audience",
    InvalidIssuerError: "wrong_issuer",
    InvalidKeyError: "weak_key",
    InvalidSignatureError: "wrong_signature",
    MissingRequiredClaimError: "claim_missing",
}


def authenticate(token: str) -> Principal:
    """The token's bearer. UnauthenticatedError, whose `code` is the reason and never part of the token;
    UnavailableError while the issuer's keys can't be had; SettingsError where no issuer is set."""
    settings = get_settings()
    if not settings.issuer:
        raise SettingsError("REGISTRY_ISSUER is not set, so nobody can be known: set it, and REGISTRY_AUDIENCE")
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise UnauthenticatedError(f"A token may have {MAX_TOKEN_CHARACTERS} characters", code="token_too_long")
    if not _JWT.fullmatch(token):
        raise UnauthenticatedError("The token is no signed JWT", code="token_malformed")
    claims = _verify(token, issuer=settings.issuer, jwks_url=settings.jwks_url, audience=settings.audience)
    _check_lifetime(claims["exp"], settings.token_lifetime_seconds)
    user_id = claims.get(settings.user_claim)
    if not isinstance(user_id, str):
        raise UnauthenticatedError(f"The token has no text in {settings.user_claim!r}", code="claim_missing")
    try:
        naming.check_user_id(user_id)
    except InvalidError as error:
        raise UnauthenticatedError(f"The token is for nobody: {error.detail}", code="bad_user_id") from None
    return Principal(
        user_id, groups=_groups(claims.get(settings.groups_claim)) if settings.groups_claim else frozenset()
    )


def _groups(claim: Any) -> frozenset[str]:
    """The groups that a claim names. What can't be the name of one is left out: issuers list more than we know of."""
    listed = [claim] if isinstance(claim, str) else claim if isinstance(claim, list) else []
    names = dict.fromkeys(name for name in listed if isinstance(name, str) and naming.is_group(name))
    return frozenset(list(names)[:MAX_GROUPS])


def _verify(token: str, *, issuer: str, jwks_url: str, audience: str) -> dict[str, Any]:
    try:
        head = jwt.get_unverified_header(token)
        if head.get("alg") not in ALGORITHMS:  # before anybody is asked for a key
            raise InvalidAlgorithmError("not one of ours")
        if not head.get("kid"):
            raise UnauthenticatedError("The token does not name its key", code="unknown_key")
        # The key brings the one algorithm that it is for; what the token calls it must be equal. `jku`, `x5u` and
        # `jwk`, by which a token may bring its own key, are never looked at.
        return jwt.decode(
            token,
            keys_of(issuer, jwks_url).find(head["kid"]),
            algorithms=ALGORITHMS,
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY_SECONDS,
            # A token for several audiences could be used here by each of the others.
            options={"require": ["iss", "aud", "exp"], "strict_aud": True, "enforce_minimum_key_length": True},
        )
    except PyJWTError as error:
        raise UnauthenticatedError("The token is not valid", code=_reason(error)) from error


def _reason(error: PyJWTError) -> str:
    return next((_REASONS[kind] for kind in type(error).__mro__ if kind in _REASONS), "token_malformed")


def _check_lifetime(expires: Any, longest: int) -> None:
    """PyJWT has seen that it is a time to come, as a number or a number's text."""
    if int(expires) > time.time() + longest + LEEWAY_SECONDS:
        raise UnauthenticatedError(f"The token is good for more than {longest} s", code="token_lives_too_long")


@cache
def keys_of(issuer: str, jwks_url: str) -> SigningKeys:
    """The process's keys of an issuer; tests forget them with `keys_of.cache_clear()`."""
    return SigningKeys(issuer, jwks_url=jwks_url)
