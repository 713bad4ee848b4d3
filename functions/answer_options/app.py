"""OPTIONS of every path: may a page of another origin call? API Gateway's own answer breaks where types are binary."""

from __future__ import annotations

from typing import Any

from registry import cors


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answers a preflight; needs no token, as browsers send none with it."""
    del context
    sent = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    return {"statusCode": 204, "headers": cors.preflight_headers(sent.get("origin")), "body": ""}
