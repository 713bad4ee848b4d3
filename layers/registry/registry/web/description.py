"""The API's description (OpenAPI): what FastAPI tells of it, and what it can't know. `tests/integration/
test_description.py` holds it against what is answered; no function loads this, as none answers `/openapi.json`."""

from __future__ import annotations

import sys
import unicodedata
from functools import cache
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from registry.naming import RESERVED_USER_IDS

Json = dict[str, Any]


def _named(characters: str, *but: str, least: int = 1, first: str = "") -> Json:
    """Text of 1 to 128 of these characters which is none of some names, nor `.` or `..`."""
    other = "|".join(["[.]{1,2}", *but])
    first, length = (f"[{first}]", "{0,127}") if first else ("", f"{{{least},128}}")
    return {"type": "string", "pattern": f"^(?!({other})$){first}[{characters}]{length}$"}


_MODEL, _USER = "A-Za-z0-9._-", "A-Za-z0-9._@|+-"
_NO_USER = sorted(RESERVED_USER_IDS)  # nor what begins with `_`
# What ids look like, wherever they are: in queries and bodies, and in paths, where other names lead to other routes.
_IDS: dict[str, Json] = {
    "user_id": _named(_USER, *_NO_USER, first=_USER.replace("_", "")),
    "model_id": _named(_MODEL),
    "upload_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "version": _named(_MODEL, "latest"),
}
# `naming.check_grantee`: a user, or @ and a group; before it, a model and a slash.
_GRANT = f"^((?![.]{{1,2}}/)[{_MODEL}]{{1,128}}/)?(@[{_USER}]{{1,128}}|(?!({'|'.join(_NO_USER)}|[.]{{1,2}})$)"
_PATH_IDS = {
    **_IDS,
    "user_id": _named(_USER, first=_USER.replace("_", "")),
    "grant": {"type": "string", "pattern": f"{_GRANT}[A-Za-z0-9.|+-][{_USER}]{{0,127}})$"},
}
_MAY_BE_EMPTY = {"type": "string", "pattern": "^[A-Za-z0-9._-]{0,128}$"}  # which is as if it were not sent
_QUERIES: dict[str, Json] = {
    "version": _MAY_BE_EMPTY,
    "skip": {"type": "integer", "minimum": 0, "maximum": 5000, "default": 0},
}
_HEADERS: dict[str, Json] = {"idempotency-key": {"type": "string", "minLength": 1, "maxLength": 256}}
# Text that holds nothing of these categories, but for the characters beside them; `schemas.values` names the kinds.
_TEXT: dict[str, tuple[tuple[str, ...], str]] = {
    "line": (("Cc", "Cf", "Cs", "Zl", "Zp"), ""),
    "text": (("Cc", "Cs"), "\t\n\r" + "".join(map(chr, range(0x80, 0xA0)))),
}

_TRUTH = "^([01]|[Tt]([Rr][Uu][Ee])?|[Ff]([Aa][Ll][Ss][Ee])?|[Yy]([Ee][Ss])?|[Nn][Oo]?|[Oo]([Nn]|[Ff][Ff]))?$"

_WHY = {
    "400": "The request is wrong in itself: `detail` says what would be right",
    "401": "A bearer token is needed",
    "403": "The token does not allow this",
    "404": "There is no such thing, or none that the caller may see",
    "409": "The state of things does not allow this now",
    "412": "`If-Match` names a state that is no longer the newest",
    "413": "More bytes than this way in can take",
    "416": "The range lies outside the bytes",
    "500": "Not the caller's fault; the log has more under the `request_id`",
    "503": "It can't be done now, and can later",
}
_TEXT_HEADER: Json = {"schema": {"type": "string"}}
_REQUIRED_HEADERS: dict[str, Json] = {
    "401": {"WWW-Authenticate": {"schema": {"const": "Bearer"}, "required": True}},
    "416": {"Content-Range": {**_TEXT_HEADER, "required": True}},
    "503": {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "required": True}},
}
_ETAG: Json = {"ETag": {"schema": {"type": "string", "pattern": '^"[^"]+"$'}, "required": True}}
_LOCATION: Json = {"Location": {**_TEXT_HEADER, "required": True}}
_BYTES: Json = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_ATTACHMENT: Json = {
    "Content-Disposition": {"schema": {"type": "string", "pattern": "^attachment; "}, "required": True},
    "X-Content-Type-Options": {"schema": {"const": "nosniff"}, "required": True},
    **_ETAG,
}


