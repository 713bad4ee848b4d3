"""The ZIP that goes out: the length is known beforehand, every tool reads it, every range of it is right."""

import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry.archives import Entry, Limits, Segment, archive_size, plan_archive, read_archive, slice_segments

from tests.unit.zip_builder import CountingReader, unpack

U32 = 0xFFFFFFFF

names = st.text("abcé日ü -_0", min_size=1, max_size=9).map(lambda text: f"d/{text}.bin")
trees = st.dictionaries(names, st.binary(max_size=200), max_size=9)


def plan(files: dict[str, bytes]) -> list[Segment]:
    return plan_archive([Entry(path=path, size=len(data), crc32=zlib.crc32(data)) for path, data in files.items()])


def assemble(segments: list[Segment], files: dict[str, bytes]) -> bytes:
    data = list(files.values())
    return b"".join(data[s.entry] if s.entry is not None else s.data or b"" for s in segments)


@settings(max_examples=150, deadline=None)
@given(files=trees, ends=st.tuples(st.integers(0), st.integers(0)))
def test_a_plan_gives_the_archive_its_length_and_every_range_of_it(
    files: dict[str, bytes], ends: tuple[int, int]
) -> None:
    segments, contents = plan(files), list(files.values())
    whole = assemble(segments, files)
    assert archive_size(segments) == len(whole)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert {info.filename: archive.read(info) for info in archive.infolist()} == files
        assert archive.namelist() == list(files)
    first, last = sorted(end % len(whole) for end in ends)
    parts = b""
    for segment, offset, length in slice_segments(segments, first, last):
        source = segment.data if segment.entry is None else contents[segment.entry]
        assert source is not None
        assert length > 0
        assert len(source[offset : offset + length]) == length
        parts += source[offset : offset + length]
    assert parts == whole[first : last + 1]


def test_every_single_range_of_a_small_archive_is_right() -> None:
    files = {"a": b"12345", "empty": b"", "é": b"x"}
    segments, contents = plan(files), list(files.values())
    whole = assemble(segments, files)
    for first in range(len(whole)):
        for last in range(first, len(whole)):
            got = b"".join(
                ((s.data or b"") if s.entry is None else contents[s.entry])[offset : offset + length]
                for s, offset, length in slice_segments(segments, first, last)
            )
            assert got == whole[first : last + 1]


@pytest.mark.parametrize(("first", "last"), [(-1, 0), (5, 4), (0, 10**6), (10**6, 10**6)])
def test_a_range_outside_the_archive_is_an_error(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="not inside"):
        list(slice_segments(plan({"a": b"1"}), first, last))


def test_segments_lie_side_by_side_from_0_on() -> None:
    position = 0
    for segment in plan({"a": b"1", "b": b"", "c": b"3"}):
        assert segment.start == position
        assert segment.length > 0
        assert segment.data is None or len(segment.data) == segment.length
        assert (segment.data is None) != (segment.entry is None)
        position += segment.length


@settings(max_examples=50, deadline=None)
@given(files=trees.filter(bool))
def test_what_goes_out_can_come_in_again(files: dict[str, bytes]) -> None:
    files = {f"{n}/{path.replace(' .', '.')}": data for n, (path, data) in enumerate(files.items())}
    assert unpack(assemble(plan(files), files)) == files


def test_the_same_files_give_the_same_bytes_and_plain_headers() -> None:
    files = {"a": b"1", "é": b"2"}
    whole = assemble(plan(files), files)
    assert whole == assemble(plan(files), files)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        plain, accented = archive.infolist()
    assert (plain.flag_bits, accented.flag_bits) == (0, 1 << 11)
    assert plain.date_time == (1980, 1, 1, 0, 0, 0)
    assert plain.external_attr >> 16 == 0o100644
    assert plain.compress_type == zipfile.ZIP_STORED
    assert plain.extra == b""


def central_headers(segments: list[Segment]) -> list[tuple[int, int, int, bytes]]:
    """(compressed size, size, offset, extra) of each, from the literal end of the plan."""
    data, position, headers = segments[-1].data or b"", 0, []
    while data.startswith(b"PK\x01\x02", position):
        compressed, size, name, extra = struct.unpack_from("<IIHH", data, position + 20)
        (offset,) = struct.unpack_from("<I", data, position + 42)
        start = position + 46 + name
        headers.append((compressed, size, offset, data[start : start + extra]))
        position = start + extra
    return headers


@pytest.mark.parametrize(("size", "wide"), [(U32 - 1, False), (U32, True), (U32 + 1, True)])
def test_zip64_is_used_from_the_first_size_that_needs_it(size: int, wide: bool) -> None:
    segments = plan_archive([Entry("a", size, 1), Entry("b", 1, 2)])
    zip64 = struct.pack("<HHQQ", 1, 16, size, size)
    assert (segments[0].data or b"").endswith(zip64) is wide
    first, second = central_headers(segments)
    narrow = (size, size, 0, b"")
    assert first == ((U32, U32, U32, struct.pack("<HHQQQ", 1, 24, size, size, 0)) if wide else narrow)
    # The second lies behind 4 GiB: all three values are wide, although only its offset needs to be.
    offset = segments[2].start
    assert offset > U32
    assert second == (U32, U32, U32, struct.pack("<HHQQQ", 1, 24, 1, 1, offset))
    assert b"PK\x06\x06" in (segments[-1].data or b"")


@pytest.mark.parametrize(("offset", "wide"), [(U32 - 1, False), (U32, True)])
def test_zip64_is_used_from_the_first_offset_that_needs_it(offset: int, wide: bool) -> None:
    segments = plan_archive([Entry("a", offset - 31, 1), Entry("b", 0, 2)])
    assert segments[2].start == offset
    _, (_, _, narrow_offset, extra) = central_headers(segments)
    assert (narrow_offset == U32, bool(extra)) == (wide, wide)


def test_an_archive_below_4_gib_has_no_zip64() -> None:
    segments = plan_archive([Entry("a", U32 - 200, 1), Entry("b", 1, 2)])
    assert all(header[3] == b"" for header in central_headers(segments))
    assert b"PK\x06\x06" not in (segments[-1].data or b"")


@pytest.mark.parametrize(("count", "wide"), [(65_534, False), (65_535, True)])
def test_zip64_is_used_from_65535_members_on(count: int, wide: bool) -> None:
    whole = assemble(plan_archive([Entry(str(n), 0, 0) for n in range(count)]), {})
    assert (b"PK\x06\x06" in whole[-98:]) is wide
    if wide:
        assert len(read_archive(CountingReader(whole), limits=Limits(max_members=count)).members) == count
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            assert len(archive.namelist()) == count


def test_an_archive_of_nothing_is_a_valid_zip() -> None:
    assert zipfile.ZipFile(io.BytesIO(assemble(plan_archive([]), {}))).namelist() == []


def test_info_zip_agrees(tmp_path: Path) -> None:
    if not shutil.which("unzip"):
        pytest.skip("unzip is not on this machine")
    files = {"a.txt": b"hello", "d/é.bin": bytes(5000), "empty": b""}
    (tmp_path / "a.zip").write_bytes(assemble(plan(files), files))
    result = subprocess.run(["unzip", "-tq", tmp_path / "a.zip"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
