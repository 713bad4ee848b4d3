"""The parts of a multipart upload that an archive is assembled of: what S3 takes, and how little is sent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from registry.archives import (
    Entry,
    Part,
    archive_size,
    crc32_archive,
    crc32_combine,
    plan_archive,
    plan_assembly,
    sent_bytes,
    slice_segments,
)
from registry.archives.assembling import MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES

MIB, GIB = 2**20, 2**30
SENT_MOST = 16 * MIB


def plan(sizes: Sequence[int]) -> tuple[list, list[Part]]:
    segments = plan_archive([Entry(f"d{number % 9}/{number}", size, number) for number, size in enumerate(sizes)])
    return segments, plan_assembly(segments)


def check(segments: list, parts: list[Part], *, start: int = 0, end: int | None = None) -> None:
    """What S3 takes: no gaps, no part too small or too large, copied ones from one file."""
    assert len(parts) <= MAX_PARTS
    position = start
    for number, part in enumerate(parts):
        assert part.start == position
        position += part.length
        assert MIN_PART_BYTES <= part.length <= MAX_PART_BYTES or (number == len(parts) - 1 and part.length > 0)
        if part.inner:
            assert not part.copied
            check(segments, list(part.inner), start=part.start, end=position)
        elif part.copied:
            ((segment, _, length),) = slice_segments(segments, part.start, position - 1)
            assert segment.entry is not None and length == part.length
            assert segment.length >= MIN_PART_BYTES
        else:
            assert part.length < SENT_MOST
    assert position == (archive_size(segments) if end is None else end)


edges = st.sampled_from([size + more for size in (5 * MIB, 10 * MIB) for more in (-1, 0, 1)])
sizes = st.lists(
    st.one_of(st.integers(0, 1000), st.integers(0, 12 * MIB), edges, st.integers(0, 600 * GIB)), min_size=1, max_size=40
)


@settings(max_examples=400, deadline=None)
@given(sizes)
@example([0])
@example([5 * MIB] * 3)
@example([6 * MIB])
@example([10 * MIB - 31])
@example([10 * MIB, 5 * MIB, 0, 5 * MIB - 1, 5 * MIB])
@example([2**32 - 1, 2**32 - 2, 1])
@example([3 * MIB] * 40)
@example([5 * 2**40])
def test_parts_are_such_as_s3_takes(sizes: list[int]) -> None:
    check(*plan(sizes))


@settings(max_examples=400, deadline=None)
@given(sizes)
def test_no_more_is_sent_than_small_files_headers_and_one_head(sizes: list[int]) -> None:
    segments, parts = plan(sizes)
    small = sum(size for size in sizes if size < MIN_PART_BYTES)
    headers = archive_size(segments) - sum(sizes)
    # Of one file at most something else is sent: the first large one, up to where a copy may begin.
    assert sent_bytes(parts) <= small + headers + 2 * MIN_PART_BYTES


@pytest.mark.parametrize(
    ("sizes", "most"),
    [
        ([GIB] * 10, 0.001),
        ([2 * GIB] * 50, 0.0001),
        ([5 * MIB] * 3000, 0.001),
        ([5 * MIB] * 50_000, 0.001),
        ([5 * GIB] * 1000, 0.0001),
        ([1024 * GIB] * 40, 0.0001),
    ],
    ids=["10 x 1 GiB", "50 x 2 GiB", "3,000 x 5 MiB", "50,000 x 5 MiB", "1,000 x 5 GiB", "40 x 1 TiB"],
)
def test_large_files_go_inside_the_store(sizes: list[int], most: float) -> None:
    segments, parts = plan(sizes)
    check(segments, parts)
    assert sent_bytes(parts) <= most * sum(sizes)


def test_many_small_files_are_sent_in_parts_of_some_mib() -> None:
    segments, parts = plan([4 * MIB] * 50_000)  # 195 GiB: more than 10,000 such parts, so in bundles
    check(segments, parts)
    assert sent_bytes(parts) == archive_size(segments)


def test_what_no_10_000_parts_hold_is_an_error() -> None:
    with pytest.raises(ValueError, match="no 10000 parts"):
        plan([5 * 2**40] * 11)


def test_planning_is_linear_in_the_files() -> None:
    def calls(count: int) -> int:
        entries = [Entry(str(number), 5 * MIB if number % 3 else 900, number) for number in range(count)]
        segments = plan_archive(entries)
        counted = 0

        def count_call(frame: FrameType, event: str, argument: object) -> None:
            nonlocal counted
            counted += 1

        sys.setprofile(count_call)
        try:
            plan_assembly(segments)
            crc32_archive(segments, entries)
        finally:
            sys.setprofile(None)
        return counted

    calls(10)  # what is tabulated once
    assert calls(5_000) < 11 * calls(500)
    assert calls(50_000) < 25 * calls(5_000)  # cut three times and bundled, as there are more than 10,000


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_crc32_of_two_stretches(first: bytes, second: bytes) -> None:
    assert crc32_combine(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


@pytest.mark.parametrize("length", [0, 1, 255, 2**16, 10**7 + 3])
def test_crc32_of_a_long_second_stretch(length: int) -> None:
    first, second = os.urandom(100), bytes(length)
    assert crc32_combine(zlib.crc32(first), zlib.crc32(second), length) == zlib.crc32(first + second)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**45))
def test_crc32_is_combined_in_any_order(a: int, b: int, c: int, length: int) -> None:
    left = crc32_combine(crc32_combine(a, b, length), c, 7)
    assert left == crc32_combine(a, crc32_combine(b, c, 7), length + 7)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=8))
def test_the_archives_own_crc32_is_known_before_it_is_made(contents: list[bytes]) -> None:
    entries = [Entry(f"é{n}", len(data), zlib.crc32(data)) for n, data in enumerate(contents)]
    segments = plan_archive(entries)
    whole = b"".join(contents[s.entry] if s.entry is not None else s.data or b"" for s in segments)
    assert crc32_archive(segments, entries) == zlib.crc32(whole)


READERS: dict[str, list[str]] = {
    "unzip": ["unzip", "-tq"],
    "7z": ["7z", "t"],
    "7zz": ["7zz", "t"],
    "bsdtar": ["bsdtar", "-tf"],
    "jar": ["jar", "tf"],
    "python": [sys.executable, "-m", "zipfile", "-t"],
}


@pytest.mark.long
@pytest.mark.parametrize("size", [2**32 - 2, 2**32 - 1, 2**32 + 5])
def test_common_tools_open_an_archive_around_4_gib(size: int, tmp_path: Path) -> None:
    """One file of zeros, which take no room on the disk, and files behind it."""
    sizes = {"a.bin": size, "b/c.bin": 6 * MIB, "d": 0, "e": 3}
    entries = [Entry(path, size, crc_of_zeros(size)) for path, size in sizes.items()]
    segments = plan_archive(entries)
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        for segment in segments:
            file.seek(segment.start)
            file.write(segment.data or b"")
    found = [program for program in READERS if shutil.which(READERS[program][0])]
    assert "python" in found
    for program in found:
        result = subprocess.run([*READERS[program], str(path)], capture_output=True, text=True)
        assert result.returncode == 0, program + result.stdout + result.stderr


def crc_of_zeros(length: int) -> int:
    return crc32_combine(zlib.crc32(b"\0"), crc_of_zeros(length - 1), length - 1) if length % 2 else _even(length)


def _even(length: int) -> int:
    if not length:
        return 0
    half = crc_of_zeros(length // 2)
    return crc32_combine(half, half, length // 2)
