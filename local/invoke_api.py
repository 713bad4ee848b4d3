"""Lambda's Invoke API over the bridge, so that boto3's Lambda client works here; and where MinIO posts its events."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.bridge import Bridge
from local.invoking import FunctionNotFoundError
from local.minio import EVENTS_PATH


def create_invoke_api(
    bridge: Bridge, *, access_key: str, events_token: str, receive: Callable[[dict[str, Any]], None]
) -> Starlette:
    """POST /2015-03-31/functions/{name}/invocations, for callers that sign with our own access key.

    The signature itself is not checked: the key is random and secret to this machine, and a web page, which can post
    to a local port, can neither know it nor send the header. POST /events, with the token, hands what MinIO says to
    `receive`; MinIO sends it again until the answer is a 2xx.
    """
    signed_by_us = f"AWS4-HMAC-SHA256 Credential={access_key}/"

    async def invoke(request: Request) -> Response:
        if not request.headers.get("authorization", "").startswith(signed_by_us):
            return _error(403, "AccessDeniedException", "the request is not signed with this registry's key")
        name = request.path_params["name"]
        kind = request.headers.get("x-amz-invocation-type", "RequestResponse")
        try:
            event = json.loads(await request.body() or b"{}")
        except ValueError:
            return _error(400, "InvalidRequestContentException", "the payload is not JSON")
        try:
            if kind == "Event":
                await run_in_threadpool(bridge.invoke_async, name, event)
                return Response(status_code=202)
            if kind != "RequestResponse":
                return _error(400, "InvalidParameterValueException", f"unknown invocation type {kind}")
            result = await run_in_threadpool(bridge.invoke_sync, name, event)
        except FunctionNotFoundError as exc:
            return _error(404, "ResourceNotFoundException", f"Function not found: {exc}")
        if result.error is not None:
            return JSONResponse(result.error, headers={"X-Amz-Function-Error": "Unhandled"})
        return JSONResponse(result.payload, headers={"X-Amz-Executed-Version": "$LATEST"})

    async def take_event(request: Request) -> Response:
        said = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(said, f"Bearer {events_token}".encode()):
            return _error(403, "AccessDeniedException", "the event does not carry this registry's token")
        await run_in_threadpool(receive, await request.json())
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route("/2015-03-31/functions/{name}/invocations", invoke, methods=["POST"]),
            Route(EVENTS_PATH, take_event, methods=["POST"]),
        ]
    )


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"Type": "User", "Message": message}, status, headers={"X-Amzn-ErrorType": code})
