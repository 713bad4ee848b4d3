"""What a request may say that begins a direct upload."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from registry.schemas.direct import FileSpec
from registry.schemas.requests import VersionFields
from registry.schemas.strict import Strict
from registry.schemas.values import MAX_FILES_A_REQUEST, Digest, Size


class ArchiveSpec(Strict):
    """A ZIP that a client is going to send."""

    size: Size
    sha256: Digest | None = None
    preserve_structure: bool = True


def _either(one: str, other: str) -> JsonDict:
    kinds: dict[str, JsonDict] = {"archive": {"type": "object"}, "files": {"type": "array", "minItems": 1}}
    return {"required": [one], "properties": {one: kinds[one], other: {"type": "null"}}}


class StartUpload(VersionFields):
    """The body of `POST /ai-models/upload/direct`."""

    # For the API's description; `uploads.starting` holds requests to it.
    model_config = ConfigDict(json_schema_extra={"oneOf": [_either("archive", "files"), _either("files", "archive")]})

    user_id: str
    model_id: str
    version: str | None = None
    archive: ArchiveSpec | None = None
    files: Annotated[list[FileSpec], Field(max_length=MAX_FILES_A_REQUEST)] | None = None
