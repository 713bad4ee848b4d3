"""Lambda authorizer (REQUEST): who calls? What they may do is decided in the endpoints."""

from __future__ import annotations

import re
import time
from typing import Any

from registry import authentication
from registry.errors import UnauthenticatedError
from registry.observability import get_logger, write_metrics
from registry.principals import Principal, write_context

_BEARER = re.compile(r"bearer +([^ ]+) *", re.IGNORECASE)


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Lets a known user into the whole API. API Gateway answers 401 to an exception with just the text "Unauthorized",
    and "authorizer failure" to any other: no issuer is set, its keys can't be had, or the table can't be read."""
    request_id, began = (event.get("requestContext") or {}).get("requestId"), time.perf_counter()
    try:
        principal = _authenticate(_read_token(event))
    except UnauthenticatedError as error:
        get_logger().info("refused", code=error.code, request_id=request_id)
        write_metrics("authenticate_request", seconds=time.perf_counter() - began, code=error.code)
        raise Exception("Unauthorized") from None
    except Exception:
        get_logger().exception("nobody_gets_in", request_id=request_id)
        write_metrics("authenticate_request", seconds=time.perf_counter() - began, failed=True)
        raise
    get_logger().info("authenticated", user_id=principal.id, token_id=principal.token_id, request_id=request_id)
    # One policy for the whole stage: it is cached for the token, and would else refuse the next route or method.
    resource = "/".join([*event["methodArn"].split("/")[:2], "*", "*"])
    statement = {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": resource}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    return {"principalId": principal.id, "policyDocument": policy, "context": write_context(principal)}


def _authenticate(token: str) -> Principal:
    if not token.startswith("mk_"):
        return authentication.authenticate(token)
    from registry import tokens  # and with it the table's client, which a JWT does without

    return tokens.authenticate(token)


def _read_token(event: dict[str, Any]) -> str:
    """The one bearer token of a request."""
    many = event.get("multiValueHeaders") or {name: [value] for name, value in (event.get("headers") or {}).items()}
    values = [value for name, found in many.items() if name.lower() == "authorization" for value in found]
    match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        raise UnauthenticatedError("One Authorization header with a bearer token is needed", code="no_token")
    return match[1]
