"""What there is to push: one file, a ZIP for the registry to unpack, or a folder less what is ignored.

Links inside a folder: one to a file that lies in it is pushed as that file; any other (to a folder, out of the folder,
to nothing) is refused, so that nobody publishes by accident what lies elsewhere on their machine. With `follow_links`
they are followed wherever they lead, as in a Hugging Face snapshot; to nothing, or round in a circle, they are refused
all the same.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelkeep.errors import LocalFileError, UsageError
from modelkeep.pushing import paths

IGNORE_FILE = ".modelkeepignore"
METADATA_FILE = "modelkeep.yaml"
MAX_FILES = 50_000  # of a version
# Never part of a model, wherever it lies; a line like `!.vscode/` in .modelkeepignore brings it back.
_DEFAULTS = re.compile(
    r"\.git|\.hg|\.svn|__pycache__|.*\.py[co]|\.ipynb_checkpoints|\.(?:pytest|mypy|ruff)_cache|\.vscode|\.idea"
    r"|\.DS_Store|__MACOSX|Thumbs\.db|desktop\.ini|.*~|\..*\.sw[a-p]|\.#.*|#.*#|\.~lock\..*#"
    r"|\.modelkeep.*"  # .modelkeepignore, and what a pull leaves
)
_HUB_CACHE = ".cache/huggingface"  # what huggingface_hub leaves beside the files that it downloaded


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells whether a file is still as it was when it was looked at."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """Of an open file, or of one by its path."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def same_content(self, other: Stamp) -> bool:
        """Whether nobody has written to it; a new link or new permissions (the ctime) do no harm."""
        return (self.size, self.mtime_ns, self.inode) == (other.size, other.mtime_ns, other.inode)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to push: its path in the version (of an archive: its name) and where it lies."""

    path: str
    source: Path
    stamp: Stamp


@dataclass(frozen=True)
class Source:
    """What PATH is. `entries`: the smallest first, then by path; of an archive one."""

    root: Path  # absolute
    archive: bool
    entries: list[Entry]
    metadata: Path | None  # the folder's modelkeep.yaml


def scan(path: Path, *, ignore: Sequence[str] = (), unpack: bool = True, follow_links: bool = False) -> Source:
    """Look at PATH; nothing is read but names and sizes. LocalFileError where it is not there, UsageError where the
    registry would refuse it."""
    root = Path(os.path.abspath(path))  # noqa: PTH100  # resolved, a link would lose its own name
    try:
        found = root.stat()
        if stat.S_ISDIR(found.st_mode):
            return _scan_folder(root, ignore, follow_links)
        if not stat.S_ISREG(found.st_mode):
            raise LocalFileError(f"{path} is neither a file nor a folder", code="bad_path")
        entry = Entry(paths.check_path(paths.normal(root.name)), root, Stamp.of(found))
        return Source(root, unpack and _is_zip(root), [entry], None)
    except OSError as error:
        raise unreadable(error.filename or path, error) from error


def unreadable(path: object, error: OSError) -> LocalFileError:
    """A file that can't be looked at or read, in the system's words."""
    kind = "no_such_path" if isinstance(error, FileNotFoundError) else None
    return LocalFileError(f"{path} can't be read: {error.strerror or error}", code=kind)


def _is_zip(path: Path) -> bool:
    if path.suffix.lower() != ".zip":
        return False
    import zipfile

    return zipfile.is_zipfile(path)


def _scan_folder(root: Path, ignore: Sequence[str], follow_links: bool) -> Source:
    metadata = root / METADATA_FILE
    has_metadata = metadata.is_file()
    entries = []
    for entry in _walk(root, ignore, follow_links):
        if entry.path == METADATA_FILE and has_metadata:
            continue
        entries.append(entry)
        if len(entries) > MAX_FILES:
            raise UsageError(
                f"{root} has more than {MAX_FILES:,} files, and a version can't",
                code="too_many_files",
                hint=f"Leave some out by {IGNORE_FILE}, or push a ZIP as one file (--no-unpack).",
            )
    if not entries:
        raise UsageError(f"{root} has no files to push", code="no_files", hint=f"{IGNORE_FILE} may ignore too much.")
    entries.sort(key=lambda entry: (entry.stamp.size, entry.path))
    paths.check_together([entry.path for entry in entries])
    return Source(root, False, entries, metadata if has_metadata else None)


def _walk(root: Path, ignore: Sequence[str], follow_links: bool) -> Iterator[Entry]:
    real = Path(os.path.realpath(root))
    last = _Rules.of("", ignore)
    # Each folder with its path in the version, its rules, and itself and all that it was reached through.
    waiting: list[tuple[Path, str, _Rules, frozenset[tuple[int, int]]]] = [(root, "", _Rules(), _identity(root))]
    while waiting:
        folder, prefix, rules, above = waiting.pop()
        own = folder / IGNORE_FILE
        if own.is_file():
            rules = rules.with_lines(prefix, _read_lines(own))
        with os.scandir(folder) as listed:
            for each in sorted(listed, key=lambda found: found.name):
                path, is_folder = prefix + each.name, _leads_to_folder(each)
                if _is_ignored(path, is_folder, rules, last):
                    continue
                source = Path(each.path)
                if each.is_symlink():
                    source = _follow(source, path, is_folder, None if follow_links else real)
                if is_folder:
                    identity = _identity(source)
                    if identity <= above:
                        raise _bad_link(path, "leads back to a folder that it lies in")
                    waiting.append((source, f"{path}/", rules, above | identity))
                    continue
                found = source.stat()
                if not stat.S_ISREG(found.st_mode):
                    raise UsageError(
                        f"{path!r} is a device, a pipe or a socket",
                        code="special_file",
                        hint=f"Leave it out by a line in {IGNORE_FILE}.",
                    )
                yield Entry(paths.check_path(paths.normal(path)), source, Stamp.of(found))


def _identity(folder: Path) -> frozenset[tuple[int, int]]:
    found = folder.stat()
    return frozenset({(found.st_dev, found.st_ino)})


def _leads_to_folder(each: os.DirEntry[str]) -> bool:
    try:
        return each.is_dir()
    except OSError:  # a link to itself, or to where we may not look: to be refused, unless it is ignored
        return False


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error.reason}", code="bad_pattern") from error


def _follow(link: Path, path: str, is_folder: bool, inside: Path | None) -> Path:
    """What a link leads to; UsageError where that is nothing, or, with `inside`, no file in that folder. The target's
    own path: its digest is known by it whatever links lead there, as those of a new snapshot to the old one's blobs."""
    target = Path(os.path.realpath(link))
    try:
        target.stat()
    except OSError as error:
        raise _bad_link(path, "leads to nothing") from error
    if inside is None:
        return target
    if is_folder:
        raise _bad_link(path, "leads to a folder", followed=False)
    if not target.is_relative_to(inside):
        raise _bad_link(path, "leads out of the folder", followed=False)
    return link


