"""What answers look like beyond a model's JSON: pages with a Link, bytes in ranges, OpenAPI of bodies read by hand."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from pydantic import BaseModel

from registry import downloads
from registry.downloads import Redirect
from registry.exports import Content
from registry.storage.objects import CONTENT_TYPE

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def link_next(request: Request, response: Response, cursor: str | None) -> None:
    """Says where the next page is, if there is one: the same request with a cursor instead of `skip`."""
    if cursor is not None:
        query = [(key, value) for key, value in request.query_params.multi_items() if key not in ("cursor", "skip")]
        response.headers["Link"] = f'<{request.url.path}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'


def content_answer(request: Request, content: Content | Redirect) -> Response:
    """A redirect, or the bytes: whole, or one range (RFC 9110); several ranges are answered whole."""
    if isinstance(content, Redirect):
        return RedirectResponse(content.url, status_code=307, headers={"Cache-Control": "no-store"})
    headers = {
        "Content-Disposition": downloads.disposition(content.filename),
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        "ETag": content.etag,
    }
    if request.headers.get("if-none-match") == content.etag:
        return Response(status_code=304, headers=headers)
    chosen = _choose_range(request, content)
    if chosen is None:
        headers["Content-Range"] = f"bytes */{content.size}"
        return Response(status_code=416, headers=headers)
    first, last, partial = chosen
    headers["Content-Length"] = str(last - first + 1)
    if partial:
        headers["Content-Range"] = f"bytes {first}-{last}/{content.size}"
    return StreamingResponse(
        content.read(first, last), status_code=206 if partial else 200, headers=headers, media_type=CONTENT_TYPE
    )


def _choose_range(request: Request, content: Content) -> tuple[int, int, bool] | None:
    """First and last byte to send, and whether a range was asked for; None where it lies outside."""
    whole = (0, content.size - 1, False)
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    condition = request.headers.get("if-range")
    if match is None or match[0] == "bytes=-" or (condition is not None and condition != content.etag):
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
    if file_field is None:
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    schema["properties"] = {file_field: {"type": "string", "format": "binary"}, **schema["properties"]}
    schema["required"] = [file_field, *schema.get("required", [])]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
