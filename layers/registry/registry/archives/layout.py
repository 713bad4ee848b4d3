"""The ZIP that goes out: stored members, known to the byte before any content is read.

The same entries give the same bytes: no data descriptors, one fixed time. Rules: docs/archives.md; layouts:
PKWARE APPNOTE.TXT 6.3.10, section 4.3.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from registry.archives.ending import U16_FULL, U32_FULL

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4sHHHHIIH")

_UTF8_FLAG = 1 << 11
_STORED = 0
_TIME, _DATE = 0, 1 << 5 | 1  # 1980-01-01 00:00, the earliest a ZIP can say
_NEEDS_PLAIN, _NEEDS_ZIP64 = 20, 45  # versions 2.0 (folders) and 4.5
_MADE_BY = 3 << 8 | _NEEDS_ZIP64  # Unix, so that the mode below counts
_MODE = 0o100644 << 16
_ZIP64 = 0x0001


@dataclass(frozen=True, slots=True)
class Entry:
    """One file to put into the archive; its path has passed `check_path`."""

    path: str
    size: int
    crc32: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the archive: literal `data`, or the whole content of entry number `entry`. Bytes from its start."""

    start: int
    length: int
    data: bytes | None
    entry: int | None


def plan_archive(entries: Sequence[Entry]) -> list[Segment]:
    """The archive as segments without gaps; an empty file has none of its own."""
    segments: list[Segment] = []
    offsets: list[int] = []
    position = 0
    for number, entry in enumerate(entries):
        offsets.append(position)
        header = _local_header(entry)
        segments.append(Segment(start=position, length=len(header), data=header, entry=None))
        position += len(header)
        if entry.size:
            segments.append(Segment(start=position, length=entry.size, data=None, entry=number))
            position += entry.size
    directory = b"".join(map(_central_header, entries, offsets))
    ending = directory + _end_records(len(entries), len(directory), position)
    segments.append(Segment(start=position, length=len(ending), data=ending, entry=None))
    return segments


def archive_size(segments: Sequence[Segment]) -> int:
    """The length in bytes of a planned archive."""
    return segments[-1].start + segments[-1].length


def slice_segments(segments: Sequence[Segment], first: int, last: int) -> Iterator[tuple[Segment, int, int]]:
    """What bytes `first` to `last` (inclusive, as in HTTP Range) consist of: (segment, offset in it, length).

    ValueError unless 0 <= first <= last < the archive's size.
    """
    if not 0 <= first <= last < archive_size(segments):
        raise ValueError(f"bytes {first}-{last} are not inside an archive of {archive_size(segments)} bytes")
    index = bisect_right(segments, first, key=lambda segment: segment.start) - 1
    position = first
    while position <= last:
        segment = segments[index]
        offset = position - segment.start
        length = min(segment.length - offset, last + 1 - position)
        yield segment, offset, length
        position += length
        index += 1


def _local_header(entry: Entry) -> bytes:
    name, flags = _encode_name(entry.path)
    size, needs, extra = entry.size, _NEEDS_PLAIN, b""
    if size >= U32_FULL:
        size, needs, extra = U32_FULL, _NEEDS_ZIP64, struct.pack("<HHQQ", _ZIP64, 16, entry.size, entry.size)
    fields = (needs, flags, _STORED, _TIME, _DATE, entry.crc32, size, size, len(name), len(extra))
    return _LOCAL.pack(b"PK\x03\x04", *fields) + name + extra


def _central_header(entry: Entry, offset: int) -> bytes:
    name, flags = _encode_name(entry.path)
    size, narrow_offset, needs, extra = entry.size, offset, _NEEDS_PLAIN, b""
    # All three or none: Info-ZIP unzip 6.00 misreads a lone 64-bit offset (docs/archives.md).
    if size >= U32_FULL or offset >= U32_FULL:
        extra = struct.pack("<HHQQQ", _ZIP64, 24, size, size, offset)
        size, narrow_offset, needs = U32_FULL, U32_FULL, _NEEDS_ZIP64
    fields = (_MADE_BY, needs, flags, _STORED, _TIME, _DATE, entry.crc32, size, size, len(name), len(extra))
    return _CENTRAL.pack(b"PK\x01\x02", *fields, 0, 0, 0, _MODE, narrow_offset) + name + extra


def _end_records(count: int, size: int, offset: int) -> bytes:
    end64 = b""
    if count >= U16_FULL or size >= U32_FULL or offset >= U32_FULL:
        end64 = _END64.pack(
            b"PK\x06\x06", _END64.size - 12, _MADE_BY, _NEEDS_ZIP64, 0, 0, count, count, size, offset
        ) + _LOCATOR.pack(b"PK\x06\x07", 0, offset + size, 1)
    narrow_count = min(count, U16_FULL)
    narrow = (narrow_count, narrow_count, min(size, U32_FULL), min(offset, U32_FULL))
    return end64 + _END.pack(b"PK\x05\x06", 0, 0, *narrow, 0)


def _encode_name(path: str) -> tuple[bytes, int]:
    return path.encode(), 0 if path.isascii() else _UTF8_FLAG
