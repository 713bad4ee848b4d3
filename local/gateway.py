"""API Gateway's part in `make run` when an issuer is set: it asks the authorizer who calls, before the app is asked."""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from registry.settings import SettingsError, read_settings
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

CACHE_SECONDS = 60  # as long as the template lets API Gateway keep a policy
_CACHED_TOKENS = 1_000
_STAGE = "arn:aws:execute-api:us-east-1:000000000000:local/local"
_OPEN_PATHS = ("/docs", "/openapi.json")
# Each is MODELKEEP_<NAME> to the user and REGISTRY_<NAME> to the functions.
SETTINGS = (
    *("issuer", "audience", "jwks_url", "user_claim", "groups_claim"),
    *("token_lifetime_seconds", "own_token_days"),
)

Authorizer = Callable[[dict[str, Any], Any], dict[str, Any]]
Context = dict[str, str]  # what endpoints find in `requestContext.authorizer`


def authentication(given: Mapping[str, str | None]) -> dict[str, str]:
    """What the functions are to be told of an issuer, from what the user said by the names of SETTINGS; nothing if no
    issuer is given. ValueError names what is wrong."""
    said = {name: value for name in SETTINGS if (value := given.get(name))}
    variables = {f"REGISTRY_{name.upper()}": value for name, value in said.items()}
    try:
        read_settings({"REGISTRY_BUCKET": "b", "REGISTRY_TABLE": "t", **variables})
    except SettingsError as error:
        raise ValueError(str(error).replace("REGISTRY_", "MODELKEEP_")) from None
    return {"REGISTRY_AUTHENTICATION": "authorizer", **variables} if "issuer" in said else {}


class Gateway:
    """Lets a request pass with its principal, as API Gateway hands it on; 401 without a good token."""

    def __init__(self, app: ASGIApp, authorizer: Authorizer | None = None) -> None:
        self._app = app
        self._authorizer = authorizer or _authenticate_request
        self._known: OrderedDict[str, tuple[float, Context]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401, or 503 where the authorizer fails: both as the template does."""
        if scope["type"] != "http" or scope["path"] in _OPEN_PATHS or scope["method"] == "OPTIONS":
            await self._app(scope, receive, send)
            return
        try:
            context = await self._context(scope)
        except Exception as error:  # noqa: BLE001 - whatever it is, API Gateway tells these two apart
            answer = _unauthenticated() if str(error) == "Unauthorized" else _failed()
            await _read_to_the_end(scope, receive)
            await answer(scope, receive, send)
            return
        event = {"requestContext": {"authorizer": dict(context)}}
        await self._app({**scope, "aws.event": event}, receive, send)

    async def _context(self, scope: Scope) -> Context:
        """Who calls, and what the authorizer says of them; a token's answer is kept for a minute, a refusal never."""
        tokens = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
        token = tokens[0] if len(tokens) == 1 else ""
        until, known = self._known.get(token, (0.0, {}))
        if time.monotonic() < until:
            return known
        policy = await run_in_threadpool(self._authorizer, _event(scope), None)
        if any(each["Effect"] != "Allow" for each in policy["policyDocument"]["Statement"]):
            raise RuntimeError("the authorizer's policy allows nothing")
        context = {**policy.get("context", {}), "principalId": policy["principalId"]}
        if not all(isinstance(value, str) for value in context.values()):
            raise RuntimeError("the authorizer's context must be texts: API Gateway takes no lists, and no objects")
        if token:
            self._known[token] = (time.monotonic() + CACHE_SECONDS, context)
        while len(self._known) > _CACHED_TOKENS:
            self._known.popitem(last=False)
        return context


def _authenticate_request(event: dict[str, Any], context: Any) -> dict[str, Any]:
    from functions.authenticate_request.app import lambda_handler

    return lambda_handler(event, context)


def _event(scope: Scope) -> dict[str, Any]:
    """The request as a REQUEST authorizer gets it: no body, and each header both ways."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    client = scope.get("client") or ("", 0)
    return {
        "type": "REQUEST",
        "methodArn": f"{_STAGE}/{scope['method']}{scope['path']}",
        "resource": "/{proxy+}",
        "path": scope["path"],
        "httpMethod": scope["method"],
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()},
        "multiValueQueryStringParameters": query,
        "pathParameters": {},
        "stageVariables": {},
        "requestContext": {
            "path": scope["path"],
            "httpMethod": scope["method"],
            "stage": "local",
            "requestId": str(uuid.uuid4()),
            "identity": {"sourceIp": client[0]},
        },
    }


async def _read_to_the_end(scope: Scope, receive: Receive) -> None:
    """Clients that send a body read no answer before its end; those that ask first (`Expect`) are told not to send."""
    if any(name == b"expect" for name, _ in scope["headers"]):
        return
    more = True
    while more:
        more = (await receive()).get("more_body", False)


def _unauthenticated() -> JSONResponse:
    detail = "Send Authorization: Bearer with a valid token."
    body = {"detail": detail, "code": "unauthenticated"}
    return JSONResponse(body, 401, headers={"WWW-Authenticate": "Bearer"})


def _failed() -> JSONResponse:
    body = {"detail": "Tokens cannot be checked just now; try again.", "code": "unavailable"}
    return JSONResponse(body, 503, headers={"Retry-After": "5"})
