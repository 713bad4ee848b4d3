"""A remote file reads as a local one, with few requests and few bytes, and notices when it is not the same any more."""

from __future__ import annotations

import _thread
import hashlib
import io
import os
import random
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkeep.errors import ConflictError, IntegrityError, ModelkeepError, NotFoundError, UnreachableError, UsageError
from modelkeep.remote import CACHED, open_file
from modelkeep.results import Version
from modelkeep.store import ExpiredError

from tests.modelkeep.remote_fakes import FakeStore, file_of, ranges_of, remote_of

DATA = random.Random(1).randbytes(10_007)
Step = tuple[str, int, int]


@settings(deadline=None, max_examples=300)
@given(
    data=st.binary(max_size=700),
    block_size=st.integers(1, 64),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("read"), st.integers(-1, 800), st.just(0)),
            st.tuples(st.just("readinto"), st.integers(0, 800), st.just(0)),
            st.tuples(st.just("readline"), st.integers(-1, 800), st.just(0)),
            st.tuples(st.just("seek"), st.integers(0, 900), st.just(os.SEEK_SET)),
            st.tuples(st.just("seek"), st.integers(0, 300), st.just(os.SEEK_CUR)),
            st.tuples(st.just("seek"), st.integers(0, 300), st.just(os.SEEK_END)),
        ),
        max_size=40,
    ),
)
def test_it_reads_as_bytes_in_memory_do(data: bytes, block_size: int, steps: list[Step]) -> None:
    ours, theirs = remote_of(FakeStore(data), block_size=block_size), io.BytesIO(data)

    def take(file: Any, step: Step) -> Any:
        name, number, whence = step
        if name == "seek":
            return file.seek(number, whence)
        if name == "readinto":
            buffer = bytearray(number)
            return file.readinto(buffer), buffer
        return getattr(file, name)(number)

    for step in steps:
        assert take(ours, step) == take(theirs, step)
        assert ours.tell() == theirs.tell()
        assert len(ours._blocks) <= CACHED


def test_a_line_that_spans_blocks_ends_at_the_size_that_was_asked_for() -> None:
    file = remote_of(FakeStore(bytes(4)), block_size=2)  # as io's own readline does not
    assert (file.readline(3), file.tell()) == (bytes(3), 3)


def test_opening_asks_nothing_of_the_store_and_reading_asks_the_registry_once() -> None:
    store = FakeStore(DATA)
    ranges, client = ranges_of(store)
    from modelkeep.remote import RemoteFile

    file = RemoteFile(ranges, block_size=100)
    assert (store.asked, client.calls) == ([], [])
    for start in (0, 5000, 9000):
        file.seek(start)
        assert file.read(10) == DATA[start : start + 10]
    assert client.calls == [
        ("GET", "/ai-models/alice/bert/download", {"version": "v1", "filename": "model.bin", "redirect": True})
    ]


def test_scattered_reads_fetch_only_their_blocks_and_nothing_twice() -> None:
    store = FakeStore(DATA)
    file = remote_of(store, block_size=100)
    for start in (9_950, 10, 5_020, 20, 5_090):
        file.seek(start)
        assert file.read(20) == DATA[start : start + 20]
    # 20 was there; so was the first of the two blocks that 5090 to 5110 lies in.
    assert [start for start, _ in store.asked] == [9900, 0, 5000, 5100]
    assert [length for _, length in store.asked[:3]] == [100, 100, 100]
    assert store.sent <= 500


