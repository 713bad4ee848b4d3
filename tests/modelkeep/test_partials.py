"""Files that are under way, whatever order their ranges come in and wherever it ends."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkeep.pulling.partials import BLOCK, RANGE, Partial

from tests.modelkeep.fake_registry import sha256


@pytest.mark.parametrize("size", [1, BLOCK, BLOCK + 1, RANGE, RANGE + 1, 2 * RANGE + 3])
def test_missing_ranges_cover_a_fresh_file(tmp_path: Path, size: int) -> None:
    whole = Partial(tmp_path / "file", size)
    assert whole.open() == 0
    reached = 0
    for start, length in whole.missing():
        assert start == reached
        assert 0 < length <= RANGE
        reached += length
    assert reached == size


@given(size=st.integers(1, 5 * BLOCK), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_every_attempt_goes_on_where_the_last_one_ended(
    tmp_path_factory: pytest.TempPathFactory, size: int, seed: int
) -> None:
    data = random.Random(seed).randbytes(size)
    path = tmp_path_factory.mktemp("partials") / "file"
    chance = random.Random(seed)
    written = 0
    for _ in range(30):
        whole = Partial(path, size)
        there = whole.open()
        ranges = list(whole.missing())
        assert there + sum(length for _, length in ranges) == size
        assert size - there >= 0
        if not ranges:
            break
        chance.shuffle(ranges)
        for start, length in ranges:
            kept = length if chance.random() < 0.5 else chance.randint(0, length)  # the rest dies with us
            with whole.writer(start) as writer:
                at = start
                while at < start + kept:
                    chunk = data[at : min(start + kept, at + chance.randint(1, BLOCK))]
                    writer.write(chunk)
                    at += len(chunk)
            written += kept
            whole.hash_on()
    whole = Partial(path, size)
    assert whole.open() == size
    assert whole.digest() == sha256(data)
    assert path.read_bytes() == data


def test_a_map_never_speaks_of_other_bytes(tmp_path: Path) -> None:
    def begun(size: int) -> Partial:
        whole = Partial(tmp_path / "file", size)
        whole.open()
        with whole.writer(0) as writer:
            writer.write(b"x" * min(size, BLOCK))
        return whole

    begun(3 * BLOCK)
    assert Partial(tmp_path / "file", 3 * BLOCK).open() == BLOCK
    assert Partial(tmp_path / "file", 3 * BLOCK - 1).open() == 0  # another size is another file
    begun(2 * BLOCK)
    (tmp_path / "file").unlink()
    assert Partial(tmp_path / "file", 2 * BLOCK).open() == 0
    begun(2 * BLOCK)
    (tmp_path / "file.map").write_bytes(b"\x01")  # torn
    assert Partial(tmp_path / "file", 2 * BLOCK).open() == 0
    begun(2 * BLOCK).discard()
    assert list(tmp_path.iterdir()) == []
