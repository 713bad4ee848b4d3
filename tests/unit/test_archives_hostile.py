# ruff: noqa: E501 - the tables have one case a line
"""Archives made to deceive: each is refused, with the code of its class, before anything could be written."""

import io
import stat
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry.archives import Entry, Fault, Limits, MemberDecoder, ResumableDecoder, read_archive
from registry.errors import ArchiveError

from tests.unit import hostile
from tests.unit.hostile import ACCEPTED, CASES, CONTENT_CASES, GOOD, HELLO, Kind, empty_files, mode
from tests.unit.test_archives_round_trip import PlannedReader
from tests.unit.zip_builder import U32, CountingReader, Item, build, streamed, unpack, zip64

GIB, TIB = 2**30, 2**40
KINDS = list(hostile.kinds())


@pytest.mark.case(
    *("Z1", "Z2", "Z3", "Z4", "Z5", "Z6", "Z7", "Z8", "Z9", "Z10", "Z12", "Z13", "Z14", "Z15", "Z16", "Z17", "Z18"),
    *("Z19", "Z20", "Z21", "Z22", "Z23"),
)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_kind_is_taken_up_to_its_limit_and_refused_beyond(kind: Kind) -> None:
    assert unpack(kind.inside)
    with pytest.raises(ArchiveError) as refused:
        unpack(kind.beyond)
    assert refused.value.code == f"archive_{kind.fault}"
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 500


def test_the_kinds_are_those_of_the_list() -> None:
    assert {kind.case for kind in KINDS} == {f"Z{number}" for number in range(1, 24)} - {"Z11"}
    assert len({str(kind) for kind in KINDS}) == len(KINDS)


@pytest.mark.case("Z20")
def test_the_tar_that_is_refused_is_one_that_python_reads() -> None:
    assert tarfile.is_tarfile(io.BytesIO(hostile.tar_as_well()))
    assert not tarfile.is_tarfile(io.BytesIO(hostile.tar_as_well(off_by=1)))


@pytest.mark.case("Z11", "Z24")
def test_an_archive_in_an_archive_is_a_file_like_any_other() -> None:
    inner = hostile.nested(5)
    assert unpack(hostile.nested(6)) == {"inner.zip": inner}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_structure_is_refused_before_any_content_is_decoded(name: str) -> None:
    data, fault = CASES[name]
    with pytest.raises(ArchiveError) as refused:
        read_archive(CountingReader(data))
    assert refused.value.code == f"archive_{fault}"
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 500


@pytest.mark.parametrize("name", CONTENT_CASES)
def test_hostile_content_is_refused_while_it_is_decoded(name: str) -> None:
    data, fault = CONTENT_CASES[name]
    read_archive(CountingReader(data))
    with pytest.raises(ArchiveError) as refused:
        unpack(data)
    assert refused.value.code == f"archive_{fault}"


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_real_writers_make_is_accepted(name: str) -> None:
    data, paths = ACCEPTED[name]
    assert list(unpack(data)) == paths


def test_junk_is_left_out_and_named() -> None:
    data, _ = ACCEPTED["junk"]
    archive = read_archive(CountingReader(data))
    assert archive.skipped == ("__MACOSX/._a", "d/.DS_Store", "Thumbs.db")
    assert [(member.index, member.path) for member in archive.members] == [(0, "a.txt")]
    assert archive.total_size == 5


def test_the_directorys_order_is_kept_where_the_files_order_differs() -> None:
    whole = build(Item(name=b"2"), Item(name=b"1"))
    other = build(Item(name=b"1", central={"offset": 36}), Item(name=b"2", central={"offset": 0}))
    start = struct.unpack("<I", whole[-6:-2])[0]
    data = whole[:start] + other[start:]
    archive = read_archive(CountingReader(data))
    assert [(m.index, m.path, m.header_offset) for m in archive.members] == [(0, "1", 36), (1, "2", 0)]


TEN_BYTES = bytes(10)  # of payload, in an archive of 118

