"""`hash_range` on every store: the digests of what lies there, over several lives, and never of two objects."""

from __future__ import annotations

import hashlib
import os
import zlib

import pytest
from registry.storage import objects
from registry.storage.client import ObjectChangedError, ObjectMissingError
from registry.storage.hashing import hash_range
from registry.storage.objects import StoredObject

MIB = 1024 * 1024
SIZE = 40 * MIB + 3


def put(key: str, data: bytes) -> StoredObject:
    return StoredObject(key, len(data), objects.put_object(key, data))


def never() -> bool:
    return False


@pytest.mark.usefixtures("store")
def test_a_range_is_hashed_over_several_lives(prefix: str) -> None:
    data = os.urandom(SIZE)
    source = put(f"{prefix}a", data)
    state, lives, digest = None, 0, None
    while digest is None:
        lives += 1
        turns = iter([False, False])
        saved: list[str] = []
        digest = hash_range(
            source, 5, SIZE - 9, state=state, until=lambda: next(turns, True), save=saved.append  # noqa: B023
        )  # fmt: skip
        state = saved[0] if saved else state
    assert lives == 2
    assert (digest.sha256, digest.crc32) == (hashlib.sha256(data[5:-4]).hexdigest(), zlib.crc32(data[5:-4]))


@pytest.mark.case("U8")
@pytest.mark.usefixtures("store")
def test_a_source_replaced_while_it_is_read_is_noticed(prefix: str) -> None:
    source = put(f"{prefix}a", os.urandom(SIZE))
    asked = 0

    def replace() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:  # the last range of three is still to be asked for
            put(source.key, os.urandom(SIZE))
        return False

    saved: list[str] = []
    with pytest.raises(ObjectChangedError):
        hash_range(source, 0, SIZE, until=replace, save=saved.append)
    assert saved == []


@pytest.mark.usefixtures("store")
def test_a_source_replaced_between_two_lives_is_noticed_and_the_new_one_hashed_from_its_start(prefix: str) -> None:
    source = put(f"{prefix}a", os.urandom(SIZE))
    turns = iter([False, False])
    saved: list[str] = []
    assert hash_range(source, 0, SIZE, until=lambda: next(turns, True), save=saved.append) is None
    data = os.urandom(SIZE)
    new = put(source.key, data)
    with pytest.raises(ObjectChangedError):
        hash_range(source, 0, SIZE, state=saved[0], until=never, save=saved.append)
    digest = hash_range(new, 0, SIZE, state=saved[0], until=never, save=saved.append)
    assert digest is not None
    assert digest.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.usefixtures("store")
def test_a_source_that_is_gone_is_missed(prefix: str) -> None:
    source = put(f"{prefix}a", b"abc")
    objects.delete_object(source.key)
    with pytest.raises(ObjectMissingError):
        hash_range(source, 0, 3, until=never, save=lambda state: None)
