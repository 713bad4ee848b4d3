"""Archives as real writers make them, and what reading them costs."""

import io
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry.archives import Entry, RangeReader, Segment, archive_size, plan_archive, read_archive, slice_segments
from registry.errors import ArchiveError

from tests.unit.zip_builder import CountingReader, end_record, unpack

MIB = 2**20
RANGE = 8 * MIB

segments = st.text("abcxyzéß日 -_.0123456789", min_size=1, max_size=8).map(lambda text: f"n{text}z")
trees = st.dictionaries(
    st.lists(segments, min_size=1, max_size=4).map("/".join).map(str.casefold),
    # Hypothesis takes constants from the code under test: b"PK\5\6" * 5000 is refused rightly, as a second end record.
    st.one_of(st.binary(max_size=300), st.binary(min_size=1, max_size=20).map(lambda block: block * 5000)).filter(
        lambda content: b"PK\5\6" not in content
    ),
    min_size=1,
    max_size=8,
)


def has_conflict(paths: list[str]) -> bool:
    return any(other.startswith(path + "/") for path in paths for other in paths)


class UnseekableSink(io.RawIOBase):
    """A pipe: zipfile then writes data descriptors."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.written += data
        return len(data)


def write_with_zipfile(files: dict[str, bytes], method: int, stream: bool, force_zip64: bool) -> bytes:
    sink = UnseekableSink() if stream else io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for path, content in files.items():
            folder = path.rpartition("/")[0]
            if folder and f"{folder}/" not in archive.namelist():
                archive.mkdir(folder)
            with archive.open(zipfile.ZipInfo(path), "w", force_zip64=force_zip64) as member:
                member.write(content)
    return bytes(sink.written) if isinstance(sink, UnseekableSink) else sink.getvalue()


@settings(max_examples=120, deadline=None)
@given(
    files=trees,
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    stream=st.booleans(),
    force_zip64=st.booleans(),
)
def test_what_zipfile_writes_is_read_unchanged(
    files: dict[str, bytes], method: int, stream: bool, force_zip64: bool
) -> None:
    if has_conflict(list(files)):
        return
    assert unpack(write_with_zipfile(files, method, stream, force_zip64)) == files


FILES = {
    "config.json": b'{"a": 1}' * 50,
    "weights/model 1.bin": os.urandom(100_000),
    "weights/zeros.bin": bytes(500_000),
    "dé/ü.txt": b"u\n",
    "empty": b"",
}
COMMANDS = {
    "zip": "zip -qr ../out.zip .",
    "zip stored": "zip -qr0 ../out.zip .",
    "zip to a pipe": "zip -qr - . | cat > ../out.zip",
    "zip stored to a pipe": "zip -qr0 - . | cat > ../out.zip",
    "zip with ZIP64": "zip -qr -fz ../out.zip .",
    "jar": "jar cMf ../out.zip .",
    "jar stored": "jar c0Mf ../out.zip .",
    "jar with a manifest": "jar cf ../out.zip .",
    "bsdtar": "bsdtar --format zip -cf ../out.zip .",
    "7z": "7z a -tzip ../out.zip . > ../log",
    "7z stored": "7z a -tzip -mx0 ../out.zip . > ../log",
    "ditto": "ditto -c -k . ../out.zip",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_common_tools_write_is_read_unchanged(name: str, tmp_path: Path) -> None:
    tool = COMMANDS[name].split()[0]
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not on this machine")
    for path, content in FILES.items():
        (tmp_path / "in" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / path).write_bytes(content)
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    subprocess.run(COMMANDS[name], shell=True, check=True, cwd=tmp_path / "in", env=environment)
    files = unpack((tmp_path / "out.zip").read_bytes())
    files.pop("META-INF/MANIFEST.MF", None)
    assert files == FILES


class PlannedReader:
    """An archive that exists only as a plan; the content of its members is zeros."""

    def __init__(self, entries: list[Entry]) -> None:
        self.use(plan_archive(entries))

    def use(self, segments: list[Segment]) -> None:
        self.segments = segments
        self.size = archive_size(self.segments)
        self.calls = 0
        self.longest = 0

    def read(self, offset: int, length: int) -> bytes:
        assert 0 < length <= self.size - offset
        self.calls += 1
        self.longest = max(self.longest, length)
        return b"".join(self._pieces(offset, length))

    def _pieces(self, offset: int, length: int) -> Iterator[bytes]:
        for segment, start, count in slice_segments(self.segments, offset, offset + length - 1):
            yield bytes(count) if segment.data is None else segment.data[start : start + count]


def assert_cheap(reader: CountingReader | PlannedReader, most: int) -> None:
    assert reader.calls <= most
    assert reader.longest <= RANGE + 70_000


@pytest.mark.parametrize("size", [0, 1, 1000, 20_000])
def test_many_small_members_are_planned_in_few_reads(size: int) -> None:
    reader = PlannedReader([Entry(path=f"d{n % 100}/{n:05}.bin", size=size, crc32=n) for n in range(20_000)])
    archive = read_archive(reader)
    assert len(archive.members) == 20_000
    assert archive.total_size == 20_000 * size
    assert_cheap(reader, reader.size // RANGE * 11 // 10 + 4)


def test_many_small_streamed_members_are_planned_in_few_reads() -> None:
    files = {f"{n:04}.bin": os.urandom(3000) for n in range(4000)}
    data = write_with_zipfile(files, zipfile.ZIP_DEFLATED, stream=True, force_zip64=False)
    reader = CountingReader(data)
    assert len(read_archive(reader).members) == 4000
    assert_cheap(reader, len(data) // RANGE + 4)


def test_a_small_archive_is_one_read() -> None:
    reader = CountingReader(write_with_zipfile(FILES, zipfile.ZIP_DEFLATED, stream=True, force_zip64=True))
    assert len(read_archive(reader).members) == len(FILES)
    assert reader.calls == 1


def test_big_members_cost_one_small_read_each() -> None:
    reader = PlannedReader([Entry(path=f"{n}.bin", size=2**31, crc32=n) for n in range(60)])
    read_archive(reader)
    assert_cheap(reader, 60 + 1)


@pytest.mark.parametrize("wide", [False, True])
def test_streamed_big_members_cost_one_small_read_each(wide: bool) -> None:
    files = {f"{n}.bin": bytes([n]) * (3 * MIB) for n in range(5)}
    reader = CountingReader(write_with_zipfile(files, zipfile.ZIP_STORED, stream=True, force_zip64=wide))
    archive = read_archive(reader)
    assert archive.total_size == 15 * MIB
    assert_cheap(reader, 5 + 2)  # the end, the first header, then each descriptor with the header behind it
    assert reader.bytes_read < 1.1 * MIB


@pytest.mark.case("Z24")
def test_archives_beyond_4_gib_are_read_right() -> None:
    sizes = [2**32 + 5, 3, 2**32 - 1, 2**32 - 2, 0, 7, 5 * 2**40]
    entries = [Entry(path=f"{n}.bin", size=size, crc32=n) for n, size in enumerate(sizes)]
    reader: RangeReader = PlannedReader(entries)
    archive = read_archive(reader)
    assert [(m.path, m.size, m.compressed_size, m.crc32) for m in archive.members] == [
        (entry.path, entry.size, entry.size, entry.crc32) for entry in entries
    ]
    starts = {segment.entry: segment.start for segment in plan_archive(entries) if segment.entry is not None}
    assert all(starts.get(m.index, m.data_offset) == m.data_offset for m in archive.members)
    assert archive.members[-1].header_offset > 3 * 2**32 - 10


@pytest.mark.case("Z12")
def test_offsets_that_went_round_at_4_gib_are_refused_with_advice() -> None:
    reader = PlannedReader([Entry(path="a", size=2**32 - 2, crc32=1), Entry(path="b", size=9, crc32=2)])
    *members, last = reader.segments
    assert last.data is not None
    directory = last.data[: last.data.index(b"PK\x06\x06")]
    end = end_record(here=2, count=2, size=len(directory), offset=last.start % 2**32)
    reader.use([*members, Segment(start=last.start, length=len(directory + end), data=directory + end, entry=None)])
    with pytest.raises(ArchiveError, match="larger than 4 GiB") as refused:
        read_archive(reader)
    assert refused.value.code == "archive_malformed"
