"""What the registry answers, typed. Each keeps the JSON that it was made of as `raw`; unknown keys are no error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from modelkeep.errors import UnavailableError

_T = TypeVar("_T")


def _understood(read: Callable[..., _T]) -> Callable[..., _T]:
    """UnavailableError where the JSON has not the form that it should have."""

    @functools.wraps(read)
    def reading(*args: Any, **options: Any) -> _T:
        try:
            return read(*args, **options)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UnavailableError(
                f"the registry's answer makes no sense: {type(error).__name__} {error}", code="bad_answer"
            ) from error

    return reading


@dataclass(frozen=True)
class File:
    """A file of a version: its path in it, bytes, SHA-256 (64 hex digits); `url` where one was asked for (presigned: a
    secret for as long as it lives)."""

    path: str
    size: int
    sha256: str
    file_type: str
    content_type: str
    is_primary: bool
    description: str | None
    key: str  # in the bucket
    url: str | None = field(default=None, repr=False)

    @classmethod
    @_understood
    def from_json(cls, said: dict[str, Any]) -> File:
        """Of an entry of `files`."""
        return cls(
            path=said["filename"],
            size=said["file_size"],
            sha256=said["file_hash"],
            file_type=said["file_type"],
            content_type=said["content_type"],
            is_primary=said["is_primary"],
            description=said.get("description"),
            key=said["file_path"],
            url=said.get("url"),
        )


@dataclass(frozen=True)
class Version:
    """A published version and what is said of it (docs/design.md, section 1.1). `files` holds at most 1,000, in lists
    fewer; `file_count` and `total_size` (bytes) tell of all."""

    user_id: str
    model_id: str
    version: str
    name: str
    description: str | None
    framework: str
    model_type: str
    algorithm: str | None
    files: list[File]
    primary_file_path: str | None
    input_shape: Any
    output_shape: Any
    num_parameters: int | None
    model_size_mb: float
    training_dataset: str | None
    training_accuracy: float | None
    validation_accuracy: float | None
    test_accuracy: float | None
    training_loss: float | None
    python_version: str | None
    dependencies: list[str]
    hardware_requirements: Any
    tags: list[str]
    custom_metadata: dict[str, Any]
    created_at: str
    updated_at: str
    is_active: bool
    is_production_ready: bool
    file_count: int
    total_size: int
    etag: str | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    @_understood
    def from_json(cls, said: dict[str, Any], *, etag: str | None = None) -> Version:
        """Of a metadata answer."""
        made = {"files", "etag", "raw"}
        known: dict[str, Any] = {name: said.get(name) for name in cls.__dataclass_fields__ if name not in made}
        return cls(**known, files=[File.from_json(each) for each in said["files"]], etag=etag, raw=said)

    def __str__(self) -> str:
        return f"{self.user_id}/{self.model_id}:{self.version}"


@dataclass(frozen=True)
class Put:
    """One PUT to the store: this URL (presigned: a secret) and exactly these headers; `number` where it is a part."""

    url: str = field(repr=False)
    headers: dict[str, str]
    number: int | None = None


@dataclass(frozen=True)
class UploadFile:
    """One file of an upload (`path` None: its archive). Status: pending, stored (nothing to send), verified, failed."""

    path: str | None
    size: int
    sha256: str | None
    status: str
    code: str | None
    put: Put | None
    part_size: int | None  # bytes of every part but the last; None: a single PUT
    stored_parts: frozenset[int]

    @classmethod
    @_understood
    def from_json(cls, said: dict[str, Any]) -> UploadFile:
        """Of an entry of `files`, or of `archive`."""
        put, multipart = said.get("put"), said.get("multipart")
        return cls(
            path=said.get("path"),
            size=said["size"],
            sha256=said.get("sha256"),
            status=said["status"],
            code=said.get("code"),
            put=Put(put["url"], put["headers"]) if put else None,
            part_size=multipart["part_size"] if multipart else None,
            stored_parts=frozenset(multipart["stored_parts"]) if multipart else frozenset(),
        )


@dataclass(frozen=True)
class Upload:
    """One attempt to make a version. Status: uploading, processing, ready, failed, aborted. `files`: a page of them."""

    upload_id: str
    user_id: str
    model_id: str
    version: str
    status: str
    created_at: str
    expires_at: str
    code: str | None
    detail: str | None
    file_count: int
    bytes_total: int
    bytes_stored: int
    archive: UploadFile | None
    files: list[UploadFile]
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    @_understood
    def from_json(cls, said: dict[str, Any]) -> Upload:
        """Of an upload's answer."""
        made = {"files", "archive", "raw"}
        known: dict[str, Any] = {name: said.get(name) for name in cls.__dataclass_fields__ if name not in made}
        archive = said.get("archive")
        return cls(
            **known,
            archive=UploadFile.from_json(archive) if archive else None,
            files=[UploadFile.from_json(each) for each in said.get("files", [])],
            raw=said,
        )


@dataclass(frozen=True)
class Deleted:
    """What a delete took away; status `deleting` where the objects are still going."""

    user_id: str
    model_id: str
    versions: list[str]
    status: str
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    @_understood
    def from_json(cls, said: dict[str, Any]) -> Deleted:
        """Of a DELETE's answer."""
        return cls(said["user_id"], said["model_id"], said["versions"], said["status"], said)


@dataclass(frozen=True)
class Pulled:
    """What a pull left: where, which version, the files' paths in it, and of their bytes how many were fetched now and
    how many were there already (in the folder, or in the cache)."""

    version: Version
    directory: Path
    paths: list[str]
    bytes_total: int
    bytes_fetched: int
    bytes_present: int


@dataclass(frozen=True)
class Verification:
    """A folder held against the registry, file by file (paths in the version)."""

    version: Version
    directory: Path
    intact: list[str]
    damaged: list[str]  # other bytes than the registry's digest says
    missing: list[str]
    unknown: list[str]  # here, and not in the version: no fault, unless you expect none

    @property
    def ok(self) -> bool:
        """Every file of the version is there and intact."""
        return not self.damaged and not self.missing


@dataclass(frozen=True)
class Change:
    """A path whose bytes differ between two versions."""

    path: str
    a: File
    b: File


@dataclass(frozen=True)
class Difference:
    """What differs between version `a` and version `b`."""

    a: Version
    b: Version
    only_a: list[File]
    only_b: list[File]
    changed: list[Change]
    same: int  # files that are equal
    metadata: dict[str, tuple[Any, Any]]  # fields that differ: in a, in b

    @property
    def equal(self) -> bool:
        """The files are the same, whatever is said of them."""
        return not self.only_a and not self.only_b and not self.changed
