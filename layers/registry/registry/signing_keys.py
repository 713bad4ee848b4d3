"""The public keys by which an issuer's tokens are checked: fetched when needed, kept while they are good.

PyJWT reads the keys. Its own PyJWKClient is not used: it reads answers of any size, forgets its keys when they are due
and the issuer does not answer, and in such an outage asks again for every token.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from registry.errors import UnauthenticatedError, UnavailableError
from registry.observability import get_logger
from registry.settings import is_safe_url

# Asymmetric ones only: where a secret that both sides know could sign, our own copy of the public key would be one.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
RENEW_SECONDS = 600  # how long a key that the issuer withdraws may still be good
STALE_SECONDS = 6 * 3600  # how long known keys are good while the issuer does not answer
COOLDOWN_SECONDS = 60  # an unknown key makes us ask at most this often, whatever is sent
RETRY_SECONDS = 10  # the same where no key is known, and nobody gets in until one is
MAX_BYTES = 256 * 1024
TIMEOUT_SECONDS = 3  # for a connection, for each read, and once more for the whole body
_DISCOVERY = "/.well-known/openid-configuration"


class IssuerError(Exception):
    """The issuer's keys can't be had; the text says why."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Keys come from where we were told, or not at all."""

    def redirect_request(self, *arguments: Any) -> None:
        """None makes a redirect an error."""
        return


class SigningKeys:
    """One issuer's keys, by their id. May be used by many threads; one of them fetches."""

    def __init__(self, issuer: str, *, jwks_url: str = "") -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._keys: dict[str, PyJWK] = {}
        # Times of day: a monotonic clock may stand still while Lambda keeps a function frozen.
        self._fetched = 0.0
        self._tried = 0.0
        self._lock = threading.Lock()

    def find(self, key_id: str) -> PyJWK:
        """The key. UnauthenticatedError if the issuer has none of this id, UnavailableError if nothing is known."""
        key = self._known().get(key_id)
        # Whoever has a key does not wait for the one who renews it.
        if self._is_due(key) and self._lock.acquire(blocking=key is None):
            try:
                if self._is_due(self._known().get(key_id)):
                    self._renew()
            finally:
                self._lock.release()
            key = self._known().get(key_id)
        if key is not None:
            return key
        if not self._known():
            raise UnavailableError(f"The keys of {self._issuer} can't be fetched", code="issuer_unreachable")
        raise UnauthenticatedError("The token is signed by a key that its issuer does not publish", code="unknown_key")

    def _known(self) -> dict[str, PyJWK]:
        return self._keys if _is_within(self._fetched, STALE_SECONDS) else {}

    def _is_due(self, key: PyJWK | None) -> bool:
        wanted = key is None or not _is_within(self._fetched, RENEW_SECONDS)
        return wanted and not _is_within(self._tried, COOLDOWN_SECONDS if self._known() else RETRY_SECONDS)

    def _renew(self) -> None:
        try:
            self._keys = _read_keys(_fetch(self._jwks_url or self._discover()))
            self._fetched = time.time()
        except IssuerError as error:
            get_logger().warning(
                "issuer_unreachable", issuer=self._issuer, reason=str(error), known_keys=len(self._known())
            )
        finally:
            self._tried = time.time()  # not before: whoever has no key waits for this fetch instead of giving up

    def _discover(self) -> str:
        """Where the issuer says that its keys are (OpenID Connect Discovery 1.0, section 4)."""
        document = _fetch(self._issuer.removesuffix("/") + _DISCOVERY)
        if document.get("issuer") != self._issuer:
            raise IssuerError("its discovery names another issuer: REGISTRY_ISSUER must be equal, a '/' at its end too")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or not is_safe_url(url):
            raise IssuerError("its discovery names no jwks_uri that is an https URL")
        if urlsplit(self._issuer).scheme == "https" and urlsplit(url).scheme != "https":
            raise IssuerError("its discovery names a jwks_uri that is no https URL")
        return url


def _is_within(since: float, seconds: float) -> bool:
    """Whether less than so many seconds have passed; a clock that was put back does not make it longer."""
    return 0 <= time.time() - since < seconds


def _fetch(url: str) -> dict[str, Any]:
    """The JSON object at a URL. IssuerError for anything else."""
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if urlsplit(url).scheme == "http":  # which is for this machine, and must not leave it by a proxy
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "modelkeep"})  # noqa: S310
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            body = _read(response)
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError, HTTPError, time-outs are OSErrors
        raise IssuerError(f"{url}: {error}"[:500]) from error
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise IssuerError(f"{url}: no JSON") from error
    if not isinstance(document, dict):
        raise IssuerError(f"{url}: no JSON object")
    return document


def _read(response: http.client.HTTPResponse) -> bytes:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    body = b""
    while chunk := response.read1(MAX_BYTES):
        body += chunk
        if len(body) > MAX_BYTES:
            raise OSError(f"more than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("too slow")
    return body


def _read_keys(document: dict[str, Any]) -> dict[str, PyJWK]:
    """The keys that sign, by their id. IssuerError if there is none: an empty set replaces no other."""
    entries = document.get("keys")
    keys = {}
    for entry in entries if isinstance(entries, list) else ():
        key = _read_key(entry)
        if key is not None and isinstance(key.key_id, str):
            keys[key.key_id] = key
    if not keys:
        raise IssuerError("no keys with an id, for signatures, of an algorithm that is accepted")
    return keys


def _read_key(entry: Any) -> PyJWK | None:
    """None for what is no key, or not for us: an issuer may publish what we have never heard of."""
    if not isinstance(entry, dict) or entry.get("use") not in (None, "sig"):
        return None
    if entry.get("alg") not in (None, *ALGORITHMS):
        return None
    try:
        if "verify" not in (entry.get("key_ops") or ["verify"]):
            return None
        key = PyJWK(entry)
    except (PyJWTError, AttributeError, LookupError, TypeError, ValueError):
        return None
    return key if key.algorithm_name in ALGORITHMS else None
