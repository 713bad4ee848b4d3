"""`.modelkeep.json` in a pulled folder: what it was pulled from, and which files the pull put there."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelkeep.errors import LocalFileError
from modelkeep.names import Ref
from modelkeep.pulling.disks import remove_quietly
from modelkeep.pulling.paths import MARKER, check_paths


@dataclass(frozen=True, slots=True)
class Record:
    """A file as a pull left it: its digest, and how to know, without reading, that nobody touched it since."""

    sha256: str
    size: int
    mtime_ns: int
    inode: int

    def is_of(self, found: os.stat_result) -> bool:
        """Whether a file is as it was left."""
        return (self.size, self.mtime_ns, self.inode) == (found.st_size, found.st_mtime_ns, found.st_ino)


def record(sha256: str, found: os.stat_result) -> Record:
    """Of a file that was just put there."""
    return Record(sha256, found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass
class Marker:
    """Where a folder is from. `selections`: the patterns of each pull of this version; an empty one is all files.
    `planned`: by path the digests and sizes of what pulls were about to put there: one that is killed has not the time
    to record what it did."""

    url: str
    ref: Ref
    selections: list[list[str]] = field(default_factory=list)
    files: dict[str, Record] = field(default_factory=dict)
    planned: dict[str, set[tuple[str, int]]] = field(default_factory=dict)

    def select(self, patterns: Sequence[str]) -> None:
        """A pull with these patterns was asked for, too."""
        chosen = list(patterns)
        if [] in self.selections or not chosen:
            self.selections = [[]] if [] in self.selections or not chosen else self.selections
        elif chosen not in self.selections:
            self.selections.append(chosen)

    def write(self, folder: Path) -> None:
        """Whole or not at all."""
        said = {
            "url": self.url,
            "user_id": self.ref.user_id,
            "model_id": self.ref.model_id,
            "version": self.ref.version,
            "selections": self.selections,
            "files": {
                path: [each.sha256, each.size, each.mtime_ns, each.inode] for path, each in self.files.copy().items()
            },
            "planned": {path: sorted(contents) for path, contents in self.planned.items()},
        }
        temporary = folder / f".modelkeep-{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("x", encoding="utf-8") as file:
                json.dump(said, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, folder / MARKER)  # noqa: PTH105
        finally:
            remove_quietly(temporary)


def read_marker(folder: Path) -> Marker | None:
    """The folder's, or None where there is none that we wrote."""
    try:
        said = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        files = {str(path): Record(str(each[0]), *map(int, each[1:])) for path, each in said["files"].items()}
        planned = {
            str(path): {(str(sha256), int(size)) for sha256, size in contents}
            for path, contents in said.get("planned", {}).items()
        }
        check_paths(files.keys() | planned.keys())  # a version may have brought a file of this name
        ref = Ref(str(said["user_id"]), str(said["model_id"]), str(said["version"]))
        return Marker(str(said["url"]), ref, [list(map(str, each)) for each in said["selections"]], files, planned)
    except (OSError, LocalFileError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
