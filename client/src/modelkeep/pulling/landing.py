"""A folder in which a version's files land: below it and nowhere else, whole or not at all, through no symlink."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Container
from pathlib import Path

from modelkeep.errors import LocalFileError
from modelkeep.pulling.disks import clone, remove_quietly, sync
from modelkeep.pulling.paths import WORKSHOP


class Landing:
    """The folder `root`; paths are a version's, as `paths.check_paths` let them pass."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: set[Path] = set()  # whose names have changed

    @property
    def workshop(self) -> Path:
        """Where files are that are under way, and on the same file system."""
        return self.root / WORKSHOP

    def make(self) -> None:
        """Have the folder, and the workshop in it."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._check_parents(f"{WORKSHOP}/file", make=True)

    def clean(self, digests: Container[str]) -> None:
        """Remove from the workshop what a killed pull left, except files that are under way and of these digests."""
        for path in self.workshop.iterdir():
            if path.name.removesuffix(".map") not in digests:
                remove_quietly(path)

    def look(self, path: str) -> os.stat_result | None:
        """What is at that path now, not followed if it is a link; None: nothing."""
        self._check_parents(path, make=False)
        try:
            return (self.root / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def move(self, whole: Path, path: str) -> os.stat_result:
        """Give a file of this file system, which is on the disk, its name."""
        target = self._prepare(path)
        os.replace(whole, target)  # noqa: PTH105
        return target.lstat()

    def copy(self, whole: Path, path: str, *, link: bool) -> os.stat_result:
        """Put a file's bytes there: shared blocks, else (`link`) a hard link, else a copy."""
        target = self._prepare(path)
        # In the workshop, where the next pull finds what a killed one left.
        temporary = self.workshop / f"{secrets.token_hex(8)}.tmp"
        try:
            clone(whole, temporary, link=link)
            os.replace(temporary, target)  # noqa: PTH105
        finally:
            # Also where all went well: of two links to one file, rename leaves both (POSIX).
            remove_quietly(temporary)
        return target.lstat()

    def remove(self, path: str) -> None:
        """Take a file away, and folders that are empty then."""
        self._check_parents(path, make=False)
        target = self.root / path
        remove_quietly(target)
        for parent in target.parents:
            if parent == self.root:
                break
            try:
                parent.rmdir()
            except OSError:
                break

    def sync(self) -> None:
        """The names that were given are on the disk when this returns."""
        for folder in sorted(self._folders):
            sync(folder)
        self._folders.clear()

    def _prepare(self, path: str) -> Path:
        self._check_parents(path, make=True)
        target = self.root / path
        self._folders.add(target.parent)
        return target

    def _check_parents(self, path: str, *, make: bool) -> None:
        folder = self.root
        for name in path.split("/")[:-1]:
            folder = folder / name
            try:
                mode = folder.lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                if not make:
                    return
                folder.mkdir(exist_ok=True)
                mode = folder.lstat().st_mode
                self._folders.add(folder.parent)
            if not stat.S_ISDIR(mode):
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "no folder"
                raise LocalFileError(
                    f"{folder} is {kind}, and the version has files below it",
                    code="in_the_way",
                    hint="Remove it, or pull into another folder by -o DIR.",
                )