def _of(name: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


# What operations answer beside their first success and refusals.
_ANSWERS: dict[str, dict[str, Json]] = {
    "complete_upload": {"202": {"description": "It is being processed", "content": "200"}},
    "delete_model": {"202": {"description": "It is invisible, and not yet gone", "content": "200"}},
    "download_model": {
        "200": {"description": "The bytes", "content": _BYTES, "headers": _ATTACHMENT},
        "206": {"description": "The range of the bytes", "content": _BYTES, "headers": _ATTACHMENT},
        "304": {"description": "The caller has these bytes", "headers": _ATTACHMENT},
        "307": {"description": "The bytes are at another URL, or here in a while", "headers": _LOCATION},
    },
    "upload_folder": {
        "200": {"description": "The version", "content": _of("Metadata")},
        "202": {"description": "It is being unpacked", "content": _of("Upload"), "headers": _LOCATION},
    },
    "get_model": {"200": {"headers": _ETAG}},
    "update_model": {"200": {"headers": _ETAG}},
}


class Refusal(BaseModel):
    """How every error is answered."""

    detail: str
    code: str


def describe(app: FastAPI, *, authenticated: bool) -> Json:
    """The description of an app whose callers are known by bearer tokens, or are not known."""
    schema = FastAPI.openapi(app)
    schemas = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Refusal"] = Refusal.model_json_schema()
    if authenticated:
        schema["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"bearer": []}]
    for path in schema["paths"].values():
        for method, operation in path.items():
            _describe_parameters(operation, method)
            _describe_body(operation)
            _describe_answers(operation, method, authenticated=authenticated)
    return schema


def _describe_parameters(operation: Json, method: str) -> None:
    for parameter in operation.get("parameters", []):
        name, where = parameter["name"], parameter["in"]
        known = {"path": _PATH_IDS, "query": {**_IDS, **_QUERIES}, "header": _HEADERS}[where].get(name)
        if name == "version" and method == "delete":
            known = _named(_MODEL, "latest", least=0)
        parameter["schema"] = _without_null(known or parameter["schema"])


def _describe_body(operation: Json) -> None:
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        schema = body["schema"]
        for name in schema.get("properties", {}).keys() & _IDS.keys():
            field = schema["properties"][name]
            kept = {key: value for key, value in field.items() if key in ("title", "default")}
            nullable = any(each.get("type") == "null" for each in field.get("anyOf", []))
            schema["properties"][name] = kept | ({"anyOf": [_IDS[name], {"type": "null"}]} if nullable else _IDS[name])
        if kind == "multipart/form-data":
            needed = schema.get("required", [])
            fields = schema["properties"].items()
            schema["properties"] = {name: _form_field(field, needed=name in needed) for name, field in fields}
        body["schema"] = _with_patterns(schema)


def _describe_answers(operation: Json, method: str, *, authenticated: bool) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    more = _ANSWERS.get(operation.get("operationId", ""), {})
    for status, answer in more.items():
        content = answer.get("content")
        answers[status] = {**answers.get(status, {}), **answer}
        if content == "200":
            answers[status]["content"] = answers["200"]["content"]
    refusals = ["400", "404", "500", "503"]
    refusals += ["401", "403"] if authenticated else []
    refusals += (
        ["409"] if method != "get" or operation.get("operationId") == "get_upload" else []
    )  # it begins multiparts
    refusals += ["413"] if "requestBody" in operation else []
    refusals += ["412"] if any(each["name"] == "if-match" for each in operation.get("parameters", [])) else []
    refusals += ["416"] if "206" in more else []
    for status in sorted(refusals):
        answers[status] = {
            "description": _WHY[status],
            "content": _of("Refusal"),
            "headers": _REQUIRED_HEADERS.get(status, {}),
        }
    if "Link" not in answers.get("200", {}).get("headers", {}) and any(
        each["name"] == "cursor" for each in operation.get("parameters", [])
    ):
        answers["200"].setdefault("headers", {})["Link"] = _TEXT_HEADER


def _without_null(schema: Json) -> Json:
    """A parameter or a form's field that is not there is not sent: neither can be null."""
    kinds = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
    if len(kinds) == len(schema.get("anyOf", [])):
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds}


def _form_field(schema: Json, *, needed: bool) -> Json:
    """Fields of forms are text: a truth value is one of several words, and what is empty counts as not sent."""
    schema = _without_null(schema)
    if schema.get("type") == "boolean":
        return {**schema, "type": "string", "pattern": _TRUTH, "default": str(schema["default"]).lower()}
    if not needed and "enum" in schema:
        return {**schema, "enum": [*schema["enum"], ""]}
    if not needed and schema.get("pattern") == _IDS["version"]["pattern"]:
        return {**schema, **_named(_MODEL, "latest", least=0)}
    return schema


def _with_patterns(schema: Any) -> Any:
    """Kinds of text told by pattern: what `schemas.values` checks by code."""
    if isinstance(schema, list):
        return [_with_patterns(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _with_patterns(value) for key, value in schema.items()}
    if made.get("format") in _TEXT:
        made["pattern"] = _pattern(made.pop("format"))
    return made


@cache
def _pattern(kind: str) -> str:
    """Any number of characters that this Python's Unicode puts in none of the categories."""
    categories, allowed = _TEXT[kind]
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        # Surrogates are in no JSON that is valid UTF-8, and patterns can't name them.
        if unicodedata.category(character) not in categories or character in allowed or 0xD800 <= code <= 0xDFFF:
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "^[^" + "".join("-".join(map(_escape, dict.fromkeys(each))) for each in ranges) + "]*$"


def _escape(code: int) -> str:
    return f"\\u{code:04X}" if code < 0x10000 else chr(code)
