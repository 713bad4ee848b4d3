"""What `hash_range` reads, keeps in memory and saves, counted; on real stores: tests/contract/test_hashing.py."""

from __future__ import annotations

import hashlib
import random
import threading
import zlib
from collections.abc import Iterator

import pytest
from registry import hashing as hashes
from registry.hashing import ResumableHash
from registry.storage import hashing, objects
from registry.storage.hashing import hash_range
from registry.storage.objects import StoredObject

MIB = 1024 * 1024
CONTENT = random.Random(1).randbytes(64 * 1024) * 16 * 100 + b"?"  # 100 MiB and a byte
SOURCE = StoredObject("a", len(CONTENT), "etag")


class Store:
    """Gives ranges in chunks of 1 MiB, as the store does, and counts."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []
        self.running = self.most_running = 0
        self._lock = threading.Lock()

    def stream_range(self, key: str, offset: int, length: int, *, etag: str) -> Iterator[bytes]:
        assert (key, etag) == (SOURCE.key, SOURCE.etag)
        assert length > 0
        with self._lock:
            self.ranges.append((offset, length))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        for start in range(offset, offset + length, MIB):
            yield CONTENT[start : min(start + MIB, offset + length)]
        with self._lock:
            self.running -= 1

    @property
    def read(self) -> int:
        return sum(length for _, length in self.ranges)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(objects, "stream_range", store.stream_range)
    return store


def never() -> bool:
    return False


def after(times: int) -> Iterator[bool]:
    yield from [False] * times
    while True:
        yield True


@pytest.mark.parametrize(("offset", "length"), [(0, len(CONTENT)), (7, 16 * MIB), (1, 1), (5, 0), (MIB, 32 * MIB + 1)])
def test_the_digests_are_those_of_the_range(store: Store, offset: int, length: int) -> None:
    saved: list[str] = []
    digest = hash_range(SOURCE, offset, length, until=never, save=saved.append)
    expected = CONTENT[offset : offset + length]
    assert digest is not None
    assert (digest.sha256, digest.crc32, digest.size) == (
        hashlib.sha256(expected).hexdigest(), zlib.crc32(expected), length,
    )  # fmt: skip
    assert (store.read, saved) == (length, [])


def test_it_has_two_ranges_of_16_mib_in_memory_at_most(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[int] = []

    class Counting(ResumableHash):
        def update(self, chunk: bytes | memoryview) -> None:
            super().update(chunk)
            waiting.append(store.read - self.size + len(chunk))

    monkeypatch.setattr(hashing, "ResumableHash", Counting)
    assert hash_range(SOURCE, 0, len(CONTENT), until=never, save=lambda state: None) is not None
    assert max(waiting) <= 32 * MIB
    assert store.most_running <= 2
    assert sorted(store.ranges) == [(at, min(16 * MIB, len(CONTENT) - at)) for at in range(0, len(CONTENT), 16 * MIB)]


def test_each_life_goes_on_where_the_one_before_stopped(store: Store) -> None:
    state, lives, sizes = None, 0, []
    while True:
        lives += 1
        saved: list[str] = []
        stop = after(3)
        digest = hash_range(SOURCE, 3, len(CONTENT) - 3, state=state, until=lambda: next(stop), save=saved.append)  # noqa: B023
        if digest is not None:
            break
        (state,) = saved
        assert len(state) < 250
        sizes.append(len(saved))
    assert digest.sha256 == hashlib.sha256(CONTENT[3:]).hexdigest()
    assert lives == 3  # 3 ranges of 7 in each
    # What was read ahead is lost at each stop, and nothing else.
    assert store.read <= len(CONTENT) + 2 * 16 * MIB


def test_a_stop_before_anything_was_read_saves_nothing(store: Store) -> None:
    saved: list[str] = []
    assert hash_range(SOURCE, 0, 100, until=lambda: True, save=saved.append) is None
    assert (saved, store.ranges) == ([], [])


@pytest.mark.parametrize(("seconds", "size", "saves"), [(0, 2**60, 7), (10**9, 32 * MIB, 3), (10**9, 2**60, 0)])
def test_it_saves_by_time_and_by_bytes(
    store: Store, monkeypatch: pytest.MonkeyPatch, seconds: int, size: int, saves: int
) -> None:
    del store
    monkeypatch.setattr(hashing, "_SAVE_SECONDS", seconds)
    monkeypatch.setattr(hashing, "_SAVE_BYTES", size)
    saved: list[str] = []
    assert hash_range(SOURCE, 0, len(CONTENT), until=never, save=saved.append) is not None
    assert len(saved) == len(set(saved)) == saves
    for state in saved:
        digest = hash_range(SOURCE, 0, len(CONTENT), state=state, until=never, save=lambda state: None)
        assert digest is not None
        assert digest.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_state_of_another_object_or_range_or_version_counts_as_none(store: Store) -> None:
    stop = after(3)
    saved: list[str] = []
    hash_range(SOURCE, 0, len(CONTENT), until=lambda: next(stop), save=saved.append)
    (state,) = saved
    for text, source, offset in (
        (state.replace("etag", "other"), SOURCE, 0),
        (state, SOURCE, 1),
        (state[:-1], SOURCE, 0),
        ("", SOURCE, 0),
    ):
        digest = hash_range(source, offset, len(CONTENT) - offset, state=text, until=never, save=saved.append)
        assert digest is not None
        assert digest.sha256 == hashlib.sha256(CONTENT[offset:]).hexdigest()


@pytest.mark.parametrize("who", ["until", "save", "store"])
def test_what_the_caller_or_the_store_raises_comes_through_and_no_thread_is_left(
    store: Store, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    def fail(*arguments: object, **named: object) -> bool:
        raise LookupError(who)

    if who == "store":
        monkeypatch.setattr(objects, "stream_range", fail)
    monkeypatch.setattr(hashing, "_SAVE_SECONDS", 0)
    before = threading.active_count()
    with pytest.raises(LookupError, match=who):
        hash_range(
            SOURCE, 0, len(CONTENT), until=fail if who == "until" else never, save=fail if who == "save" else str
        )
    assert threading.active_count() == before
    assert store.running == 0


def test_without_libcrypto_it_hashes_in_one_life_and_saves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    del store
    monkeypatch.setattr(hashes, "can_resume", lambda: False)
    monkeypatch.setattr(hashing, "_SAVE_SECONDS", 0)
    saved: list[str] = []
    digest = hash_range(SOURCE, 0, 20 * MIB, until=never, save=saved.append)
    assert digest is not None
    assert digest.sha256 == hashlib.sha256(CONTENT[: 20 * MIB]).hexdigest()
    stop = after(1)
    assert hash_range(SOURCE, 0, 20 * MIB, until=lambda: next(stop), save=saved.append) is None
    assert saved == []
