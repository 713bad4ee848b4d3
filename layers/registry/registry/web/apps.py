"""The app of one function, or of all of them; and what every answer of theirs has in common."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry import cors
from registry.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    PreconditionFailedError,
    RegistryError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
)
from registry.observability import count_bytes, get_logger, trace, write_metrics
from registry.settings import get_settings

STATUS_BY_ERROR: dict[type[RegistryError], int] = {
    InvalidError: 400,
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    PreconditionFailedError: 412,
    TooLargeError: 413,
    UnavailableError: 503,
}

_OWN_TOKEN = re.compile("mk_[A-Za-z0-9_-]+")  # which somebody took for the id of one


def create_app(
    routers: Sequence[APIRouter], *, title: str = "Modelkeep", docs: bool = False, authenticated: bool = False
) -> FastAPI:
    """An app that answers these routes, with the contract's errors. With `docs` it describes itself: `authenticated`,
    whether callers have to send a token."""
    paths = {"docs_url": "/docs", "openapi_url": "/openapi.json"} if docs else {"docs_url": None, "openapi_url": None}
    app = FastAPI(title=title, redoc_url=None, redirect_slashes=False, dependencies=[Depends(_check_query)], **paths)
    for router in routers:
        app.include_router(router)
    app.openapi = lambda: _describe(app, authenticated=authenticated)  # type: ignore[method-assign]
    app.add_exception_handler(RegistryError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(_Closest, routers=routers)
    app.add_middleware(_Outermost, function=_function_of(routers))
    app.add_middleware(_Cors)
    return app


def _function_of(routers: Sequence[APIRouter]) -> str:
    """What logs and metrics call it: the one route's operation, which is also its folder's name."""
    names = [getattr(route, "operation_id", None) for router in routers for route in router.routes]
    return names[0] if len(names) == 1 and names[0] else "all"


def _describe(app: FastAPI, *, authenticated: bool) -> dict[str, Any]:
    if not app.openapi_schema:
        from registry.web.description import describe  # only where there are docs

        app.openapi_schema = describe(app, authenticated=authenticated)
    return app.openapi_schema


def create_handler(router: APIRouter) -> Callable[[dict[str, Any], Any], Any]:
    """The Lambda handler of one function."""
    from mangum import Mangum

    return Mangum(create_app([router]), lifespan="off")


async def _check_query(request: Request) -> None:
    """A parameter sent twice is a 400, as only one would count; so is an unknown one where something changes: a
    misspelt `version` must not delete another one."""
    names = [name for name, _ in request.query_params.multi_items()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidError(f"sent more than once: {', '.join(twice)[:200]}", code="repeated_parameter")
    dependant = getattr(request.scope.get("route"), "dependant", None)
    if request.method in ("PUT", "DELETE") and dependant is not None:
        unknown = sorted(set(names) - {parameter.alias for parameter in dependant.query_params})
        if unknown:
            raise InvalidError(f"unknown parameters: {', '.join(unknown)[:200]}", code="unknown_parameter")


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RegistryError)
    status = next((STATUS_BY_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_BY_ERROR), 500)
    headers = {}
    if isinstance(error, UnavailableError):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = "Bearer"
    return _error(request, status, error.detail, error.code, headers, error.extra)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    findings = []
    for finding in error.errors()[:5]:
        place = ".".join(str(part) for part in finding["loc"][1:]) or "request"
        findings.append(f"{place}: {finding['msg'].removeprefix('Value error, ')}")
    return _error(request, 400, "; ".join(findings)[:1000], "invalid")


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    codes = {404: "no_such_route", 405: "method_not_allowed"}
    return _error(
        request, error.status_code, str(error.detail), codes.get(error.status_code, "http_error"), error.headers
    )


def _error(
    request: Request, status: int, detail: str, code: str, headers: Any = None, extra: dict[str, Any] | None = None
) -> JSONResponse:
    request.scope["modelkeep.code"] = code
    return JSONResponse({"detail": detail, "code": code, **(extra or {})}, status_code=status, headers=headers)


class _Closest:
    """Answers 405 where the closest path has no such method, as API Gateway does. Starlette would look on: it takes
    `PUT …/upload/direct` for model `direct` of user `upload`, and names but one route's methods in `Allow`."""

    def __init__(self, app: ASGIApp, *, routers: Sequence[APIRouter]) -> None:
        self._app = app
        self._methods: dict[re.Pattern[str], set[str]] = {}
        for route in [route for router in routers for route in router.routes if isinstance(route, APIRoute)]:
            self._methods.setdefault(route.path_regex, set()).update(route.methods or ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        closest = next((path for path in self._methods if scope["type"] == "http" and path.match(scope["path"])), None)
        if closest is None or scope["method"] in self._methods[closest]:
            await self._app(scope, receive, send)
            return
        allow = {"Allow": ", ".join(sorted(self._methods[closest]))}
        refusal = _error(Request(scope), 405, "Method Not Allowed", "method_not_allowed", allow)
        await refusal(scope, receive, send)


class _Cors:
    """Lets pages of the origins that the settings name read all answers, refusals too. The settings are read at the
    first request, as importing does nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._allowed: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._allowed is None:
            self._allowed = self._allow(get_settings().origins)
        await (self._allowed or self._app)(scope, receive, send)

    def _allow(self, origins: tuple[str, ...]) -> ASGIApp:
        if not origins:
            return self._app
        from starlette.middleware.cors import CORSMiddleware

        return CORSMiddleware(
            self._app,
            allow_origins=origins,
            allow_methods=cors.METHODS,
            allow_headers=cors.REQUEST_HEADERS,
            expose_headers=cors.EXPOSED_HEADERS,
            max_age=cors.MAX_AGE_SECONDS,
        )


class _Outermost:
    """Gives every request an id and one log line, and turns what nobody expected into a 500 that tells no cause."""

    def __init__(self, app: ASGIApp, *, function: str) -> None:
        self._app = app
        self._function = function

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        began, status, sent = time.perf_counter(), 0, 0

        async def note(message: Message) -> None:
            nonlocal status, sent
            sent += len(message.get("body", b""))
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        log = get_logger()
        facts: dict[str, Any] = {"request_id": request_id, "function": self._function}
        facts |= {"method": scope["method"], "path": _OWN_TOKEN.sub("mk_…", scope["path"][:500])}
        try:
            with trace(self._function):
                await self._app(scope, receive, note)
        except Exception:  # the last line of defence: the cause goes to the log, never to the caller
            log.exception("failed", **facts)
            if status:
                raise  # too late for another answer: the connection breaks, and the client sees that
            detail = f"Internal error; say request id {request_id} to whoever runs this registry"
            answer = JSONResponse({"detail": detail, "code": "internal", "request_id": request_id}, status_code=500)
            await answer(scope, receive, note)
        code, seconds = scope.get("modelkeep.code"), time.perf_counter() - began
        log.info("answered", status=status, code=code, milliseconds=round(seconds * 1000, 1), **facts)
        count_bytes("BytesReceived", _length(scope))
        count_bytes("BytesSent", sent)
        write_metrics(
            self._function, seconds=seconds, code=code, failed=status >= 500 and status != 503
        )  # a 503 is meant


def _request_id(scope: Scope) -> str:
    context = scope.get("aws.context")
    return getattr(context, "aws_request_id", None) or uuid.uuid4().hex


def _length(scope: Scope) -> int:
    """How many bytes the request says that it has."""
    text = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(text) if text.isdigit() else 0
