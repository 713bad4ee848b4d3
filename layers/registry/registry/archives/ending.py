"""The end of an archive: the end record, its ZIP64 companions, and where they say the central directory lies.

Layouts: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.14-4.3.16. Of all readings that tools allow, only the one that every
tool shares is accepted: one end record, and nothing between the directory and the end of the file (Z12, Z19).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from registry.archives.faults import Fault, refusal
from registry.archives.limits import MIB
from registry.archives.reading import Window

U16_FULL, U32_FULL = 0xFFFF, 0xFFFFFFFF  # "look in the ZIP64 record"

_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_END_SIGNATURE, _END64_SIGNATURE, _LOCATOR_SIGNATURE = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_MAX_COMMENT_BYTES = 65_535
_TAIL_BYTES = MIB  # holds the end record, and most central directories with it: often the only read for them


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the central directory lies and how many records it holds."""

    offset: int
    size: int
    count: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.size


def find_directory(window: Window) -> Directory:
    """Find the one central directory of an archive; ArchiveError if there is none, or a second way to see it."""
    if window.size < _END.size:
        raise _no_end_record(window)
    window.load(max(0, window.size - _TAIL_BYTES), window.size)
    position = _find_end_record(window)
    _, disk, directory_disk, disk_count, count, size, offset, _ = _END.unpack(window.get(position, _END.size))
    locator_position = position - _LOCATOR.size
    if locator_position >= 0 and window.get(locator_position, 4) == _LOCATOR_SIGNATURE:
        narrow = (disk, directory_disk, disk_count, count, size, offset)
        directory, end = _read_end64(window, locator_position, narrow)
    else:
        _check_disks(disk, directory_disk, disk_count, count)
        directory, end = Directory(offset=offset, size=size, count=count), position
    _check_adjacent(window, directory, end)
    return directory


def _find_end_record(window: Window) -> int:
    tail_length = min(window.size, _END.size + _MAX_COMMENT_BYTES)
    tail_start = window.size - tail_length
    tail = window.get(tail_start, tail_length)
    found = [match.start() for match in re.finditer(re.escape(_END_SIGNATURE), tail)]
    ends = {start: _comment_end(tail, start) for start in found}
    exact = [start for start in found if ends[start] == tail_length]
    if not exact:
        if any(end < tail_length for end in ends.values()):
            raise refusal(
                Fault.STRAY_BYTES,
                "There are bytes after the archive's end record (bsdtar pads what it writes to a pipe): remove them.",
            )
        raise _no_end_record(window)
    # A signature inside the comment makes a second end record for the tools that search backwards and stop there.
    if exact[0] != found[-1]:
        raise refusal(Fault.MALFORMED, "The archive has two end records, so tools would see different files in it.")
    return tail_start + exact[0]


def _comment_end(tail: bytes, start: int) -> int:
    length_at = start + _END.size - 2
    if length_at + 2 > len(tail):
        return len(tail) + 1
    return start + _END.size + int.from_bytes(tail[length_at : length_at + 2], "little")


def _no_end_record(window: Window) -> Exception:
    if window.size >= 4 and window.get(0, 4) == b"PK\x03\x04":
        return refusal(
            Fault.TRUNCATED,
            "The archive begins like a ZIP but has no complete end record: it is cut off. Upload it again.",
        )
    return refusal(Fault.NOT_A_ZIP, "This is not a ZIP archive: it has no end record.")


def _read_end64(window: Window, locator_position: int, narrow: tuple[int, ...]) -> tuple[Directory, int]:
    """The directory by the ZIP64 end record, and where that record begins; `narrow` are the end record's fields."""
    _, locator_disk, position, disk_total = _LOCATOR.unpack(window.get(locator_position, _LOCATOR.size))
    if locator_disk != 0 or disk_total > 1:
        raise _multi_disk()
    # The record may carry "extensible data", which no common tool writes and tools skip differently: refused.
    if position + _END64.size != locator_position:
        raise refusal(
            Fault.MALFORMED, "The ZIP64 locator does not point to a ZIP64 end record of 56 bytes right before itself."
        )
    signature, length, _, _, *wide = _END64.unpack(window.get(position, _END64.size))
    if signature != _END64_SIGNATURE or length != _END64.size - 12:
        raise refusal(Fault.MALFORMED, "The ZIP64 locator does not point to a ZIP64 end record.")
    full = (U16_FULL, U16_FULL, U16_FULL, U16_FULL, U32_FULL, U32_FULL)
    if any(small not in (large, mark) for small, large, mark in zip(narrow, wide, full, strict=True)):
        raise refusal(Fault.MALFORMED, "The end record and the ZIP64 end record disagree about the central directory.")
    disk, directory_disk, disk_count, count, size, offset = wide
    _check_disks(disk, directory_disk, disk_count, count)
    return Directory(offset=offset, size=size, count=count), position


def _check_disks(disk: int, directory_disk: int, disk_count: int, count: int) -> None:
    if disk != 0 or directory_disk != 0 or disk_count != count:
        raise _multi_disk()


def _multi_disk() -> Exception:
    return refusal(Fault.MULTI_DISK, "The archive is split into several parts: upload it as one file.")


def _check_adjacent(window: Window, directory: Directory, end: int) -> None:
    if directory.end == end:
        return
    shift = end - directory.end
    if shift > 0 and shift % 2**32 == 0:
        raise refusal(
            Fault.MALFORMED,
            "The archive is larger than 4 GiB and was made without ZIP64, so its offsets are wrong "
            "(macOS's Compress did so): make it with `zip -r` or 7-Zip.",
        )
    if shift > 0 and window.get(directory.offset + shift, 4) == b"PK\x01\x02":
        raise refusal(
            Fault.STRAY_BYTES, f"There are {shift} bytes before the archive (a self-extractor?): remove them."
        )
    raise refusal(
        Fault.MALFORMED,
        f"The central directory is said to end at byte {directory.end}, but the records after it begin at {end}.",
    )
