"""Archives and files to measure with: random weights, which shrink as little as real ones do."""

from __future__ import annotations

import itertools
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy

_PIECE = 16_000_000  # bytes that are made once and repeated: nothing here looks back so far


class _Repeated:
    """Compresses as zlib did one piece: each time it is given that piece, what came of it then."""

    def __init__(self, deflated: bytes) -> None:
        self._deflated = deflated

    def compress(self, _: bytes) -> bytes:
        return self._deflated

    def flush(self) -> bytes:
        return b"\x03\x00"  # the last block, empty


def weights(size: int = _PIECE, seed: int = 1) -> bytes:
    """Half float32, half bfloat16 (float32's upper half), normally distributed."""
    values = numpy.random.default_rng(seed).standard_normal(size // 4 + 1, dtype=numpy.float32) * 0.02
    words: Any = (values.view(numpy.uint32) >> 16).astype(numpy.uint16)
    half = size // 2
    return bytes(values.tobytes()[:half] + words.tobytes()[: size - half])


def write_file(path: Path, size: int) -> Path:
    """A file of weights, no two pieces of which are equal."""
    piece = weights()
    with path.open("wb") as file:
        for number in range(-(-size // _PIECE)):
            file.write(number.to_bytes(8, "big"))
            file.write(piece[8 : min(_PIECE, size - number * _PIECE)])
    return path


def write_folder(folder: Path, count: int, size: int) -> Path:
    """So many files of weights, no two of which are equal."""
    folder.mkdir()
    piece = weights()
    for number in range(count):
        start = number * 977 % (len(piece) - size)
        (folder / f"{number:05d}.bin").write_bytes(number.to_bytes(8, "big") + piece[start + 8 : start + size])
    return folder


def write_archive(path: Path, *, size: int, members: int, deflated: bool) -> Path:
    """A ZIP of so many members of weights, `size` bytes in all when unpacked."""
    each = size // members
    pieces = next(count for count in itertools.count(-(-each // _PIECE)) if each % count == 0)
    piece = weights(each // pieces)  # of one size, as it is deflated once
    pressed = b""
    if deflated:
        compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
        # Fully flushed, so that it ends with a byte and the next one looks back at nothing.
        pressed = compressor.compress(piece) + compressor.flush(zlib.Z_FULL_FLUSH)
    kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for number in range(members):
            info = zipfile.ZipInfo(f"weights/{number // 500:03d}/{number:05d}.bin")
            info.compress_type = kind
            with archive.open(info, "w", force_zip64=each > 2**31) as member:
                if deflated:
                    member._compressor = _Repeated(pressed)  # type: ignore[attr-defined]
                for _ in range(pieces):
                    member.write(piece)
    return path
