"""What a request says: who calls, its JSON, its form. Everything wrong with it is a 400 that says what."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from registry.errors import InvalidError, TooLargeError
from registry.principals import ANYBODY, Principal, read_context
from registry.schemas.values import invalid_from
from registry.settings import MIB, get_settings

M = TypeVar("M", bound=BaseModel)
_MAX_JSON_BYTES = 5 * MIB  # 5,000 files with paths of 900 bytes


async def read_principal(request: Request) -> Principal:
    """Who calls, as the authorizer says; no header of the client's own is believed."""
    if get_settings().authentication == "off":
        return ANYBODY
    event = request.scope.get("aws.event") or {}
    return read_context((event.get("requestContext") or {}).get("authorizer") or {})


Caller = Annotated[Principal, Depends(read_principal)]


def json_body(model: type[M]) -> Any:
    """A dependency: the request's JSON as this model. Documented by it in OpenAPI through `openapi_extra`."""

    async def read(request: Request) -> M:
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise InvalidError(f"the body must be application/json, not {kind[:80]}", code="not_json")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_JSON_BYTES:
                raise TooLargeError(f"JSON may have {_MAX_JSON_BYTES} bytes")
        try:
            parsed = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise InvalidError(f"the body is no valid JSON: {error}"[:300], code="bad_json") from None
        if not isinstance(parsed, dict):
            raise InvalidError("the body must be a JSON object", code="bad_json")
        try:
            return model.model_validate(parsed)
        except ValidationError as error:
            raise invalid_from(error) from None
        except UnicodeError:
            raise InvalidError("text must be valid Unicode", code="bad_json") from None

    return Depends(read)