def _bad_link(path: str, fault: str, *, followed: bool = True) -> UsageError:
    hint = f"Put a copy in its place, or leave it out by a line in {IGNORE_FILE}."
    if not followed:
        hint = (
            "Push with --follow-links (in Python follow_links=True) to push what links lead to, wherever that lies; "
            f"or leave it out by a line in {IGNORE_FILE}."
        )
    return UsageError(f"the link {path!r} {fault}", code="bad_link", hint=hint)


@dataclass(frozen=True)
class _Rules:
    """Patterns in gitignore's syntax, each set with the folder that it counts from; the last that matches decides."""

    sets: tuple[tuple[str, object], ...] = ()

    @classmethod
    def of(cls, base: str, lines: Sequence[str]) -> _Rules:
        return cls().with_lines(base, lines) if lines else cls()

    def with_lines(self, base: str, lines: Sequence[str]) -> _Rules:
        from pathspec import GitIgnoreSpec

        try:
            return _Rules((*self.sets, (base, GitIgnoreSpec.from_lines(lines))))
        except ValueError as error:
            raise UsageError(f"{base}{IGNORE_FILE}, or --ignore: {error}", code="bad_pattern") from error

    def verdict(self, path: str, before: bool) -> bool:
        for base, patterns in self.sets:
            said = patterns.check_file(path[len(base) :]).include  # type: ignore[attr-defined]
            before = before if said is None else bool(said)
        return before


def _is_ignored(path: str, is_folder: bool, rules: _Rules, last: _Rules) -> bool:
    name = path.rpartition("/")[2]
    ignored = _DEFAULTS.fullmatch(name) is not None or f"/{path}".endswith(f"/{_HUB_CACHE}")
    asked = f"{path}/" if is_folder else path
    return last.verdict(asked, rules.verdict(asked, ignored))