# Both ends of every limit: (limits, the archive that just passes, the one that does not, its fault)
LIMITS = {
    "members": (
        Limits(max_members=3),
        build(Item(), Item(name=b"b"), Item(name=b"d/", content=b"")),
        build(Item(), Item(name=b"b"), Item(name=b"c"), Item(name=b"d/", content=b"")),
        Fault.TOO_MANY_MEMBERS,
    ),
    "directory": (
        Limits(max_directory_bytes=100),
        build(Item(central={"comment": bytes(49)})),
        build(Item(central={"comment": bytes(50)})),
        Fault.TOO_LARGE,
    ),
    "member": (Limits(max_member_bytes=5), build(Item(content=b"12345")), build(Item(content=b"123456")), Fault.TOO_LARGE),
    "total": (
        Limits(max_total_bytes=10),
        build(Item(), Item(name=b"b")),
        build(Item(), Item(name=b"b"), Item(name=b"c", content=b"1")),
        Fault.TOO_LARGE,
    ),
    "path": (
        Limits(),
        build(Item(name=b"/".join([b"d" * 224] * 4) + b"e")),
        build(Item(name=b"/".join([b"d" * 224] * 4) + b"ef")),
        Fault.NAME_TOO_LONG,
    ),
    "segment": (Limits(), build(Item(name=b"d" * 255)), build(Item(name=b"d" * 256)), Fault.NAME_TOO_LONG),
    "depth": (Limits(), build(Item(name=b"/".join([b"d"] * 32))), build(Item(name=b"/".join([b"d"] * 33))), Fault.NAME_TOO_LONG),
    "ratio": (
        Limits(),
        build(Item(method=8, payload=b"12", local={"size": 2064}, central={"size": 2064})),
        build(Item(method=8, payload=b"12", local={"size": 2065}, central={"size": 2065})),
        Fault.SIZE_MISMATCH,
    ),
    "bomb": (
        Limits(),
        build(Item(method=8, payload=bytes(70_000), local={"size": 70_000 * 1032}, central={"size": 70_000 * 1032})),
        build(Item(method=8, payload=bytes(70_000), local={"size": 70_000 * 1032 + 1}, central={"size": 70_000 * 1032 + 1})),
        Fault.BOMB,
    ),
    "ratio of the whole": (
        Limits(ratio_from_bytes=0, max_ratio=5),
        build(Item(content=bytes(118 * 5), method=8, payload=TEN_BYTES)),
        build(Item(content=bytes(118 * 5 + 1), method=8, payload=TEN_BYTES)),
        Fault.BOMB,
    ),
    "ratio of little": (
        Limits(ratio_from_bytes=1_000_000, max_ratio=50),
        build(Item(content=bytes(1_000_000), method=8)),
        build(Item(content=bytes(1_000_001), method=8)),
        Fault.BOMB,
    ),
    "ratio of many": (
        Limits(ratio_from_bytes=1_000_000, max_ratio=50),
        build(*(Item(name=b"%d" % n, content=bytes(100_000), method=8) for n in range(10))),
        build(*(Item(name=b"%d" % n, content=bytes(100_000), method=8) for n in range(11))),
        Fault.BOMB,
    ),
    "ratio that is not asked": (
        Limits(ratio_from_bytes=0, max_ratio=0, max_total_bytes=1_000_000),
        build(Item(content=bytes(1_000_000), method=8)),
        build(Item(content=bytes(1_000_001), method=8)),
        Fault.TOO_LARGE,
    ),
}  # fmt: skip


@pytest.mark.case("Z9", "Z14", "Z17", "Z18")
@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_still_allowed_and_one_more_is_not(name: str) -> None:
    limits, passes, fails, fault = LIMITS[name]
    assert read_archive(CountingReader(passes), limits=limits).members
    with pytest.raises(ArchiveError) as refused:
        read_archive(CountingReader(fails), limits=limits)
    assert refused.value.code == f"archive_{fault}"


@pytest.mark.case("Z17")
def test_the_default_number_of_members_is_allowed_and_one_more_is_not() -> None:
    assert len(read_archive(CountingReader(empty_files(50_000))).members) == 50_000
    with pytest.raises(ArchiveError) as refused:
        read_archive(CountingReader(empty_files(50_001)))
    assert refused.value.code == "archive_too_many_members"


