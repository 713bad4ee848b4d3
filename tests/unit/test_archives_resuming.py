"""A member whose decoding is interrupted anywhere, any number of times, comes out as if it never had been."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib
from registry import hashing
from registry.archives import PIECE_BYTES, Member, MemberDecoder, ResumableDecoder, State, blocks, can_resume
from registry.errors import ArchiveError
from registry.hashing import StateError

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
TEXT_BYTES = 45_000  # three in flight fit a row of DynamoDB each, and even all into one


def deflate(
    content: bytes, level: int = 6, memory: int = 8, strategy: int = 0, flush: int = -1, window: int = 15
) -> bytes:
    """`flush`, after each quarter: full and sync flushes leave empty stored blocks, partial ones empty fixed blocks,
    and Z_BLOCK ends inside a byte."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window, memory, strategy)
    if flush < 0:
        return compressor.compress(content) + compressor.flush()
    quarter = len(content) // 4 + 1
    cut = [
        compressor.compress(content[at : at + quarter]) + compressor.flush(flush)
        for at in range(0, max(1, len(content)), quarter)
    ]
    return b"".join(cut) + compressor.flush()


def one_block(pairs: int) -> tuple[bytes, bytes]:
    """A stream of one fixed block, of any length: a literal, then `pairs` copies of 258 bytes. And its content."""
    bits = "110" + f"{0x30 + ord('a'):08b}" + "1100010100000" * pairs + "0000000"
    bits += "0" * (-len(bits) % 8)
    data = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    return data, b"a" * (1 + 258 * pairs)


def member(content: bytes, data: bytes, method: int = 8) -> Member:
    return Member(
        index=0, path="a", method=method, crc32=zlib.crc32(content), compressed_size=len(data), size=len(content),
        header_offset=0, data_offset=31,
    )  # fmt: skip


def weights(size: int, seed: int = 1) -> bytes:
    """Bytes that deflate a little, as a model's do."""
    return random.Random(seed).randbytes(size).translate(bytes(byte & 0xF3 for byte in range(256)))


@dataclass
class Worker:
    """What decodes a member, cuts its content into parts, and dies; `parts` and `row` are all that outlives it."""

    member: Member
    data: bytes
    part: int
    every: int
    parts: list[bytes] = field(default_factory=list)
    row: str | None = None
    row_parts: int = 0
    lives: int = 0
    resumed_at: list[int] = field(default_factory=list)

    def live(self, budget: int | None, step: int = 999) -> str | None:
        """Decodes `budget` bytes of data or all, a checkpoint after each part; the digest if it came to the end."""
        self.lives += 1
        decoder, at = ResumableDecoder(self.member, every=self.every), 0
        del self.parts[self.row_parts :]  # a successor knows of no others
        if self.row is not None:
            state = State.parse(self.row)
            stored = sum(map(len, self.parts))
            assert state.produced <= stored
            self.resumed_at.append(state.produced)
            decoder, at = ResumableDecoder.resume(self.member, state, stored=stored, every=self.every), state.consumed
        end = len(self.data) if budget is None else min(len(self.data), at + budget)
        buffer = bytearray()
        while at < end:
            chunk = memoryview(self.data)[at : min(at + step, end)]
            at += len(chunk)
            for piece in decoder.feed(chunk):
                assert 0 < len(piece) <= PIECE_BYTES
                buffer += piece
                while len(buffer) > self.part:
                    self.parts.append(bytes(buffer[: self.part]))
                    del buffer[: self.part]
                    self._save(decoder)
        if at < len(self.data):
            return None
        digest = decoder.finish()
        assert decoder.crc32 == self.member.crc32
        self.parts.append(bytes(buffer))
        return digest

    def _save(self, decoder: ResumableDecoder) -> None:
        state = decoder.checkpoint(len(self.parts) * self.part)
        if state is not None:
            assert state.produced <= len(self.parts) * self.part
            assert len(state.text) <= TEXT_BYTES
            self.row, self.row_parts = state.text, len(self.parts)


contents = st.one_of(
    st.binary(max_size=20_000),
    st.builds(lambda seed, size: weights(size, seed), st.integers(0, 99), st.integers(0, 200_000)),
    st.binary(min_size=1, max_size=9).map(lambda chunk: chunk * 30_000),
)
encoders: st.SearchStrategy[Callable[[bytes], bytes]] = st.one_of(
    st.builds(
        lambda **how: lambda content: deflate(content, **how),
        level=st.integers(0, 9),
        memory=st.integers(1, 9),
        strategy=st.sampled_from([0, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED]),
        flush=st.sampled_from([-1, zlib.Z_FULL_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_BLOCK]),
        window=st.integers(9, 15),
    ),
    st.integers(0, 3).map(lambda level: lambda content: isal_zlib.compress(content, level, -15)),
)


