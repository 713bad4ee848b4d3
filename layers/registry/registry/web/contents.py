"""Bytes as answers: whole, in ranges, or by a redirect to the store."""

from __future__ import annotations

import re

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse

from registry.downloads import Redirect
from registry.exports import Content
from registry.files import disposition
from registry.storage.objects import CONTENT_TYPE
from registry.web.answers import url_of

_RANGE = re.compile(r"bytes=([0-9]{0,4000})-([0-9]{0,4000})", re.IGNORECASE)


def content_answer(request: Request, content: Content | Redirect) -> Response:
    """A redirect, or the bytes: whole, or one range (RFC 9110); several ranges are answered whole."""
    if isinstance(content, Redirect):
        url = url_of(request, content.url) if content.url.startswith("/") else content.url
        return RedirectResponse(url, status_code=307, headers={"Cache-Control": "no-store"})
    headers = {
        "Content-Disposition": disposition(content.filename),
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
