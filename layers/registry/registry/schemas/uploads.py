"""What an upload looks like."""

from __future__ import annotations

from pydantic import BaseModel, Field

from registry.schemas.words import FileStatus, UploadStatus


class Put(BaseModel):
    """One PUT to make: exactly these headers."""

    url: str
    headers: dict[str, str]


class PartPut(Put):
    """The PUT of one part."""

    number: int


class Multipart(BaseModel):
    """How a file goes in parts: all but the last have `part_size` bytes."""

    part_size: int
    part_count: int
    stored_parts: list[int]
    parts: list[PartPut]


class UploadFile(BaseModel):
    """One file of an upload, and how to send what is missing of it."""

    path: str
    size: int
    sha256: str | None
    status: FileStatus
    code: str | None = None
    put: Put | None = Field(default=None, exclude_if=lambda value: value is None)
    multipart: Multipart | None = Field(default=None, exclude_if=lambda value: value is None)


class UploadArchive(BaseModel):
    """The ZIP of an upload, and how to send what is missing of it."""

    size: int
    sha256: str | None
    preserve_structure: bool
    status: FileStatus
    code: str | None = None
    put: Put | None = Field(default=None, exclude_if=lambda value: value is None)
    multipart: Multipart | None = Field(default=None, exclude_if=lambda value: value is None)


class Upload(BaseModel):
    """One attempt to make a version, as clients see it."""

    upload_id: str
    user_id: str
    model_id: str
    version: str
    status: UploadStatus
    created_at: str
    expires_at: str
    urls_expire_at: str | None
    code: str | None
    detail: str | None
    file_count: int
    bytes_total: int
    bytes_stored: int
    archive: UploadArchive | None = Field(default=None, exclude_if=lambda value: value is None)
    files: list[UploadFile]
