"""What schemathesis, in a process of its own, has to know beside the description: ids that lead somewhere, and which
refusals no schema can foretell. `OPENAPI_UPLOADS` names uploads of
`OPENAPI_USER` that are open."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import schemathesis
from registry.naming import RESERVED_USER_IDS
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

USER, UPLOADS = os.environ["OPENAPI_USER"], os.environ["OPENAPI_UPLOADS"].split(",")
_ID = re.compile(r"[A-Za-z0-9._@|+-]{1,128}")

# Refusals (by code) of requests that are as the description says: what decides is what there is already, or bytes that
# are read, or a rule about several values at once. Every other 400 to such a request is a fault of the description.
_STATE = {"upload_incomplete", "several_versions", "no_such_file", "no_such_part", "not_multipart", "bad_expires_at"}
_READ = re.compile("archive_[a-z_]+|path_[a-z_]+|bad_cursor")  # a ZIP, a path, a cursor
_TOGETHER = {"many_primary", "version_or_all", "long_query"}
# The same of free JSON and texts, whose bounds count bytes, tags that differ and digits.
_BOUNDS = re.compile(
    "must not be (more than 50|larger than 16 KB|longer than [14] KB|nested deeper)|whole numbers beyond 64 bits"
    "|must not hold control characters"
)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Ids that are well formed become ones that exist, so that what is behind them is tested; others are sent as they
    are."""
    _decode(case.path_parameters)
    for place in (case.path_parameters, case.query, case.body):
        if isinstance(place, MutableMapping):
            _lead_somewhere(place)
    if len(case.headers.get("if-match", "odd")) % 2 == 0:  # the others are answered by 412
        case.headers["if-match"] = "*"
    # JSON Schema takes 5.0 for a whole number. Here it is none: a size that was computed as one is likely to be wrong.
    case.body = _whole(case.body)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return {key: _whole(each) for key, each in value.items()} if isinstance(value, dict) else value


def _decode(path: MutableMapping[str, Any]) -> None:
    """What is in a path comes percent-encoded. Once one of it is replaced, all is judged anew: `%40team` would be no
    grant, and its 200 a wrong request that was taken. So what may stand in a URL as it is becomes what it means."""
    for name, value in path.items():
        parts = unquote(value).split("/") if isinstance(value, str) else []
        if all(map(_is_id, parts)) and len(parts) in (1, 2 if name == "grant" else 1):
            path[name] = unquote(value)


def _lead_somewhere(place: MutableMapping[str, Any]) -> None:
    if _is_id(place.get("user_id")) and place["user_id"] not in RESERVED_USER_IDS and place["user_id"][0] != "_":
        place["user_id"] = USER
    if _is_id(place.get("model_id")):
        place["model_id"] = _one_of(["m", "n", "many"], place["model_id"])
    if _is_id(place.get("version")) and place["version"] != "latest":
        place["version"] = _one_of(["v1", "v2", "v3"], place["version"])
    if _is_id(place.get("upload_id")) and len(place["upload_id"]) == 32 and place["upload_id"][:6] != UPLOADS[0][:6]:
        place["upload_id"] = _one_of(UPLOADS, place["upload_id"])


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and value not in (".", "..") and _ID.fullmatch(value) is not None


def _one_of(names: list[str], value: str) -> str:
    return names[sum(value.encode()) % len(names)]


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether a failure is one."""
    if isinstance(failure, RejectedPositiveData):
        if response.status_code == 412:
            return False  # `If-Match` names another state
        return response.status_code != 400 or not _is_foreseen(response.json())
    if isinstance(failure, AcceptedNegativeData):
        return not (case.media_type == "multipart/form-data" and _is_valid(case))
    if isinstance(failure, UseAfterFree):
        # An upload that was aborted can be looked at, and says so; of a model, another version may be there.
        aborted = '"status":"aborted"' in response.text
        return not aborted and "model_id" not in case.path_parameters
    return True


def _is_valid(case: Any) -> bool:
    """Of forms with a file schemathesis takes some for wrong that it has made, and calls, valid."""
    kinds = (str, int, float, bool, list, dict, type(None))
    fields = {name: value if type(value) in kinds else "" for name, value in case.body.items()}
    schema = case.operation.get_body_for_media_type(case.media_type).optimized_schema
    return jsonschema_rs.validator_for(schema).is_valid(fields)


def _is_foreseen(body: dict[str, Any]) -> bool:
    code = body["code"]
    return (
        code in _STATE | _TOGETHER
        or _READ.fullmatch(code) is not None
        or (code == "invalid" and _BOUNDS.search(body["detail"]) is not None)
    )
