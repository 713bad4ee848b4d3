"""What a request may say of parts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from registry.schemas.strict import Strict
from registry.schemas.values import Digest


class PartDigest(Strict):
    """One part of a file and what its bytes hash to."""

    number: Annotated[int, Field(ge=1, le=10_000)]
    sha256: Digest


class SignParts(Strict):
    """The body of `POST /ai-models/upload/{upload_id}/parts`; no path means the archive."""

    path: str | None = None
    parts: Annotated[list[PartDigest], Field(min_length=1, max_length=500)]
