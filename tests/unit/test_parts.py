"""Copies in parts, in a pool that all share: whoever stops waits for nobody else's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

import pytest
from registry.storage import multiparts, parts
from registry.storage.objects import StoredObject

SIZE = 40 * parts.PART_BYTES


def test_an_error_does_not_wait_for_what_others_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []

    def copy_part(source: StoredObject, key: str, multipart: str, number: int, **_: Any) -> None:
        copied.append(number)

    monkeypatch.setattr(multiparts, "copy_part", copy_part)
    done = Event()
    others = [parts._copiers().submit(done.wait, 300) for _ in range(parts.COPIES_AT_ONCE)]

    def fail() -> None:
        with (
            pytest.raises(ZeroDivisionError),
            parts.copies(StoredObject("source", SIZE, "etag"), "key", "multipart", 0, SIZE),
        ):
            raise ZeroDivisionError

    failing = Thread(target=fail)
    failing.start()
    failing.join(60)
    try:
        assert not failing.is_alive(), "it waits for its turn, to do nothing"
    finally:
        done.set()
        failing.join()
    assert all(other.result() for other in others)
    assert copied == []


def test_before_each_copy_it_is_told_how_long_the_longest_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told, pool = [0.0], [], ThreadPoolExecutor(1)

    def copy_part(source: StoredObject, key: str, multipart: str, number: int, **_: Any) -> int:
        now[0] += [0, 3, 5, 2][number]
        return number

    monkeypatch.setattr(multiparts, "copy_part", copy_part)
    monkeypatch.setattr(parts.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(parts, "_copiers", lambda: pool)
    source = StoredObject("source", 3 * parts.PART_BYTES, "etag")
    with parts.copies(source, "key", "multipart", 0, source.size, check=told.append) as started:
        assert parts.collect(started) == [1, 2, 3]
    assert told == [0, 3, 5]
