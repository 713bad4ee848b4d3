"""A member's content: right, bounded in memory, and stopped as soon as it is wrong."""

import hashlib
import tracemalloc
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry.archives import PIECE_BYTES, Member, MemberDecoder, ResumableDecoder
from registry.errors import ArchiveError

from tests.unit.zip_builder import deflate

BOTH = [MemberDecoder, ResumableDecoder]

ZEROS = bytes(40_000_000)
ZEROS_DEFLATED = deflate(ZEROS)


def member(content: bytes, data: bytes, method: int = 8) -> Member:
    return Member(
        index=0, path="a", method=method, crc32=zlib.crc32(content), compressed_size=len(data), size=len(content),
        header_offset=0, data_offset=31,
    )  # fmt: skip


def refused_code(decoder: MemberDecoder, *chunks: bytes) -> str:
    with pytest.raises(ArchiveError) as refused:
        for chunk in chunks:
            for _ in decoder.feed(chunk):
                pass
        decoder.finish()
    return refused.value.code


@settings(max_examples=150, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=3000), st.binary(min_size=1, max_size=9).map(lambda b: b * 150_000)),
    step=st.integers(1, 5000),
    method=st.sampled_from([0, 8]),
    level=st.integers(0, 9),
    decoding=st.sampled_from(BOTH),
)
def test_any_content_in_any_chunks_comes_out_unchanged(
    content: bytes, step: int, method: int, level: int, decoding: type[MemberDecoder]
) -> None:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    data = content if method == 0 else compressor.compress(content) + compressor.flush()
    step = max(step, len(data) // 50)
    decoder = decoding(member(content, data, method))
    pieces = [piece for at in range(0, len(data), step) for piece in decoder.feed(memoryview(data)[at : at + step])]
    assert decoder.finish() == hashlib.sha256(content).hexdigest()
    assert b"".join(pieces) == content
    assert decoder.crc32 == zlib.crc32(content)
    assert all(type(piece) is bytes and 0 < len(piece) <= PIECE_BYTES for piece in pieces)


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES])
@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("decoding", BOTH)
def test_sizes_around_a_piece_come_out_whole(size: int, method: int, decoding: type[MemberDecoder]) -> None:
    content = bytes(size)
    data = deflate(content) if method else content
    decoder = decoding(member(content, data, method))
    assert b"".join(decoder.feed(data)) == content
    assert decoder.finish() == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("decoding", BOTH)
def test_a_thousandfold_stream_takes_little_memory(decoding: type[MemberDecoder]) -> None:
    decoder = decoding(member(ZEROS, ZEROS_DEFLATED))
    tracemalloc.start()
    size = sum(len(piece) for piece in decoder.feed(ZEROS_DEFLATED))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == len(ZEROS)
    assert decoder.finish() == hashlib.sha256(ZEROS).hexdigest()
    assert peak < 6 * PIECE_BYTES


@pytest.mark.parametrize("decoding", BOTH)
def test_decoding_stops_where_the_content_passes_its_declared_size(decoding: type[MemberDecoder]) -> None:
    decoder = decoding(replace(member(ZEROS, ZEROS_DEFLATED), size=PIECE_BYTES + 1))
    seen = 0
    with pytest.raises(ArchiveError) as refused:
        for piece in decoder.feed(ZEROS_DEFLATED):
            seen += len(piece)
    assert refused.value.code == "archive_size_mismatch"
    assert seen == PIECE_BYTES


@pytest.mark.parametrize("decoding", BOTH)
def test_a_stored_member_may_not_pass_its_size_either(decoding: type[MemberDecoder]) -> None:
    assert refused_code(decoding(member(b"abc", b"abc", 0)), b"ab", b"cd") == "archive_size_mismatch"


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("decoding", BOTH)
def test_data_that_was_not_fed_is_missed(method: int, decoding: type[MemberDecoder]) -> None:
    data = deflate(b"hello") if method else b"hello"
    assert refused_code(decoding(member(b"hello", data, method)), data[:-1]) == "archive_truncated"
    assert refused_code(decoding(member(b"hello", data, method))) == "archive_truncated"


@pytest.mark.parametrize("decoding", BOTH)
def test_data_after_the_stream_is_refused_in_the_same_and_in_the_next_chunk(decoding: type[MemberDecoder]) -> None:
    data = deflate(b"hello")
    assert refused_code(decoding(member(b"hello", data)), data + b"\0") == "archive_bad_deflate"
    assert refused_code(decoding(member(b"hello", data)), data, b"\0") == "archive_bad_deflate"


@pytest.mark.parametrize("decoding", BOTH)
def test_a_wrong_crc_is_refused_at_the_end(decoding: type[MemberDecoder]) -> None:
    wrong = replace(member(b"hello", b"hello", 0), crc32=1)
    assert refused_code(decoding(wrong), b"hello") == "archive_bad_crc"
