"""Which paths a version may hold. The same rules for a ZIP's members and for paths that a client gives.

A path is kept exactly as it was given; only comparisons use a folded form. Rules: docs/archives.md, Z1 to Z8, Z18, and
https://learn.microsoft.com/windows/win32/fileio/naming-a-file, so that a version unpacks on every system.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise, takewhile

from registry.archives.faults import Fault, refusal, show
from registry.archives.limits import DEFAULT_LIMITS, Limits

JUNK_NAMES = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db"})

_WINDOWS_CHARACTERS = frozenset('<>:"|?*')
_WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"}
)
# Control, format (bidi, zero-width), surrogate, private use, unassigned, line and paragraph separators
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Shown as nothing although they are letters or marks: Unicode's Default_Ignorable_Code_Point, without the
# variation selectors, which emoji need
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_DRIVE = re.compile(r"[A-Za-z]:")
_Entry = tuple[str, str, bool]  # the key, by which they are sorted; the path; whether it is a folder


def check_path(path: str, *, limits: Limits = DEFAULT_LIMITS, subject: str = "archive") -> str:
    """Return `path` unchanged if a version may hold it, else raise.

    Raises ArchiveError `archive_<fault>`, or InvalidError `path_<fault>` where `subject` is "path".
    """
    fault = (
        _find_escape(path)
        or _find_excess(path, limits)
        or _find_bad_character(path)
        or _find_bad_segment(path.split("/"))
    )
    if fault:
        raise refusal(fault[0], f"The path {show(path)} {fault[1]}", subject=subject)
    return path


def collision_key(path: str) -> str:
    """What two paths have in common that some file system takes for one, by Unicode form or case (Z7)."""
    # Once more at the end: folding leaves the forms of one letter apart, as U+0390 and U+03AA U+0301, its upper case.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def is_junk(path: str) -> bool:
    """Whether a desktop system left this beside the user's files."""
    return not JUNK_NAMES.isdisjoint(path.split("/"))


def check_path_set(files: Sequence[str], directories: Sequence[str] = (), *, subject: str = "archive") -> None:
    """Refuse paths that cannot exist side by side: duplicates, collisions, a file that is also a folder.

    `directories` are folders named for themselves; those that the files lie in need not be named.
    """
    # Sorted by folders, whatever clashes lies side by side: no set of all folders is made, of which 50,000 paths can
    # have 1.5 million.
    entries = [(collision_key(path).replace("/", "\0"), path, False) for path in files]
    entries += [(collision_key(path).replace("/", "\0"), path, True) for path in directories]
    entries.sort()
    for one, other in pairwise(entries):
        if fault := _find_clash(one, other):
            raise refusal(fault[0], fault[1], subject=subject)


def flatten(paths: Iterable[str]) -> list[str]:
    """The paths without their folders; ArchiveError `collision` if two then meet."""
    owners: dict[str, str] = {}
    names = []
    for path in paths:
        name = path.rpartition("/")[2]
        owner = owners.setdefault(collision_key(name), path)
        if owner != path:
            raise refusal(
                Fault.COLLISION,
                f"Without their folders {show(owner)} and {show(path)} would be the same file {show(name)}: "
                "rename one of them, or keep the folders.",
            )
        names.append(name)
    return names


def _find_clash(one: _Entry, other: _Entry) -> tuple[Fault, str] | None:
    """Why two neighbours in the sorted order cannot exist side by side, as far as what they have in common goes."""
    (one_key, one_path, one_is_folder), (other_key, other_path, other_is_folder) = one, other
    one_names, other_names = one_key.split("\0"), other_key.split("\0")
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one_names, other_names, strict=False)))
    head, other_head = ("/".join(path.split("/")[:shared]) for path in (one_path, other_path))
    if not head:
        return None
    is_folder, other_is_folder = one_is_folder or shared < len(one_names), other_is_folder or shared < len(other_names)
    if is_folder != other_is_folder:
        file, folder = (other_head, head) if is_folder else (head, other_head)
        return (
            Fault.FILE_DIR_CONFLICT,
            f"{show(file)} is a file and {show(folder)} a folder: one of them must be renamed.",
        )
    if head != other_head:
        return (
            Fault.COLLISION,
            f"{show(head)} and {show(other_head)} differ only by upper and lower case or by Unicode form, "
            "and would be one file on some systems: rename one of them.",
        )
    if len(one_names) == len(other_names) == shared:
        return Fault.DUPLICATE, f"The path {show(one_path)} is there twice: leave one out."
    return None


def _find_escape(path: str) -> tuple[Fault, str] | None:
    if ".." in re.split(r"[/\\]", path):
        return Fault.TRAVERSAL, "climbs by '..': a path must stay inside its version."
    if path.startswith(("/", "\\")) or _DRIVE.match(path):
        return Fault.ABSOLUTE_PATH, "is absolute: a path must begin with the name of a file or folder."
    return None


def _find_excess(path: str, limits: Limits) -> tuple[Fault, str] | None:
    encoded = path.encode(errors="surrogatepass")  # a surrogate is refused later, as a character
    if len(encoded) > limits.max_path_bytes:
        return Fault.NAME_TOO_LONG, f"has {len(encoded)} bytes; at most {limits.max_path_bytes} are allowed."
    segments = encoded.split(b"/")
    if len(segments) > limits.max_depth:
        return Fault.NAME_TOO_LONG, f"is {len(segments)} names deep; at most {limits.max_depth} are allowed."
    longest = max(map(len, segments))
    if longest > limits.max_segment_bytes:
        return Fault.NAME_TOO_LONG, f"has a name of {longest} bytes; at most {limits.max_segment_bytes} are allowed."
    return None


def _find_bad_character(path: str) -> tuple[Fault, str] | None:
    if "\\" in path:
        return Fault.BAD_NAME, "has a backslash, which some systems take for '/': separate folders by '/'."
    for character in sorted(set(path)):  # each once: a path may have 900
        if character in _WINDOWS_CHARACTERS:
            return Fault.BAD_NAME, f"has the character {character!r}, which Windows does not allow in names."
        if character in _INVISIBLE or unicodedata.category(character) in _UNSAFE_CATEGORIES:
            return Fault.BAD_NAME, f"has the character U+{ord(character):04X}, which cannot be seen or is not assigned."
    return None


def _find_bad_segment(segments: list[str]) -> tuple[Fault, str] | None:
    for segment in segments:
        if segment in ("", "."):
            return Fault.BAD_NAME, "has an empty name or '.' in it: each part between '/' must be a name."
        if segment.endswith((".", " ")):
            return Fault.BAD_NAME, f"has the name {show(segment)}, whose last dot or space Windows drops."
        if segment.partition(".")[0].rstrip(" ").casefold() in _WINDOWS_DEVICES:
            return Fault.BAD_NAME, f"has the name {show(segment)}, which is a device on Windows."
    return None