@settings(max_examples=150, deadline=None)
@given(
    content=contents,
    encode=st.one_of(st.none(), encoders),
    part=st.integers(1000, 60_000),
    every=st.integers(1, 40_000),
    budgets=st.lists(st.integers(1, 120_000), max_size=5),
    step=st.integers(100, 70_000),
)
def test_a_member_interrupted_anywhere_comes_out_whole(
    content: bytes,
    encode: Callable[[bytes], bytes] | None,
    part: int,
    every: int,
    budgets: list[int],
    step: int,
) -> None:
    data = content if encode is None else encode(content)
    worker = Worker(member(content, data, 0 if encode is None else 8), data, part, every)
    digest = None
    for budget in [*budgets, None]:
        digest = worker.live(budget, step)
        if digest is not None:
            break
    assert digest == hashlib.sha256(content).hexdigest()
    assert b"".join(worker.parts) == content
    assert all(len(each) == part for each in worker.parts[:-1])


@pytest.mark.parametrize(
    "encode",
    [
        lambda content: deflate(content, level=0),
        lambda content: deflate(content, level=9),
        lambda content: deflate(content, strategy=zlib.Z_FIXED),
        lambda content: deflate(content, flush=zlib.Z_FULL_FLUSH),
        lambda content: deflate(content, flush=zlib.Z_BLOCK),
        lambda content: isal_zlib.compress(content, 1, -15),
        None,
    ],
    ids=["stored blocks", "level 9", "fixed", "full flush", "inside a byte", "isal", "stored"],
)
def test_each_life_goes_on_close_to_where_the_one_before_stopped(encode: Callable[[bytes], bytes] | None) -> None:
    content = weights(6 * MIB)
    data = encode(content) if encode else content
    worker = Worker(member(content, data, 8 if encode else 0), data, part=300_000, every=200_000)
    while worker.live(len(data) // 3, step=65_536) is None:
        pass
    assert b"".join(worker.parts) == content
    assert worker.lives in (4, 5, 6)
    # Less than a part, what is between two states, a chunk and a piece were done twice at each turn.
    for before, after in pairwise([0, *worker.resumed_at]):
        assert after - before > len(content) // 3 - 300_000 - 200_000 - 2 * 65_536 - PIECE_BYTES


CHILD = """
import sys
from registry.archives import Member, ResumableDecoder, State
sizes = [int(each) for each in sys.argv[2:6]]
crc32, compressed_size, size, until = sizes
member = Member(0, "a", 8, crc32, compressed_size, size, 0, 31)
text = sys.argv[6]
state = State.parse(text) if text else None
done = int(sys.argv[7])
decoder = ResumableDecoder(member, every=100_000)
if state:
    decoder = ResumableDecoder.resume(member, state, stored=done, every=100_000)
with open(sys.argv[1], "rb") as file:
    file.seek(state.consumed if state else 0)
    for piece in decoder.feed(file.read(until)):
        done += len(piece)
if until == compressed_size:
    print(decoder.finish())
else:
    saved = decoder.checkpoint(done)
    print(saved.text)
    print(done)
"""


def test_five_processes_in_a_row_decode_one_member(tmp_path: Path) -> None:
    content = weights(4 * MIB)
    data = deflate(content)
    file = tmp_path / "data"
    file.write_bytes(data)
    state, stored, printed = "", "0", [""]
    for life in range(5):
        until = str(len(data) if life == 4 else len(data) // 5)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(file), str(zlib.crc32(content)), str(len(data)), str(len(content)), until,
             state, stored],
            env={**os.environ, "PYTHONPATH": str(ROOT / "layers/registry")},
            capture_output=True,
            check=True,
            text=True,
        )  # fmt: skip
        printed = done.stdout.splitlines()
        if life < 4:
            state, stored = printed
    assert printed == [hashlib.sha256(content).hexdigest()]


def test_a_state_begins_inside_a_byte_and_knows_32_kib() -> None:
    """Else the tests above would prove less than they say."""
    content = weights(3 * MIB)
    data = deflate(content)
    decoder = ResumableDecoder(member(content, data), every=1)
    states = []
    for at in range(0, len(data), 5000):
        for _ in decoder.feed(data[at : at + 5000]):
            if (state := decoder.checkpoint(len(content))) is not None and state not in states:
                states.append(state)
    loaded = [blocks_state(state) for state in states]
    assert {bits for bits, _ in loaded} >= {1, 2, 3, 4, 5, 6, 7}
    assert {window for _, window in loaded[3:]} == {32 * 1024}
    assert all(state.consumed < len(data) for state in states)
    assert TEXT_BYTES > max(len(state.text) for state in states) > 43_000


