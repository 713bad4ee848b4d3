"""What answers look like beyond a model's JSON: pages with a Link, bytes in ranges, OpenAPI of bodies read by hand."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from pydantic import BaseModel


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
