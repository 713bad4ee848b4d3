"""The ZIP that goes out, cut into the parts of a multipart upload: what the store copies, and what has to be sent.

S3 takes parts of 5 MiB to 5 GiB, the last one of any size, 10,000 of them; a part is either sent or copied from one
object. Between two files lies a header of some bytes, too short for a part. So it ends a smaller object, made of the
file before: its last 5 MiB, copied, and then, as the last part of that object, the header. That object is copied whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from registry.archives.layout import Segment, archive_size
from registry.archives.limits import MIB

MAX_PARTS = 10_000
MIN_PART_BYTES = 5 * MIB
MAX_PART_BYTES = 5 * 1024 * MIB
_SENT_BYTES = 8 * MIB  # sent parts have up to twice as many
_COPIED_BYTES = 128 * MIB  # more of them side by side are quicker, larger ones fewer


@dataclass(frozen=True, slots=True)
class Part:
    """`length` bytes of the archive from `start` on: `copied` from one file; or made first, as an object of its own, of
    the `inner` ones; or else sent."""

    start: int
    length: int
    copied: bool = False
    inner: tuple[Part, ...] = ()


def plan_assembly(segments: Sequence[Segment]) -> list[Part]:
    """The parts of a planned archive, in order and without gaps. ValueError if no 10,000 parts hold it."""
    copied = _COPIED_BYTES
    parts = _cut(segments, copied)
    if len(parts) > MAX_PARTS and len(_cut(segments, MAX_PART_BYTES)) > MAX_PARTS:
        return _bundle(parts)
    while len(parts) > MAX_PARTS:
        copied = min(2 * copied, MAX_PART_BYTES)
        parts = _cut(segments, copied)
    return parts


def sent_bytes(parts: Sequence[Part]) -> int:
    """How many of the archive's bytes the store is sent."""
    return sum(sent_bytes(part.inner) if part.inner else 0 if part.copied else part.length for part in parts)


def _cut(segments: Sequence[Segment], copied_bytes: int) -> list[Part]:
    parts: list[Part] = []
    begun = 0  # where the bytes begin that are in no part yet
    for segment in segments:
        if segment.entry is None or segment.length < MIN_PART_BYTES:
            continue
        start, end = segment.start, segment.start + segment.length
        if start - begun >= MIN_PART_BYTES:
            parts += _send(begun, start)
        elif parts:
            parts += _bridge(parts.pop(), start)
        else:  # nothing comes before: the first part takes what it lacks from the file
            start = MIN_PART_BYTES
            if end - start < MIN_PART_BYTES:
                continue
            parts.append(Part(begun, start))
        parts += _copy(start, end, copied_bytes)
        begun = end
    return parts + _send(begun, archive_size(segments))


def _send(start: int, end: int) -> list[Part]:
    count = max(1, (end - start) // _SENT_BYTES)
    return _split(start, end, count, copied=False)


def _copy(start: int, end: int, most: int) -> list[Part]:
    return _split(start, end, -(-(end - start) // most), copied=True)


def _split(start: int, end: int, count: int, *, copied: bool) -> list[Part]:
    bounds = (start + (end - start) * number // count for number in range(count + 1))
    return [Part(first, last - first, copied) for first, last in pairwise(bounds)]


def _bridge(before: Part, end: int) -> list[Part]:
    """A copied part, and in its end what follows up to `end`."""
    kept = before.length - MIN_PART_BYTES
    if kept < MIN_PART_BYTES:
        kept = 0
    middle, gap = before.start + kept, before.start + before.length
    inner = (Part(middle, gap - middle, copied=True), Part(gap, end - gap))
    bridge = Part(middle, end - middle, inner=inner)
    return [Part(before.start, kept, copied=True), bridge] if kept else [bridge]


def _bundle(parts: list[Part]) -> list[Part]:
    """Neighbours made into larger objects first, where there are very many files."""
    *body, last = parts
    each = -(-len(body) // (MAX_PARTS - 1))
    bundles: list[Part] = []
    for number in range(0, len(body), each):
        inner = tuple(body[number : number + each])
        bundles.append(Part(inner[0].start, sum(part.length for part in inner), inner=inner))
    if any(bundle.length > MAX_PART_BYTES for bundle in bundles):
        raise ValueError(f"no {MAX_PARTS} parts hold an archive of {last.start + last.length} bytes")
    return [*bundles, last]
