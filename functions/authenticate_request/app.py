"""Lambda authorizer: who calls? Until an issuer can be configured it knows nobody, and refuses everybody."""

from __future__ import annotations

from typing import Any


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """API Gateway's way to answer 401 is this exception, with just this text."""
    del event, context
    raise PermissionError("Unauthorized")
