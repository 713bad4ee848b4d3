"""The values that fields may have, with the bounds of docs/design.md, section 1."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError, WithJsonSchema

from registry.errors import InvalidError

MAX_FILES_A_REQUEST = 5_000
MAX_FIELDS_BYTES = 128 * 1024
MAX_FILE_BYTES = 5 * 1024**4  # S3's largest multipart object with 10,000 parts of up to 5 GiB
MAX_JSON_DEPTH = 32


def _check_text(text: str) -> str:
    if any((ord(c) < 32 and c not in "\n\r\t") or 0xD800 <= ord(c) <= 0xDFFF or ord(c) == 127 for c in text):
        raise ValueError("must not hold control characters or lone surrogates")
    return text


def _check_name(text: str) -> str:
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text):
        raise ValueError("must not hold control, invisible or direction-changing characters")
    return text


def _check_json(value: Any, depth: int = 0) -> Any:
    if depth > MAX_JSON_DEPTH:
        raise ValueError(f"must not be nested deeper than {MAX_JSON_DEPTH}")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_json(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_json(item, depth + 1)
    elif isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must not hold NaN or infinite numbers")
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("must not hold whole numbers beyond 64 bits")
    return value


def _check_metadata_size(value: Any) -> Any:
    if len(json.dumps(value, ensure_ascii=False).encode()) > 16 * 1024:
        raise ValueError("must not be larger than 16 KB as JSON")
    return value


def _check_description(text: str) -> str:
    if len(text.encode()) > 4096:
        raise ValueError("must not be longer than 4 KB")
    return text


def _check_note(text: str) -> str:
    if len(text.encode()) > 1024:  # 100 files with it, their paths and sources have to fit into one row of 400 KB
        raise ValueError("must not be longer than 1 KB")
    return text


def _clean_tags(tags: list[str]) -> list[str]:
    """Trimmed, without empty ones and without a second one that differs by case only."""
    seen: dict[str, str] = {}
    for tag in ",".join(tags).split(","):  # a comma separates tags wherever they are asked for
        if trimmed := tag.strip():
            seen.setdefault(trimmed.casefold(), trimmed)
    if len(seen) > 50:
        raise ValueError("must not be more than 50")
    return list(seen.values())


# What these checks let pass, for the API's description to say by patterns (`web.description`).
_LINE, _TEXT = Field(json_schema_extra={"format": "line"}), Field(json_schema_extra={"format": "text"})
# Beside them: bytes are at least as many as characters.
_TEXT_OF_4_KB = Field(json_schema_extra={"format": "text", "maxLength": 4096})
_TEXT_OF_1_KB = Field(json_schema_extra={"format": "text", "maxLength": 1024})

Name = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_check_name), _LINE]
Line = Annotated[str, StringConstraints(max_length=256), AfterValidator(_check_name), _LINE]
Description = Annotated[str, AfterValidator(_check_text), AfterValidator(_check_description), _TEXT_OF_4_KB]
Text = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_check_text), _TEXT]
Metric = Annotated[float, Field(allow_inf_nan=False)]
Tags = Annotated[list[Line], Field(max_length=1000), AfterValidator(_clean_tags)]
TagText = Annotated[
    Tags | None,
    BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
    WithJsonSchema({"type": "string", "format": "line", "description": "comma-separated"}),
]
Shape = Annotated[list[Any] | dict[str, Any] | str, AfterValidator(_check_json), AfterValidator(_check_metadata_size)]
Hardware = Annotated[str | dict[str, Any], AfterValidator(_check_json), AfterValidator(_check_metadata_size)]
Note = Annotated[str, AfterValidator(_check_text), AfterValidator(_check_note), _TEXT_OF_1_KB]
Size = Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_check_json), AfterValidator(_check_metadata_size)]
FileName = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_check_text), _TEXT]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def invalid_from(error: ValidationError) -> InvalidError:
    """pydantic's findings as one clear sentence a field; unknown fields are named together."""
    unknown = sorted({".".join(map(str, e["loc"])) for e in error.errors() if e["type"] == "extra_forbidden"})
    if unknown:
        return InvalidError(f"unknown fields: {', '.join(unknown)[:500]}", code="unknown_field")
    findings = []
    for finding in error.errors(include_url=False)[:5]:
        place = ".".join(str(part) for part in finding["loc"]) or "body"
        findings.append(f"{place}: {finding['msg'].removeprefix('Value error, ')}")
    return InvalidError("; ".join(findings)[:1000])
