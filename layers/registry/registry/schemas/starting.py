"""What a request may say that begins a direct upload."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from registry.schemas.direct import FileSpec
from registry.schemas.requests import VersionFields
from registry.schemas.strict import Strict
from registry.schemas.values import MAX_FILES_A_REQUEST, Digest, Size


class ArchiveSpec(Strict):
    """A ZIP that a client is going to send."""

    size: Size
    sha256: Digest | None = None
    preserve_structure: bool = True


class StartUpload(VersionFields):
    """The body of `POST /ai-models/upload/direct`."""

    user_id: str
    model_id: str
    version: str | None = None
    archive: ArchiveSpec | None = None
    files: Annotated[list[FileSpec], Field(max_length=MAX_FILES_A_REQUEST)] | None = None
