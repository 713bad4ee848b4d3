"""OPTIONS of every path: what a browser may do from where it is. Until origins can be named, nothing."""

from __future__ import annotations

from typing import Any


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """An answer without headers, which a browser takes as no."""
    del event, context
    return {"statusCode": 204, "headers": {}, "body": ""}
