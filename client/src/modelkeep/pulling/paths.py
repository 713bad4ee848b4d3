"""Which paths of a version may become files here. The registry checks them too, and is not believed."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable

from modelkeep.errors import LocalFileError

MARKER = ".modelkeep.json"  # in a pulled folder: what it was pulled from
WORKSHOP = ".modelkeep-partial"  # in a pulled folder, while it is pulled
_MAX_NAME, _MAX_PATH = 255, 1024  # bytes: what file systems take, what S3 takes
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_WINDOWS_CHARACTERS = re.compile(r'[<>:"|?*]')
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)


def check_paths(paths: Iterable[str], *, windows: bool = os.name == "nt") -> None:
    """LocalFileError `unsafe_path` unless all of them can be files side by side, below one folder, on any file system
    of this machine: none that leads out, none that is another's folder, none that is another's in other spelling."""
    files: dict[str, str] = {}
    for path in paths:
        if fault := _fault(path, windows=windows):
            raise _unsafe(f"the version's path {show(path)} {fault}")
        key = spelling(path)
        if key.partition("/")[0] == WORKSHOP:
            raise _unsafe(f"the version's path {show(path)} is where a pull keeps what is under way")
        if key in files:
            raise _unsafe(f"the version's paths {show(files[key])} and {show(path)} would be one file on some systems")
        files[key] = path
    folders: dict[str, str] = {}
    for key, path in files.items():
        parent, own = key.rpartition("/")[0], path.rpartition("/")[0]
        while parent:
            if parent in files:
                raise _unsafe(f"the version has {show(files[parent])} as a file and as the folder of {show(path)}")
            known = folders.get(parent)
            if known == own:
                break
            if known is not None:
                raise _unsafe(f"the version's folders {show(known)} and {show(own)} would be one on some systems")
            folders[parent] = own
            parent, own = parent.rpartition("/")[0], own.rpartition("/")[0]


def spelling(path: str) -> str:
    """What paths have in common that some file system takes for one: Unicode's form and case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def show(path: str) -> str:
    """A path for a message: quoted, nothing in it that a terminal obeys, not endless."""
    shown = ascii(path) if not path.isprintable() else repr(path)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


def is_ours(name: str) -> bool:
    """Whether a folder's entry is not the version's but ours: the marker, what is under way."""
    return name in (MARKER, WORKSHOP) or (name.startswith(".modelkeep-") and name.endswith(".tmp"))


def _fault(path: str, *, windows: bool) -> str | None:
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "is not Unicode"
    if len(encoded) > _MAX_PATH:
        return f"has {len(encoded)} bytes, at most {_MAX_PATH} are taken"
    if path.startswith("/"):
        return "is absolute"
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in path):
        return "has a control character in it"
    if "\\" in path:
        return "has a backslash in it, which some systems take for '/'"
    if re.match(r"[A-Za-z]:", path):
        return "begins with a drive"
    for name in path.split("/"):
        if name in ("", ".", ".."):
            return "has an empty name, '.' or '..' in it"
        if len(name.encode()) > _MAX_NAME:
            return f"has a name of {len(name.encode())} bytes in it, at most {_MAX_NAME} are taken"
        if windows and (_WINDOWS_CHARACTERS.search(name) or name.endswith((".", " "))):
            return f"has the name {show(name)} in it, which Windows can't have"
        if windows and _WINDOWS_DEVICE.fullmatch(name):
            return f"has the name {show(name)} in it, which is a device of Windows"
    return None


def _unsafe(detail: str) -> LocalFileError:
    return LocalFileError(
        detail,
        code="unsafe_path",
        hint="Nothing was written. Such a version can't be a folder here; fetch files that are sound by their pattern.",
    )
