"""A hash that outlives a function: SHA-256 and CRC-32 whose state is a short text, for another process to go on from.

hashlib's objects can't be saved, but OpenSSL's context of 112 bytes can. It is reached through the libcrypto that
Python itself is linked with, held against hashlib before its first use, and not used where it is missing or differs.
Pure: no AWS, no threads.
"""

from __future__ import annotations

import binascii
import hashlib
import struct
from base64 import b64decode, b64encode
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from isal import isal_zlib

if TYPE_CHECKING:
    import ctypes

_VERSION = "1"
_BLOCK = 64  # SHA-256 hashes so many bytes at once; what is left over waits in the context
# SHA256_CTX of OpenSSL since 0.9.8, LibreSSL, BoringSSL and AWS-LC: h[8], the length in bits in two words, the block
# that is not full yet, how full it is, the digest's length.
_CONTEXT = struct.Struct("=8I2I64s2I")
# What travels: h, CRC-32, size; then the size % 64 bytes that wait. Of fixed byte order, so from x86 to arm64 and back.
_STATE = struct.Struct("<8IIQ")
_COPY_BYTES = 256 * 1024


class StateError(ValueError):
    """A text is no state that this process can go on from: begin anew."""


class ResumableHash:
    """SHA-256 and CRC-32 of the bytes that pass. No lock is held while large ones are hashed."""

    def __init__(self) -> None:
        self._digest = _OpensslDigest() if can_resume() else hashlib.sha256()
        self._crc32 = 0
        self._size = 0

    @classmethod
    def resume(cls, text: str) -> ResumableHash:
        """One that goes on where `state` was taken; StateError."""
        if not can_resume():
            raise StateError("here is no libcrypto that hashes could be resumed with")
        words, crc32, size, waiting = _parse(text)
        self = cls()
        self._digest = _OpensslDigest(words, size, waiting)
        self._crc32, self._size = crc32, size
        return self

    def update(self, chunk: bytes | memoryview) -> None:
        """Takes the next bytes."""
        self._digest.update(chunk)  # the slower first: it brings the bytes into the cache while it works
        self._crc32 = isal_zlib.crc32(chunk, self._crc32)
        self._size += len(chunk)

    @property
    def sha256(self) -> str:
        """The digest so far, in hex."""
        return self._digest.hexdigest()

    @property
    def crc32(self) -> int:
        """The CRC-32 so far."""
        return self._crc32

    @property
    def size(self) -> int:
        """How many bytes have passed."""
        return self._size

    def state(self) -> str | None:
        """What `resume` takes, at most 145 characters; None where `can_resume` is False."""
        if not isinstance(self._digest, _OpensslDigest):
            return None
        words, waiting = self._digest.state()
        return _VERSION + b64encode(_STATE.pack(*words, self._crc32, self._size) + waiting).decode()


def _parse(text: str) -> tuple[Sequence[int], int, int, bytes]:
    try:
        raw = b64decode(text[1:], validate=True)
        *words, crc32, size = _STATE.unpack_from(raw)
    except (binascii.Error, struct.error, ValueError) as error:
        raise StateError("no state of a hash") from error
    waiting = raw[_STATE.size :]
    if text[0] != _VERSION or len(waiting) != size % _BLOCK:
        raise StateError("a state of a hash of another kind")
    return words, crc32, size, waiting


class _OpensslDigest:
    """The part of hashlib's interface that is needed here, over a context that can be read and made."""

    def __init__(self, words: Sequence[int] = (), size: int = 0, waiting: bytes = b"") -> None:
        import ctypes

        self._library = _libcrypto()
        self._context = ctypes.create_string_buffer(_CONTEXT.size)
        self._library.SHA256_Init(self._context)
        if size:
            bits = size * 8
            fields = (bits & 0xFFFFFFFF, bits >> 32, waiting, len(waiting), 32)
            _CONTEXT.pack_into(self._context, 0, *words, *fields)

    def update(self, chunk: bytes | memoryview) -> None:
        if isinstance(chunk, bytes):
            self._library.SHA256_Update(self._context, chunk, len(chunk))
            return
        for start in range(0, len(chunk), _COPY_BYTES):  # ctypes can't pass what may be read only: in small copies
            piece = bytes(chunk[start : start + _COPY_BYTES])
            self._library.SHA256_Update(self._context, piece, len(piece))

    def hexdigest(self) -> str:
        import ctypes

        digest = ctypes.create_string_buffer(32)
        # Of a copy, as the end is written into the context.
        self._library.SHA256_Final(digest, ctypes.create_string_buffer(self._context.raw, _CONTEXT.size))
        return digest.raw.hex()

    def state(self) -> tuple[Sequence[int], bytes]:
        *words, _, _, waiting, count, _ = _CONTEXT.unpack(self._context)
        return words, waiting[:count]


@cache
def can_resume() -> bool:
    """Whether hashes can be saved and resumed here: found out once, by doing it."""
    try:
        return all(
            _agrees(cut, length) for cut, length in ((0, 1), (1, 64), (55, 56), (64, 200), (65, 128), (999, 4999))
        )
    except (OSError, AttributeError, ImportError):
        return False


def _agrees(cut: int, length: int) -> bool:
    data = bytes(number % 251 for number in range(length))
    first = _OpensslDigest()
    first.update(data[:cut])
    words, waiting = first.state()
    first.update(b"?")  # what was saved has to be all that matters
    second = _OpensslDigest(words, cut, waiting)
    second.update(memoryview(data)[cut:])
    return waiting == data[cut - cut % _BLOCK : cut] and second.hexdigest() == hashlib.sha256(data).hexdigest()


@cache
def _libcrypto() -> ctypes.CDLL:
    import ctypes

    library = linked_library("_hashlib", "SHA256_Init", "libcrypto.so.3", "libcrypto.so.1.1")
    context = ctypes.c_char * _CONTEXT.size
    library.SHA256_Init.argtypes = [context]
    library.SHA256_Update.argtypes = [context, ctypes.c_char_p, ctypes.c_size_t]
    library.SHA256_Final.argtypes = [ctypes.c_char * 32, context]
    return library


def linked_library(module: str, function: str, *names: str) -> ctypes.CDLL:
    """The C library that has `function`: the one that Python's own `module` is linked with, so that the process has no
    second one; else one of these names. OSError where there is none."""
    import ctypes

    # None is the program itself, for a Python that has the module built in.
    for name in (getattr(import_module(module), "__file__", None), None, *names):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(library, function):
            return library
    raise OSError(f"no library with {function}")