def blocks_state(state: State) -> tuple[int, int]:
    from base64 import b64decode

    raw = b64decode(state.deflate)
    return raw[0], len(raw) - 2


def test_a_checkpoint_is_the_latest_that_what_is_stored_reaches() -> None:
    content = weights(4 * MIB)
    decoder = ResumableDecoder(member(content, content, 0), every=MIB)
    assert decoder.checkpoint(0) is None
    for _ in decoder.feed(content[: 3 * MIB + 7]):
        pass
    assert decoder.checkpoint(MIB - 1) is None
    produced = []
    for stored in (MIB, 2 * MIB - 1, 2 * MIB, 3 * MIB + 7, 4 * MIB):
        state = decoder.checkpoint(stored)
        assert state is not None
        produced.append(state.produced)
    assert produced == [MIB, MIB, 2 * MIB, 3 * MIB, 3 * MIB]


def test_states_that_nobody_asks_for_do_not_pile_up() -> None:
    content = weights(4 * MIB)
    data = deflate(content)
    decoder = ResumableDecoder(member(content, data), every=50_000)
    tracemalloc.start()
    for at in range(0, len(data), 65_536):
        for _ in decoder.feed(data[at : at + 65_536]):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert decoder.checkpoint(len(content)) is not None
    assert peak < 4 * PIECE_BYTES  # 80 states would be 3.5 MB more


