"""Inflating with zlib, so that it can stop at the end of a DEFLATE block, where what it knows is 32 KiB and a few bits.

Python's zlib has no such call. It is made in the libz that Python itself is linked with, which is tried before its
first use, and not used where it is missing or fails.
"""

from __future__ import annotations

import weakref
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from registry.hashing import linked_library

if TYPE_CHECKING:
    import ctypes

RAW_DEFLATE = -15  # window bits: 32 KiB, no zlib header
WINDOW_BYTES = 32 * 1024

_SYNC_FLUSH, _BLOCK = 2, 5
_OK, _STREAM_END, _DATA_ERROR, _BUFFER_ERROR = 0, 1, -3, -5
_UNUSED_BITS, _LAST_BLOCK, _BLOCK_ENDED = 0b111, 64, 128  # in data_type


class InflateError(Exception):
    """The data is no DEFLATE stream."""


class Inflater(Protocol):
    """What a decoder needs of zlib's and isal's `decompressobj`."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def unconsumed_tail(self) -> bytes:
        """Input that there was no room to inflate."""

    @property
    def unused_data(self) -> bytes:
        """Input after the stream's end."""

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        """At most `max_length` bytes of output."""


class BlockInflater:
    """A `decompressobj` whose output, while `stopping`, does not pass the end of a block."""

    def __init__(self, consumed: int = 0, *, window: bytes = b"", bits: int = 0, value: int = 0) -> None:
        import ctypes

        self._library = _libz()
        self._stream = _stream_type()()
        self._check(self._library.inflateInit2_(self._stream, RAW_DEFLATE, zlib.ZLIB_VERSION.encode(), _size()))
        weakref.finalize(self, self._library.inflateEnd, self._stream)
        if window:
            self._check(self._library.inflateSetDictionary(self._stream, window, len(window)))
        if bits:
            self._check(self._library.inflatePrime(self._stream, bits, value))
        self._room = ctypes.create_string_buffer(0)
        self._last_byte = value << (8 - bits)
        self.stopping = False
        self.eof = False
        self.consumed = consumed
        self.unconsumed_tail = b""
        self.unused_data = b""

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        """The output of `data`, which begins with `unconsumed_tail`; InflateError."""
        import ctypes

        if len(self._room) < max_length:
            self._room = ctypes.create_string_buffer(max_length)
        stream, given = self._stream, bytes(data)
        stream.next_in, stream.avail_in = given, len(given)
        stream.next_out, stream.avail_out = ctypes.addressof(self._room), max_length
        status = self._library.inflate(stream, _BLOCK if self.stopping else _SYNC_FLUSH)
        if status == _OK and stream.data_type & (_BLOCK_ENDED | _LAST_BLOCK) == _BLOCK_ENDED | _LAST_BLOCK:
            status = self._library.inflate(stream, _SYNC_FLUSH)  # it stopped before it saw that this is the end
        if status == _DATA_ERROR:
            raise InflateError
        if status not in (_OK, _STREAM_END, _BUFFER_ERROR):
            raise RuntimeError(f"zlib answered {status}")
        taken = len(given) - stream.avail_in
        if taken:
            self._last_byte = given[taken - 1]
            self.consumed += taken
        self.eof = status == _STREAM_END
        rest = given[taken:]
        self.unconsumed_tail, self.unused_data = (b"", rest) if self.eof else (rest, b"")
        return ctypes.string_at(self._room, max_length - stream.avail_out)

    @property
    def between_blocks(self) -> bool:
        """Whether the output ends where a block does that is not the last one."""
        return not self.eof and self._stream.data_type & (_BLOCK_ENDED | _LAST_BLOCK) == _BLOCK_ENDED

    def state(self) -> tuple[bytes, int, int]:
        """`between_blocks`, what another goes on from behind `consumed`: window, bits, value."""
        import ctypes

        room, length = ctypes.create_string_buffer(WINDOW_BYTES), ctypes.c_uint()
        self._check(self._library.inflateGetDictionary(self._stream, room, length))
        bits = self._stream.data_type & _UNUSED_BITS  # of the last byte taken, at its upper end
        return room.raw[: length.value], bits, self._last_byte >> (8 - bits)

    def _check(self, status: int) -> None:
        if status != _OK:
            raise OSError(f"zlib answered {status}")


@cache
def can_stop() -> bool:
    """Whether inflating can be stopped and gone on with here: found out once, by doing it."""
    try:
        return _agrees()
    except (OSError, AttributeError, ImportError, RuntimeError, InflateError):
        return False


def _agrees() -> bool:
    compressor = zlib.compressobj(6, zlib.DEFLATED, RAW_DEFLATE)
    content = b"".join(b"%d," % (number * number) for number in range(300))
    # Blocks that end inside a byte and refer to each other.
    cut = [compressor.compress(content) + compressor.flush(zlib.Z_PARTIAL_FLUSH) for _ in range(3)]
    data = b"".join(cut) + compressor.flush()
    inflater, output, stops = BlockInflater(), b"", 0
    inflater.stopping = True
    while not inflater.eof:
        output += inflater.decompress(data[inflater.consumed :], 10 * len(content))
        if inflater.between_blocks:
            window, bits, value = inflater.state()
            other = BlockInflater(window=window, bits=bits, value=value)
            rest = other.decompress(data[inflater.consumed :], 10 * len(content))
            if window != output[-WINDOW_BYTES:] or output + rest != content * 3 or not other.eof:
                return False
            stops += 1
    return stops >= 3 and output == content * 3


@cache
def _stream_type() -> Any:
    """z_stream, of zlib.h: made at first use, as ctypes would cost every cold start."""
    import ctypes

    class Stream(ctypes.Structure):
        _fields_ = (
            ("next_in", ctypes.c_char_p),
            ("avail_in", ctypes.c_uint),
            ("total_in", ctypes.c_ulong),
            ("next_out", ctypes.c_void_p),
            ("avail_out", ctypes.c_uint),
            ("total_out", ctypes.c_ulong),
            ("msg", ctypes.c_char_p),
            ("state", ctypes.c_void_p),
            ("zalloc", ctypes.c_void_p),
            ("zfree", ctypes.c_void_p),
            ("opaque", ctypes.c_void_p),
            ("data_type", ctypes.c_int),
            ("adler", ctypes.c_ulong),
            ("reserved", ctypes.c_ulong),
        )

    return Stream


def _size() -> int:
    import ctypes

    return ctypes.sizeof(_stream_type())


@cache
def _libz() -> ctypes.CDLL:
    import ctypes

    library = linked_library("zlib", "inflateGetDictionary", "libz.so.1")
    stream = ctypes.POINTER(_stream_type())
    library.inflateInit2_.argtypes = [stream, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    library.inflateEnd.argtypes = [stream]
    library.inflate.argtypes = [stream, ctypes.c_int]
    library.inflatePrime.argtypes = [stream, ctypes.c_int, ctypes.c_int]
    library.inflateSetDictionary.argtypes = [stream, ctypes.c_char_p, ctypes.c_uint]
    library.inflateGetDictionary.argtypes = [stream, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint)]
    return library
