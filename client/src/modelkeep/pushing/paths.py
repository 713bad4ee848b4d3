"""Which paths a version may hold: the registry's rules, so that what it would refuse is refused before a byte is read.

The registry decides (layers/registry/registry/archives/names.py); characters that this Python's Unicode does not know
are left to it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from modelkeep.errors import UsageError

_MAX_PATH_BYTES, _MAX_NAME_BYTES, _MAX_DEPTH = 900, 255, 32
_WINDOWS_CHARACTERS = frozenset('<>:"|?*')
_WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"}
)
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_HINT = "Rename it, or leave it out by a line in .modelkeepignore."


def normal(path: str) -> str:
    """As a version has it: NFC, as the same folder must make the same version on every system."""
    return unicodedata.normalize("NFC", path)


def check_path(path: str) -> str:
    """The path, or UsageError that says what is wrong with it."""
    if fault := _find_fault(path):
        raise UsageError(f"the path {path!r} {fault}", code="bad_path", hint=_HINT)
    return path


def check_together(paths: Iterable[str]) -> None:
    """UsageError for paths that can't exist side by side on every system: by case or Unicode form, or where one is
    a file and also a folder."""
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        other = files.setdefault(_folded(path), path)
        if other is not path:
            raise UsageError(
                f"the paths {other!r} and {path!r} would be one file on some systems", code="bad_path", hint=_HINT
            )
        parent = path.rpartition("/")[0]
        while parent:
            other = folders.setdefault(_folded(parent), parent)
            if other != parent:
                raise UsageError(
                    f"the folders {other!r} and {parent!r} would be one on some systems", code="bad_path", hint=_HINT
                )
            parent = parent.rpartition("/")[0]
    for key in files.keys() & folders.keys():
        raise UsageError(
            f"the paths {files[key]!r} (a file) and {folders[key]!r} (a folder) would be one on some systems",
            code="bad_path",
            hint=_HINT,
        )


def _folded(path: str) -> str:
    return normal(normal(path).casefold())


def _find_fault(path: str) -> str | None:
    encoded = path.encode(errors="surrogatepass")
    names = path.split("/")
    if len(encoded) > _MAX_PATH_BYTES:
        return f"has {len(encoded)} bytes; at most {_MAX_PATH_BYTES} are allowed"
    if len(names) > _MAX_DEPTH:
        return f"is {len(names)} names deep; at most {_MAX_DEPTH} are allowed"
    if any(len(name) > _MAX_NAME_BYTES for name in encoded.split(b"/")):
        return f"has a name of more than {_MAX_NAME_BYTES} bytes"
    if "\\" in path or re.match("[A-Za-z]:", path):
        return "has a backslash or a drive's name, which systems read differently"
    for character in path:
        if character in _WINDOWS_CHARACTERS:
            return f"has the character {character!r}, which Windows does not allow in names"
        if character in _INVISIBLE or unicodedata.category(character) in _UNSAFE_CATEGORIES:
            return f"has the character U+{ord(character):04X}, which can't be seen"
    for name in names:
        if name in ("", ".", ".."):
            return "has an empty name, '.' or '..' in it"
        if name.endswith((".", " ")):
            return f"has the name {name!r}, whose last dot or space Windows drops"
        if name.partition(".")[0].rstrip(" ").casefold() in _WINDOWS_DEVICES:
            return f"has the name {name!r}, which is a device on Windows"
    return None