@pytest.mark.case("Z21")
@pytest.mark.parametrize("data", [GOOD, ACCEPTED["descriptor, 16 bytes"][0], ACCEPTED["ZIP64 end records"][0]])
def test_an_archive_cut_anywhere_is_refused(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(ArchiveError):
            unpack(data[:length])
        with pytest.raises(ArchiveError):
            unpack(data[length + 1 :])


class Planned(PlannedReader):
    """A planned archive of large members; what is read of it is counted."""

    def __init__(self, *sizes: int) -> None:
        super().__init__([Entry(path=f"{number}.bin", size=size, crc32=1) for number, size in enumerate(sizes)])


@pytest.mark.case("Z12", "Z24")
@pytest.mark.parametrize(
    ("sizes", "more"),
    [([5 * TIB], [5 * TIB + 1]), ([5 * TIB] * 10, [*[5 * TIB] * 10, 1])],
    ids=["5 TiB in a member", "50 TiB in all"],
)
def test_the_default_sizes_are_allowed_and_a_byte_more_is_not(sizes: list[int], more: list[int]) -> None:
    assert read_archive(Planned(*sizes)).total_size == sum(sizes)
    with pytest.raises(ArchiveError) as refused:
        read_archive(Planned(*more))
    assert refused.value.code == "archive_too_large"


def test_the_default_size_of_a_directory_is_allowed_and_a_byte_more_is_not() -> None:
    def directory_of(last: int) -> bytes:
        comments = [65_535] * 1_023 + [last]
        return build(
            *(Item(name=b"%04d" % n, content=b"", central={"comment": bytes(c)}) for n, c in enumerate(comments))
        )

    last = 64 * 2**20 - 1_024 * 50 - 1_023 * 65_535
    assert len(read_archive(CountingReader(directory_of(last))).members) == 1_024
    with pytest.raises(ArchiveError) as refused:
        read_archive(CountingReader(directory_of(last + 1)))
    assert refused.value.code == "archive_too_large"


@pytest.fixture(scope="module")
def flat_bomb() -> bytes:
    """64 GiB in 64 MiB: honest, but for its size."""
    return hostile.bomb(64 * GIB)


@pytest.fixture
def traced() -> Iterator[None]:
    """Memory is looked at from here on."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.case("Z9", "S4")
def test_a_bomb_of_64_gib_is_refused_by_its_directory(flat_bomb: bytes, traced: None) -> None:
    assert len(flat_bomb) < 65 * 2**20
    reader = CountingReader(flat_bomb)
    with pytest.raises(ArchiveError, match="zip -0") as refused:
        read_archive(reader)
    assert refused.value.code == "archive_bomb"
    assert (reader.calls, reader.bytes_read) == (1, 2**20)
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20


@pytest.mark.case("Z9", "S4")
def test_a_bomb_in_many_members_is_refused_by_its_directory() -> None:
    reader = CountingReader(hostile.bomb(64 * GIB, members=1_024))
    with pytest.raises(ArchiveError) as refused:
        read_archive(reader)
    assert refused.value.code == "archive_bomb"
    assert (reader.calls, reader.bytes_read) == (1, 2**20)


@pytest.mark.case("Z10", "S4")
@pytest.mark.parametrize(("ratio", "code"), [(200, "archive_bomb"), (0, "archive_overlap")])
def test_a_bomb_of_members_on_one_stream_is_refused_by_its_directory(ratio: int, code: str) -> None:
    data = hostile.overlapping(1_024, hostile.bomb_member(64 * 2**20))
    assert len(data) < 256 * 2**10
    with pytest.raises(ArchiveError) as refused:
        read_archive(CountingReader(data), limits=Limits(max_ratio=ratio))
    assert refused.value.code == code


@pytest.mark.case("Z9", "Z14", "S4")
@pytest.mark.parametrize("decoding", [MemberDecoder, ResumableDecoder])
def test_a_bomb_that_declares_little_is_inflated_no_further(decoding: type[MemberDecoder], traced: None) -> None:
    data = hostile.bomb(2 * GIB, declared=2**20)
    tracemalloc.reset_peak()
    archive = read_archive(CountingReader(data))
    member = archive.members[0]
    decoder, given = decoding(member), 0
    with pytest.raises(ArchiveError) as refused:
        for piece in decoder.feed(memoryview(data)[member.data_offset :][: member.compressed_size]):
            given += len(piece)
    assert refused.value.code == "archive_size_mismatch"
    assert given <= 2**20
    assert tracemalloc.get_traced_memory()[1] < len(data) + 16 * 2**20


@pytest.mark.case("Z9", "Z24")
def test_zeros_are_taken_up_to_16_gib_and_from_there_on_if_they_are_sent() -> None:
    assert read_archive(CountingReader(hostile.bomb(16 * GIB))).total_size == 16 * GIB
    with pytest.raises(ArchiveError) as refused:
        read_archive(CountingReader(hostile.bomb(17 * GIB)))
    assert refused.value.code == "archive_bomb"
    assert read_archive(Planned(64 * GIB)).total_size == 64 * GIB


def test_folders_are_dropped_on_request() -> None:
    data = build(Item(name=b"x/a"), Item(name=b"x/y/b"), Item(name=b"x/", content=b""), Item(name=b"c"))
    archive = read_archive(CountingReader(data), preserve_structure=False)
    assert [member.path for member in archive.members] == ["a", "b", "c"]


@pytest.mark.parametrize("names", [(b"x/a", b"y/a"), (b"x/a", b"a"), (b"x/a", b"y/A")])
def test_files_that_meet_without_their_folders_are_refused(names: tuple[bytes, bytes]) -> None:
    data = build(*(Item(name=name) for name in names))
    assert len(read_archive(CountingReader(data)).members) == 2
    with pytest.raises(ArchiveError, match="Without their folders") as refused:
        read_archive(CountingReader(data), preserve_structure=False)
    assert refused.value.code == "archive_collision"


def test_folders_that_are_dropped_are_checked_all_the_same() -> None:
    with pytest.raises(ArchiveError) as refused:
        read_archive(CountingReader(build(Item(name=b"../a"))), preserve_structure=False)
    assert refused.value.code == "archive_traversal"


def test_every_code_is_met_by_some_case() -> None:
    met = {fault for _, fault in [*CASES.values(), *CONTENT_CASES.values()]} | {row[3] for row in LIMITS.values()}
    met |= {kind.fault for kind in KINDS}
    assert met == set(Fault)
    assert all(fault.meaning.endswith(".") for fault in Fault)


SEEDS = [
    build(
        Item(name=b"d/", content=b"", external=mode(stat.S_IFDIR)),
        Item(name=b"d/a.txt", content=b"some text, some text\n" * 9, method=8),
        streamed(Item(name="ü".encode(), flags=1 << 11, content=bytes(range(256)), method=8)),
        Item(name=b"raw", local={"size": U32, "csize": U32, "extra": zip64(5, 5)}),
        comment=b"hi",
    ),
    build(
        Item(central={"size": U32, "csize": U32, "offset": U32, "extra": zip64(5, 5, 0)}), HELLO, wide={}, offset=U32
    ),
]


@settings(max_examples=800, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_damaged_archive_is_refused_or_its_content_still_matches(seed: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(seed)
    for position, value in changes:
        damaged[position % len(seed)] = value
    try:
        files = unpack(bytes(damaged))  # checks size, CRC-32 and SHA-256 of every member itself
    except ArchiveError as refused:
        assert refused.code.removeprefix("archive_") in set(Fault)
        assert refused.detail.isprintable()
    else:
        assert files


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_data_in_place_of_a_deflate_stream_is_refused_or_right(data: bytes) -> None:
    archive = read_archive(CountingReader(build(Item(method=8, payload=b"ab" + data, content=b""))))
    decoder = MemberDecoder(archive.members[0])
    try:
        content = b"".join(decoder.feed(b"ab" + data))
        decoder.finish()
    except ArchiveError:
        return
    assert content == zlib.decompress(b"ab" + data, -15) == b""
