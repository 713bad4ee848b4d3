"""What is pushed, known to the byte: its files with their digests, and what is said of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from modelkeep.errors import LocalFileError, UsageError
from modelkeep.pushing.fields import load_fields
from modelkeep.pushing.hashing import Hashed
from modelkeep.pushing.paths import normal
from modelkeep.pushing.scanning import Source

_MAX_FILES = 5_000  # in one request
_MAX_BYTES = 3 * 1024 * 1024  # of one request; API Gateway and Lambda end at some MB


@dataclass(frozen=True)
class Content:
    """A file, a folder or an archive. `fields`: what is said of the version, as the API has it."""

    root: Path
    archive: bool
    files: list[Hashed]  # of an archive one
    fields: dict[str, Any]

    @cached_property
    def manifest(self) -> str:
        """One digest of all paths, sizes and digests."""
        facts = [self.archive, [(file.path, file.size, file.sha256) for file in self.files]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @cached_property
    def by_path(self) -> dict[str | None, Hashed]:
        """The files as an upload names them: the archive is None."""
        return {None if self.archive else file.path: file for file in self.files}

    @cached_property
    def requests(self) -> list[list[dict[str, Any]]]:
        """The files as requests announce them. Where they need several, the first file of all goes without its digest:
        the registry publishes once it has every file that it was told of, and this one, which it can't know that it
        has, keeps it from doing so before the last request."""
        made: list[list[dict[str, Any]]] = [[]]
        size = 0
        for file in self.files:
            spec = {"path": file.path, "size": file.size, "sha256": file.sha256}
            length = len(json.dumps(spec, ensure_ascii=False).encode()) + 2
            if len(made[-1]) == _MAX_FILES or (made[-1] and size + length > _MAX_BYTES):
                made.append([])
                size = 0
            made[-1].append(spec)
            size += length
        if len(made) > 1:
            del made[0][0]["sha256"]
        return made


def read_fields(
    source: Source, metadata: Mapping[str, Any], metadata_file: Path | None, primary: str | None
) -> dict[str, Any]:
    """What is said of the version, in options, files and by `primary`. UsageError where the primary file is none of
    those that are pushed: the registry would only ignore it."""
    fields = load_fields(metadata, metadata_file, source.metadata)
    primary = primary or fields.get("primary_file_path")
    if not isinstance(primary, str):
        return fields
    if source.archive:
        import zipfile

        try:
            with zipfile.ZipFile(source.root) as archive:
                known = {name for name in archive.namelist() if not name.endswith("/")}
        except (zipfile.BadZipFile, OSError) as error:
            raise LocalFileError(f"{source.root} can't be read as a ZIP: {error}", code="bad_zip") from error
    else:
        primary, known = normal(primary), {entry.path for entry in source.entries}
    if primary not in known:
        raise UsageError(
            f"{primary!r} is none of the files that are pushed",
            code="bad_primary",
            hint=f"The primary file is named by its path in the version, as {min(known, default='')!r} is.",
        )
    return {**fields, "primary_file_path": primary}
