"""What answers look like beyond a model's JSON: pages with a Link, bytes in ranges, OpenAPI of bodies read by hand."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel

from registry import downloads
from registry.downloads import Redirect
from registry.exports import Content
from registry.storage.objects import CONTENT_TYPE

_RANGE = re.compile(r"bytes=([0-9]{0,4000})-([0-9]{0,4000})", re.IGNORECASE)


def link_next(
    request: Request, response: Response, cursor: str | None, *, instead: tuple[str, dict[str, str]] | None = None
) -> None:
    """Says where the next page is, if there is one: the same request with a cursor instead of `skip`; or, where this
    request can't be repeated, what to ask `instead` (path and query)."""
    if cursor is None:
        return
    if instead is not None:
        path, query = instead[0], list(instead[1].items())
    else:
        path = (request.scope.get("raw_path") or b"").decode("ascii") or quote(request.url.path)
        query = [(key, value) for key, value in request.query_params.multi_items() if key not in ("cursor", "skip")]
    following = url_of(request, f"{path}?{urlencode([*query, ('cursor', cursor)])}")
    response.headers["Link"] = f'<{following}>; rel="next"'


def url_of(request: Request, path: str) -> str:
    """A path of the API as a whole URL, as this caller reaches it: behind API Gateway the stage comes before it."""
    event = request.scope.get("aws.event") or {}
    outer, inner = (event.get("requestContext") or {}).get("path") or "", event.get("path") or ""
    stage = outer.removesuffix(inner) if inner and outer.endswith(inner) else ""
    return f"{request.url.scheme}://{request.url.netloc}{stage}{path}"


def content_answer(request: Request, content: Content | Redirect) -> Response:
    """A redirect, or the bytes: whole, or one range (RFC 9110); several ranges are answered whole."""
    if isinstance(content, Redirect):
        url = url_of(request, content.url) if content.url.startswith("/") else content.url
        return RedirectResponse(url, status_code=307, headers={"Cache-Control": "no-store"})
    headers = {
        "Content-Disposition": downloads.disposition(content.filename),
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        "ETag": content.etag,
    }
    if _matches(request.headers.get("if-none-match", ""), content.etag):
        return Response(status_code=304, headers=headers)
    chosen = _choose_range(request, content)
    if chosen is None:
        headers["Content-Range"] = f"bytes */{content.size}"
        detail = f"The range lies outside the {content.size} bytes that there are"
        return JSONResponse({"detail": detail, "code": "bad_range"}, status_code=416, headers=headers)
    first, last, partial = chosen
    headers["Content-Length"] = str(last - first + 1)
    if partial:
        headers["Content-Range"] = f"bytes {first}-{last}/{content.size}"
    return StreamingResponse(
        content.read(first, last), status_code=206 if partial else 200, headers=headers, media_type=CONTENT_TYPE
    )


def _matches(header: str, etag: str) -> bool:
    """If-None-Match: a list of ETags, weak ones too, or a star (RFC 9110, section 13.1.2)."""
    return any(each.strip().removeprefix("W/") in (etag, "*") for each in header.split(","))


def _choose_range(request: Request, content: Content) -> tuple[int, int, bool] | None:
    """First and last byte to send, and whether a range was asked for; None where it lies outside."""
    whole = (0, content.size - 1, False)
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    condition = request.headers.get("if-range")
    if match is None or not (match[1] or match[2]) or (condition is not None and condition != content.etag):
        return whole
    if not match[1]:
        count = min(int(match[2]), content.size)
        return (content.size - count, content.size - 1, True) if count else None
    first, last = int(match[1]), int(match[2]) if match[2] else content.size - 1
    if match[2] and last < first:
        return whole
    return (first, min(last, content.size - 1), True) if first < content.size else None


def body_schema(model: type[BaseModel], *, file_field: str | None = None) -> dict[str, Any]:
    """OpenAPI for a body that a route reads by hand: JSON, or a form with a file."""
    schema = model.model_json_schema()
    schema = _inline(schema, schema.pop("$defs", {}))
    if file_field is None:
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    schema["properties"] = {file_field: {"type": "string", "format": "binary"}, **schema["properties"]}
    schema["required"] = [file_field, *schema.get("required", [])]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema with its definitions put in place: OpenAPI looks for them elsewhere, and none of ours is recursive."""
    if isinstance(schema, list):
        return [_inline(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inline(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    return {key: _inline(value, definitions) for key, value in schema.items()}
