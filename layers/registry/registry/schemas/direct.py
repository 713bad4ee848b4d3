"""What requests may say of files that are going to be sent."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from registry.schemas.strict import Strict
from registry.schemas.values import MAX_FILES_A_REQUEST, Digest, Note, Size


class FileSpec(Strict):
    """A file that a client is going to send."""

    path: str
    size: Size
    sha256: Digest | None = None
    is_primary: bool = False
    description: Note | None = None


class AddFiles(Strict):
    """The body of `POST /ai-models/upload/{upload_id}/files`."""

    files: Annotated[list[FileSpec], Field(min_length=1, max_length=MAX_FILES_A_REQUEST)]
