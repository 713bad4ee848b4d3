"""What requests for direct uploads may say."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from registry.schemas.requests import Strict, VersionFields
from registry.schemas.values import MAX_FILES_A_REQUEST, Digest, Note, Size


class FileSpec(Strict):
    """A file that a client is going to send."""

    path: str
    size: Size
    sha256: Digest | None = None
    is_primary: bool = False
    description: Note | None = None


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


class AddFiles(Strict):
    """The body of `POST /ai-models/upload/{upload_id}/files`."""

    files: Annotated[list[FileSpec], Field(min_length=1, max_length=MAX_FILES_A_REQUEST)]


class PartDigest(Strict):
    """One part of a file and what its bytes hash to."""

    number: Annotated[int, Field(ge=1, le=10_000)]
    sha256: Digest


class SignParts(Strict):
    """The body of `POST /ai-models/upload/{upload_id}/parts`; no path means the archive."""

    path: str | None = None
    parts: Annotated[list[PartDigest], Field(min_length=1, max_length=500)]