def test_a_thousandfold_stream_takes_little_memory() -> None:
    content = bytes(40_000_000)
    data = deflate(content, level=9)
    decoder = ResumableDecoder(member(content, data))
    tracemalloc.start()
    size = sum(len(piece) for piece in decoder.feed(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == len(content)
    assert decoder.finish() == hashlib.sha256(content).hexdigest()
    assert peak < 6 * PIECE_BYTES


def test_states_come_at_least_so_often_from_the_densest_blocks_of_zlib() -> None:
    """Zeros at the largest memory level: 32 Ki symbols of 258 bytes, the longest blocks that zlib makes."""
    content = bytes(64 * MIB)
    data = deflate(content, level=9, memory=9)
    decoder = ResumableDecoder(member(content, data), every=MIB)
    at = []
    for _ in decoder.feed(data):
        if (state := decoder.checkpoint(len(content))) is not None and [state.produced] != at[-1:]:
            at.append(state.produced)
    assert max(after - before for before, after in pairwise([0, *at])) <= 9 * MIB


def test_a_member_of_one_endless_block_has_no_checkpoint_and_comes_out_right() -> None:
    data, content = one_block(20_000)
    decoder = ResumableDecoder(member(content, data), every=1000)
    assert b"".join(decoder.feed(data)) == content
    assert decoder.finish() == hashlib.sha256(content).hexdigest()
    assert decoder.checkpoint(len(content)) is None


# -- what is refused --------------------------------------------------------------------------------------------------


def outcome(decoder: MemberDecoder, data: bytes, step: int = 700) -> str:
    try:
        for at in range(0, len(data), step):
            for _ in decoder.feed(data[at : at + step]):
                pass
        return decoder.finish()
    except ArchiveError:
        return "refused"


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 999),
    size=st.integers(0, 3000),
    at=st.floats(0, 1),
    bit=st.integers(0, 7),
    method=st.sampled_from([0, 8]),
)
def test_a_changed_bit_is_refused_where_the_fast_decoder_refuses_it(
    seed: int, size: int, at: float, bit: int, method: int
) -> None:
    content = weights(size, seed)
    data = bytearray(deflate(content) if method else content)
    whole = member(content, bytes(data), method)
    if data:
        data[int(at * (len(data) - 1))] ^= 1 << bit
    slow = outcome(ResumableDecoder(whole, every=100), bytes(data))
    assert slow == outcome(MemberDecoder(whole), bytes(data))
    assert slow in ("refused", hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("change", [slice(40, 41), slice(5000, 5001), slice(30_000, 30_001)])
def test_damage_after_a_resume_is_refused(change: slice) -> None:
    content = weights(300_000)
    data = deflate(content)
    whole = member(content, data)
    state, stored = _half(whole, data)
    rest = bytearray(data[state.consumed :])
    rest[change] = bytes([rest[change.start] ^ 0x10])
    assert outcome(ResumableDecoder.resume(whole, state, stored=stored), bytes(rest)) == "refused"


def _half(whole: Member, data: bytes) -> tuple[State, int]:
    decoder = ResumableDecoder(whole, every=50_000)
    stored = sum(len(piece) for at in range(0, len(data) // 2, 4096) for piece in decoder.feed(data[at : at + 4096]))
    state = decoder.checkpoint(stored)
    assert state is not None
    return state, stored


def test_data_that_is_missing_or_too_much_after_a_resume_is_refused() -> None:
    content = weights(300_000)
    data = deflate(content)
    whole = member(content, data)
    state, stored = _half(whole, data)
    for rest, code in ((data[state.consumed : -1], "truncated"), (data[state.consumed :] + b"\0", "bad_deflate")):
        decoder = ResumableDecoder.resume(whole, state, stored=stored)
        with pytest.raises(ArchiveError) as refused:
            for _ in decoder.feed(rest):
                pass
            decoder.finish()
        assert refused.value.code == f"archive_{code}"


def test_content_beyond_the_declared_size_is_refused_after_a_resume_too() -> None:
    content = weights(300_000)
    data = deflate(content)
    whole = replace(member(content, data), size=200_000)
    state, stored = _half(whole, data)
    decoder = ResumableDecoder.resume(whole, state, stored=stored)
    with pytest.raises(ArchiveError) as refused:
        for _ in decoder.feed(data[state.consumed :]):
            pass
    assert refused.value.code == "archive_size_mismatch"


@pytest.mark.parametrize("method", [0, 8])
def test_a_state_with_another_hash_or_window_never_ends_well(method: int) -> None:
    """The CRC-32 of the whole is checked at the end, whatever was resumed."""
    content = weights(300_000)
    data = deflate(content) if method else content
    whole = member(content, data, method)
    state, stored = _half(whole, data)
    other = weights(300_000, seed=2)
    other_data = deflate(other) if method else other
    changed, _ = _half(member(other, other_data, method), other_data)
    mixed = replace(state, hash=changed.hash, produced=changed.produced)
    decoder = ResumableDecoder.resume(whole, mixed, stored=max(stored, changed.produced))
    assert outcome(decoder, data[state.consumed :]) == "refused"


def test_states_that_cannot_be_used_are_refused() -> None:
    content = weights(300_000)
    data = deflate(content)
    whole = member(content, data)
    state, stored = _half(whole, data)
    wrong: list[Callable[[], object]] = [
        lambda: State.parse(""),
        lambda: State.parse("1 a b c d e"),
        lambda: State.parse("2" + state.text[1:]),
        lambda: ResumableDecoder.resume(replace(whole, crc32=1), state, stored=stored),
        lambda: ResumableDecoder.resume(whole, state, stored=state.produced - 1),
        lambda: ResumableDecoder.resume(whole, state, stored=len(content) + 1),
        lambda: ResumableDecoder.resume(whole, replace(state, produced=state.produced - 1), stored=stored),
        lambda: ResumableDecoder.resume(whole, replace(state, hash="?"), stored=stored),
        lambda: ResumableDecoder.resume(whole, replace(state, deflate=""), stored=stored),
        lambda: ResumableDecoder.resume(whole, replace(state, deflate="?"), stored=stored),
    ]
    for use in wrong:
        with pytest.raises(StateError):
            use()
    assert State.parse(state.text) == state


# -- where Python has no such libraries -------------------------------------------------------------------------------


@pytest.fixture(params=["libcrypto", "libz"])
def without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Python that is linked with no such library."""

    def missing(*names: str) -> None:
        raise OSError(names)

    caches = (hashing.can_resume, hashing._libcrypto, blocks.can_stop, blocks._libz)
    monkeypatch.setattr(hashing if request.param == "libcrypto" else blocks, "linked_library", missing)
    for cache in caches:
        cache.cache_clear()
    yield request.param
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("method", [0, 8])
def test_without_a_library_it_decodes_and_has_no_checkpoint(without: str, method: int) -> None:
    content = weights(300_000)
    data = deflate(content) if method else content
    whole = member(content, data, method)
    resumable = without == "libz" and method == 0
    assert can_resume(whole) == resumable
    decoder = ResumableDecoder(whole, every=1000)
    assert b"".join(decoder.feed(data)) == content
    assert decoder.finish() == hashlib.sha256(content).hexdigest()
    assert (decoder.checkpoint(len(content)) is not None) == resumable


def test_a_libz_that_stops_elsewhere_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks.BlockInflater, "state", lambda self: (b"", 0, 0))
    blocks.can_stop.cache_clear()
    try:
        assert not blocks.can_stop()
    finally:
        blocks.can_stop.cache_clear()
