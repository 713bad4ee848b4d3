"""What pages of other origins may do, as browsers ask (the Fetch standard's CORS). Callers are known by a token, never
by a cookie: credentials are not allowed."""

from __future__ import annotations

from registry.settings import get_settings

METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS")
REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "Range",
)
EXPOSED_HEADERS = (
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Link",
    "Location",
    "Retry-After",
    "X-Request-Id",
)
MAX_AGE_SECONDS = 3600  # browsers cap it: Chromium at two hours


def preflight_headers(origin: str | None) -> dict[str, str]:
    """The headers of the answer to OPTIONS: what an origin that is named in the settings may do; for others, and where
    no page asks, only which methods there are."""
    headers = {"Allow": ", ".join(METHODS), "Vary": "Origin"}
    if origin is not None and origin in get_settings().origins:
        headers |= {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": ", ".join(METHODS),
            "Access-Control-Allow-Headers": ", ".join(REQUEST_HEADERS),
            "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
        }
    return headers
