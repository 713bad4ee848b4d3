"""A hash that is saved and resumed is the hash of the whole, wherever it was cut and whatever process goes on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import hashing
from registry.hashing import ResumableHash, StateError, can_resume

ROOT = Path(__file__).parents[2]


@pytest.fixture
def without_libcrypto(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Python that is linked with none."""

    def missing(*names: str) -> None:
        raise OSError(names)

    monkeypatch.setattr(hashing, "linked_library", missing)
    _forget()
    yield
    _forget()


def _forget() -> None:
    can_resume.cache_clear()
    hashing._libcrypto.cache_clear()


def saved(digest: ResumableHash) -> str:
    state = digest.state()
    assert state is not None
    return state


def test_python_here_is_linked_with_a_libcrypto_that_can_be_used() -> None:
    assert can_resume()


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=700), cuts=st.lists(st.integers(0, 700), max_size=8), view=st.booleans())
def test_data_cut_and_resumed_anywhere_has_the_digests_of_the_whole(data: bytes, cuts: list[int], view: bool) -> None:
    digest = ResumableHash()
    for start, end in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        digest = ResumableHash.resume(saved(digest))
        digest.update(memoryview(data)[start:end] if view else data[start:end])
    assert digest.sha256 == hashlib.sha256(data).hexdigest()
    assert (digest.crc32, digest.size) == (zlib.crc32(data), len(data))
    assert len(saved(digest)) <= 145


def test_asking_for_digest_or_state_changes_nothing() -> None:
    digest = ResumableHash()
    for chunk in (b"a", b"b" * 63, b"c" * 100):
        digest.update(chunk)
        assert (digest.sha256, digest.state()) == (digest.sha256, digest.state())
    assert digest.sha256 == hashlib.sha256(b"a" + b"b" * 63 + b"c" * 100).hexdigest()


def test_sizes_beyond_32_bits_of_bits_and_of_bytes_are_kept() -> None:
    """2^29 bytes are the first whose length in bits needs the second word; 2^32 the first that 32 bits can't count."""
    block = bytes(64 * 1024 * 1024)
    plain, digest = hashlib.sha256(), ResumableHash()
    for _ in range(2**29 // len(block)):
        plain.update(block)
        digest.update(block)
    digest = ResumableHash.resume(saved(digest))
    digest.update(b"?")
    plain.update(b"?")
    assert digest.sha256 == plain.hexdigest()
    # The same words at another size: what Python's own would say of 2^32 bytes takes too long to ask.
    raw = b64decode(saved(digest)[1:])
    large = ResumableHash.resume("1" + b64encode(raw[:36] + (2**42 + 1).to_bytes(8, "little") + raw[44:]).decode())
    assert large.size == 2**42 + 1
    assert saved(ResumableHash.resume(saved(large))) == saved(large)
    assert large.sha256 != digest.sha256


CHILD = """
import sys
from registry.hashing import ResumableHash
digest = ResumableHash.resume(sys.argv[1])
digest.update(sys.stdin.buffer.read())
print(digest.state(), digest.sha256, digest.crc32)
"""


def test_five_processes_in_a_row_make_one_hash() -> None:
    data = os.urandom(100_003)
    state, printed = saved(ResumableHash()), ["", ""]
    for start in range(0, len(data), 20_001):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, state],
            input=data[start : start + 20_001],
            env={**os.environ, "PYTHONPATH": str(ROOT / "layers/registry")},
            capture_output=True,
            check=True,
        )
        state, *printed = done.stdout.decode().split()
    assert printed == [hashlib.sha256(data).hexdigest(), str(zlib.crc32(data))]


def test_a_state_is_the_same_on_every_processor() -> None:
    """Made on x86-64; little-endian by definition, so what arm64 makes of it is this too."""
    text = "1CXv+8eOsvpDLTgsPvDbwgQbLThXaPxsNA5GPUhxeJ7nhKFRuRgAAAAAAAAA0NTY3ODk="
    digest = ResumableHash()
    digest.update(b"0123456789" * 7)
    assert (saved(digest), ResumableHash.resume(text).size) == (text, 70)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1?",
        "é",
        "2" + "A" * 64,
        "1" + "A" * 56,
        "1" + "A" * 60,
        "1" + b64encode(bytes(36) + b"\x01" + bytes(7)).decode(),
    ],
)
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(StateError):
        ResumableHash.resume(text)


@pytest.mark.usefixtures("without_libcrypto")
def test_without_libcrypto_it_hashes_and_has_no_state() -> None:
    assert not can_resume()
    digest = ResumableHash()
    digest.update(b"abc")
    digest.update(memoryview(b"def"))
    assert digest.sha256 == hashlib.sha256(b"abcdef").hexdigest()
    assert (digest.crc32, digest.size, digest.state()) == (zlib.crc32(b"abcdef"), 6, None)


@pytest.mark.usefixtures("without_libcrypto")
def test_without_libcrypto_a_state_is_refused() -> None:
    with pytest.raises(StateError):
        ResumableHash.resume("1" + "A" * 60)


def test_a_libcrypto_that_hashes_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing._OpensslDigest, "state", lambda self: ((0,) * 8, b""))
    can_resume.cache_clear()
    try:
        assert not can_resume()
    finally:
        can_resume.cache_clear()
