"""This machine's store of files by their digest, shared between models and versions.

`files/ab/abcd…` is a whole file whose bytes had that SHA-256 when it got its name, read-only, for it may be one with
files in pulled folders (hard links, where the file system can't share blocks). A program that writes into such a file
all the same changes the entry too: so entries are read and hashed before each use, and dropped if they are not what
their name says. `partial/` holds what is under way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelkeep.pulling.disks import digest_of, remove, remove_quietly, sync

_STALE = 86_400  # seconds after which what is under way and not touched is given up


@dataclass(frozen=True)
class Usage:
    """What the cache takes: whole files, and bytes of all that is in it (linked files count, though shared)."""

    files: int
    bytes: int


class Cache:
    """The cache below a folder; for many threads and processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workshop = folder / "partial"

    def path(self, sha256: str) -> Path:
        """Where a file of that digest is, or would be."""
        return self.folder / "files" / sha256[:2] / sha256

    def has(self, sha256: str, size: int) -> bool:
        """Whether there is an entry that may be it; `holds` tells."""
        try:
            return self.path(sha256).stat().st_size == size
        except OSError:
            return False

    def holds(self, sha256: str, tell: Callable[[int], None] = lambda count: None) -> bool:
        """Whether the entry is there, intact: it is read whole. One that is not goes."""
        path = self.path(sha256)
        try:
            if digest_of(path, tell) == sha256:
                return True
        except FileNotFoundError:
            return False
        remove(path)
        return False

    def add(self, whole: Path, sha256: str) -> Path:
        """Take in a file of this file system whose digest was checked; on the disk when this returns."""
        path = self.path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        sync(whole)
        if os.name == "posix":  # on Windows read-only files can be neither replaced nor removed
            whole.chmod(0o444)
        try:
            os.replace(whole, path)  # noqa: PTH105
        except PermissionError:
            # Windows, where another process has the same entry open: it is as good.
            if not path.exists():
                raise
            remove_quietly(whole)
        return path

    def usage(self) -> Usage:
        """What it takes now."""
        sizes = [size for _, size, _ in self._entries()]
        left = sum(path.stat().st_size for path in self.workshop.glob("*")) if self.workshop.is_dir() else 0
        return Usage(len(sizes), sum(sizes) + left)

    def prune(self, *, keep: int = 0) -> int:
        """Remove entries, those first that were used longest ago, until the rest has at most `keep` bytes, and what was
        left under way for a day; how many bytes went. Pulled folders keep their files."""
        removed = 0
        now = time.time()
        for path in self.workshop.glob("*") if self.workshop.is_dir() else ():
            try:
                found = path.stat()
                if now - found.st_mtime > _STALE:
                    path.unlink()
                    removed += found.st_size
            except OSError:
                continue
        entries = sorted(self._entries(), key=lambda entry: entry[2])
        left = sum(size for _, size, _ in entries)
        for path, size, _ in entries:
            if left <= keep:
                break
            remove_quietly(path)
            left -= size
            removed += size
        return removed

    def _entries(self) -> Iterator[tuple[Path, int, float]]:
        """Path, bytes and last use (seconds; where the system notes reads, else the arrival) of each entry."""
        for path in (self.folder / "files").glob("??/*"):
            try:
                found = path.stat()
            except OSError:
                continue
            yield path, found.st_size, max(found.st_atime, found.st_mtime)