@pytest.mark.parametrize("step", [1, 7, 10, 15, 25, 99])
def test_reading_on_fetches_more_and_more_at_a_time_and_each_byte_once(step: int) -> None:
    store = FakeStore(DATA)
    file = remote_of(store, block_size=10)
    assert b"".join(iter(lambda: file.read(step), b"")) == DATA
    asked = [length for _, length in store.asked]
    assert sum(asked) == len(DATA)
    assert asked[:7] == sorted(asked[:7])
    assert 640 <= max(asked) <= 640 + 100
    assert len(asked) <= 7 + -(-len(DATA) // 640)  # seven until it takes 64 blocks at a time


def test_a_large_read_is_one_request_and_leaves_no_blocks() -> None:
    store = FakeStore(DATA)
    file = remote_of(store, block_size=100)
    assert file.read() == DATA
    assert store.asked == [(0, len(DATA))]
    assert len(file._blocks) == 0


def test_blocks_are_bounded_and_the_longest_unused_go_first() -> None:
    store = FakeStore(random.Random(2).randbytes(20_000))
    file = remote_of(store, block_size=10)

    def look(number: int) -> None:
        file.seek(number * 10)
        file.read(1)

    for number in range(0, 2 * CACHED, 2):  # every second, so that nothing goes straight on
        look(number)
    look(0)
    look(1000)
    before = len(store.asked)
    look(0)
    assert len(store.asked) == before
    look(2)
    assert len(store.asked) == before + 1
    assert len(file._blocks) == CACHED


def test_ranges_come_side_by_side_in_the_order_asked_for() -> None:
    store = FakeStore(random.Random(3).randbytes(400_000))
    file = remote_of(store)
    wanted = [(300_000, 50), (10, 20), (30, 40), (399_990, 100), (0, 0), (5, 10)]
    assert file.read_ranges(wanted) == [store.data[start : start + length] for start, length in wanted]
    # (10, 20) and (30, 40) are neighbours.
    assert sorted(start for start, _ in store.asked) == [5, 10, 300_000, 399_990]
    assert file.tell() == 0
    with pytest.raises(ValueError, match="no range"):
        file.read_ranges([(-1, 5)])


@settings(deadline=None, max_examples=50)
@given(
    size=st.integers(0, 3000),
    wanted=st.lists(st.tuples(st.integers(0, 3100), st.integers(0, 1500)), max_size=20),
    piece=st.integers(50, 700),
    gap=st.integers(0, 100),
)
def test_ranges_of_any_kind_are_what_lies_there(size: int, wanted: list[tuple[int, int]], piece: int, gap: int) -> None:
    data = random.Random(size).randbytes(size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modelkeep.remote.ranges.PIECE", piece)
        patch.setattr("modelkeep.remote.ranges.GAP", gap)
        store = FakeStore(data)
        assert remote_of(store).read_ranges(wanted) == [data[start : start + length] for start, length in wanted]
        assert all(length <= piece for _, length in store.asked)


def test_ranges_side_by_side_end_when_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that hang are not waited for."""
    released = threading.Event()

    def fault(url: str, start: int, length: int) -> ModelkeepError | None:
        if start == 0:
            return IntegrityError("damaged")
        assert released.wait(120)
        return None

    monkeypatch.setattr("modelkeep.remote.ranges.PIECE", 10)
    store = FakeStore(DATA, fault=fault, chunk=10)
    before = threading.active_count()
    try:
        with pytest.raises(IntegrityError):
            remote_of(store).read_ranges([(0, len(DATA))])
        assert not released.is_set()
    finally:
        released.set()
    for _ in range(1200):
        if threading.active_count() <= before:
            break
        time.sleep(0.05)
    # The others in flight end with the chunk that comes next, those behind them never begin.
    assert len(store.asked) <= 9
    assert store.sent <= 80


def test_ctrl_c_ends_a_read_from_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def fault(url: str, start: int, length: int) -> None:
        if start == 0:
            _thread.interrupt_main()
        released.wait(120)

    monkeypatch.setattr("modelkeep.remote.ranges.PIECE", 1000)
    try:
        with pytest.raises(KeyboardInterrupt):
            remote_of(FakeStore(DATA, fault=fault)).read_ranges([(0, len(DATA))])
        assert not released.is_set()
    finally:
        released.set()


def test_pieces_of_one_large_range_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelkeep.remote.ranges.PIECE", 1000)
    store = FakeStore(DATA)
    assert remote_of(store).read_ranges([(3, 9_000)]) == [DATA[3:9_003]]
    assert sorted(store.asked) == [(start, 1000) for start in range(3, 9_003, 1000)]


def test_threads_share_a_file() -> None:
    store = FakeStore(DATA)
    file = remote_of(store, block_size=50)
    lock = threading.Lock()

    def look(seed: int) -> bool:
        generator = random.Random(seed)
        good = True
        for _ in range(40):
            start, length = generator.randrange(len(DATA)), generator.randrange(1, 2000)
            with lock:  # a position is shared; that a seek and a read belong together, only callers know
                file.seek(start)
                good &= file.read(length) == DATA[start : start + length]
            good &= file.read_ranges([(start, length)]) == [DATA[start : start + length]]
        return good

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(16)))


def test_threads_that_read_on_get_each_byte_once() -> None:
    data = bytes(range(256)) * 64
    file = remote_of(FakeStore(data), block_size=16)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: file.read(16), range(len(data) // 16)))
    assert sorted(parts) == sorted(data[start : start + 16] for start in range(0, len(data), 16))


def test_a_url_that_dies_is_renewed_and_bytes_that_came_are_not_fetched_again() -> None:
    def fault(url: str, start: int, length: int) -> ModelkeepError | int | None:
        if url.endswith("/1"):
            return ExpiredError("expired") if start else 3000
        return None

    store = FakeStore(DATA, fault=fault)
    ranges, client = ranges_of(store)
    assert ranges.read(0, 9000) == DATA[:9000]
    assert store.asked == [(0, 9000), (3000, 6000), (3000, 6000)]
    assert len(client.calls) == 2
    assert store.sent == 9000


def test_a_store_that_takes_no_url_is_given_up() -> None:
    store = FakeStore(DATA, fault=lambda *_: ExpiredError("no"))
    ranges, client = ranges_of(store)
    with pytest.raises(ExpiredError):
        ranges.read(0, 10)
    assert len(client.calls) == 3


def test_a_connection_that_keeps_breaking_is_taken_up_as_long_as_bytes_come() -> None:
    store = FakeStore(DATA, fault=lambda _url, _start, length: min(5000, length - 1) if length > 1 else None)
    ranges, _ = ranges_of(store, patience=0)
    assert ranges.read(0, len(DATA)) == DATA
    assert store.sent == len(DATA)


def test_a_store_that_is_away_is_an_error_in_the_end() -> None:
    store = FakeStore(DATA, fault=lambda *_: UnreachableError("away"))
    ranges, _ = ranges_of(store, patience=0)
    with pytest.raises(UnreachableError):
        ranges.read(0, 10)


def replace_object(store: FakeStore) -> None:
    store.etag = '"two"'


def lengthen_object(store: FakeStore) -> None:
    store.data += b"more"


@pytest.mark.parametrize("change", [replace_object, lengthen_object])
def test_another_object_in_its_place_is_noticed(change: Callable[[FakeStore], None]) -> None:
    store = FakeStore(DATA)
    file = remote_of(store, block_size=100)
    assert file.read(10) == DATA[:10]
    change(store)
    sent = store.sent
    file.seek(5000)
    with pytest.raises(ConflictError) as caught:
        file.read(10)
    assert (caught.value.code, store.sent) == ("replaced", sent)
    assert file.tell() == 5000
    file.seek(0)
    assert file.read(10) == DATA[:10]  # what was read before is as it was


@pytest.mark.parametrize("step", [1, 64, 5_000, 20_000])
def test_bytes_read_in_order_to_the_end_are_held_against_the_digest(step: int) -> None:
    def read_all(file: io.RawIOBase) -> int:
        return sum(map(len, iter(lambda: file.read(step) or b"", b"")))

    assert read_all(remote_of(FakeStore(DATA), block_size=100)) == len(DATA)
    file = remote_of(FakeStore(DATA), block_size=100, sha256=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(IntegrityError):
        read_all(file)
    with pytest.raises(IntegrityError):  # and it stays refused
        file.read(1)
        file.seek(0)
        file.read(1)


def test_looking_ahead_first_does_not_spoil_the_check_of_the_digest() -> None:
    file = remote_of(FakeStore(DATA), block_size=100, sha256=hashlib.sha256(b"other").hexdigest())
    file.seek(-10, os.SEEK_END)
    assert file.read() == DATA[-10:]  # not in order: nothing can be said
    file.seek(0)
    with pytest.raises(IntegrityError):
        file.read()


def test_it_is_a_file() -> None:
    store = FakeStore(DATA)
    with remote_of(store) as file:
        assert (file.name, file.size, file.mode) == ("alice/bert:v1/model.bin", len(DATA), "rb")
        assert file.sha256 == hashlib.sha256(DATA).hexdigest()
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        for offset, whence in ((-1, os.SEEK_SET), (-1, os.SEEK_CUR), (-len(DATA) - 1, os.SEEK_END), (0, 9)):
            with pytest.raises(ValueError, match=r"place|whence"):
                file.seek(offset, whence)
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")
    assert file.closed
    for call in (file.tell, file.read, file.peek, lambda: file.seek(0), lambda: file.read_ranges([(0, 1)])):
        with pytest.raises(ValueError, match="closed"):
            call()
    with pytest.raises(UsageError):
        remote_of(store, block_size=0)
    assert store.asked == []


def test_an_empty_file_asks_for_nothing() -> None:
    store = FakeStore(b"")
    file = remote_of(store)
    assert (file.read(), file.read(5), file.peek(), file.readline()) == (b"", b"", b"", b"")
    assert store.asked == []


def test_lines_and_text_are_read_without_a_request_each() -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    store = FakeStore(text.encode())
    assert list(io.TextIOWrapper(remote_of(store, block_size=1000))) == text.splitlines(keepends=True)
    store = FakeStore(text.encode())
    assert len(list(remote_of(store, block_size=1000))) == 1000
    assert len(store.asked) < 10


def test_a_zip_is_read_by_its_end_and_the_member_that_is_asked_for() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(50):
            archive.writestr(f"{number}.bin", random.Random(number).randbytes(100_000))
    store = FakeStore(buffer.getvalue(), chunk=100_000)
    with zipfile.ZipFile(remote_of(store)) as archive:
        assert archive.read("25.bin") == random.Random(25).randbytes(100_000)
    assert store.sent < len(store.data) * 0.1
    assert len(store.asked) <= 4


class FakeCatalog:
    """`get` and `files` of a version of many files; `newest` may move."""

    def __init__(self, paths: list[str], *, shown: int) -> None:
        self.paths = paths
        self.shown = shown
        self.newest = "v1"

    def get(self, ref: Any) -> Version:
        said: dict[str, Any] = dict.fromkeys(Version.__dataclass_fields__)
        said |= {"user_id": "alice", "model_id": "bert", "version": ref.version or self.newest}
        said |= {"files": [], "file_count": len(self.paths)}
        version = Version.from_json(said)
        version.files.extend(file_of(b"x", path=path) for path in self.paths[: self.shown])
        return version

    def files(self, ref: Any) -> Any:
        assert ref.path is None
        return (file_of(b"x", path=path) for path in self.paths)


def test_the_newest_is_settled_when_a_file_is_opened() -> None:
    from modelkeep.names import parse_ref

    catalog = FakeCatalog(["config.json"], shown=1)
    file = open_file(catalog, parse_ref("alice/bert/config.json", file=True))  # type: ignore[arg-type]
    catalog.newest = "v2"
    assert file.name == "alice/bert:v1/config.json"


def test_a_file_beyond_the_first_thousand_is_found_and_a_wrong_name_is_answered_with_those_like_it() -> None:
    from modelkeep.names import parse_ref

    catalog: Any = FakeCatalog([f"data/{number:04}.json" for number in range(3000)], shown=1000)
    assert open_file(catalog, parse_ref("alice/bert/data/2999.json", file=True)).name.endswith("v1/data/2999.json")
    with pytest.raises(NotFoundError) as caught:
        open_file(catalog, parse_ref("alice/bert/data/2999.jsn", file=True))
    assert (caught.value.code, "data/2999.json" in str(caught.value.hint)) == ("file_not_found", True)
