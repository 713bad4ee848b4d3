"""Why an archive, or a path, is refused: every code with its meaning, and the one way to raise it."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from registry.errors import ArchiveError, InvalidError

NAME_CHARACTERS_SHOWN = 80  # enough to find the member; a name may be 65,535 bytes long


class Fault(StrEnum):
    """The classes of fault. A client sees `archive_<value>`, or `path_<value>` for a path it gave itself."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Make a member whose string is `value` and which carries its meaning in one line."""
        fault = str.__new__(cls, value)
        fault._value_ = value
        fault.meaning = meaning
        return fault

    # The frame
    NOT_A_ZIP = "not_a_zip", "The file has no ZIP end record: it is something else."
    TRUNCATED = "truncated", "A record or a member's data would end beyond what is there."
    MALFORMED = "malformed", "The records of the archive contradict each other or the ZIP format."
    MULTI_DISK = "multi_disk", "The archive is one part of several."
    STRAY_BYTES = "stray_bytes", "Bytes that no record accounts for: before, between or after the members."
    OVERLAP = "overlap", "Two members, or a member and the central directory, share bytes."
    HEADER_MISMATCH = "header_mismatch", "A member's local header disagrees with the central directory."
    # The kind of member
    ENCRYPTED = "encrypted", "A member is encrypted."
    UNSUPPORTED_METHOD = "unsupported_method", "A member is compressed by something other than DEFLATE."
    SYMLINK = "symlink", "A member is a symbolic link."
    SPECIAL_FILE = "special_file", "A member is a device, a pipe or a socket."
    # Names
    TRAVERSAL = "traversal", "A path climbs out of its folder by '..'."
    ABSOLUTE_PATH = "absolute_path", "A path begins at a root or a drive."
    BAD_NAME = "bad_name", "A name that some system cannot hold, cannot show, or reads in a second way."
    NAME_TOO_LONG = "name_too_long", "A path, or one part of it, is too long or too deep."
    DUPLICATE = "duplicate", "The same path is there twice."
    COLLISION = "collision", "Two paths differ only by case or Unicode form, or only by the folders that are dropped."
    FILE_DIR_CONFLICT = "file_dir_conflict", "A path is a file and also a folder."
    # Content
    SIZE_MISMATCH = "size_mismatch", "A member's content is not as long as declared."
    BAD_CRC = "bad_crc", "A member's content does not have the declared CRC-32."
    BAD_DEFLATE = "bad_deflate", "A member's data is not exactly one DEFLATE stream."
    # Limits
    BOMB = "bomb", "Sizes that the compressed data can never give, or out of all proportion to the archive."
    EMPTY = "empty", "The archive holds no file."
    TOO_MANY_MEMBERS = "too_many_members", "More members than a version may have."
    TOO_LARGE = "too_large", "A member, their sum or the central directory is beyond the limit."


def refusal(fault: Fault, detail: str, *, subject: str = "archive") -> InvalidError:
    """The error to raise for a fault; `subject` ("archive" or "path") begins its code."""
    error = ArchiveError if subject == "archive" else InvalidError
    return error(detail, code=f"{subject}_{fault}")


def show(name: str) -> str:
    """A name quoted for a message: unprintable characters escaped, and cut."""
    return repr(name if len(name) <= NAME_CHARACTERS_SHOWN else name[: NAME_CHARACTERS_SHOWN - 3] + "...")
