"""Files that are under way: written in ranges, in any order, by many threads, and gone on with after any crash.

Beside the bytes lies a map, a byte for each MiB: 1 once it was written. Nothing is synced meanwhile: after a power cut
the map may promise what the disk has not, which the digest of the whole tells, at the price of fetching it anew.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

BLOCK = 1024 * 1024  # bytes: what a crash costs each of the ranges that are under way
RANGE = 16 * BLOCK  # bytes of one request


class Partial:
    """One file of `size` bytes (more than 0) that is to become whole at `path`."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._map = path.with_name(f"{path.name}.map")
        self._done = bytearray(-(-size // BLOCK))
        self._hash = hashlib.sha256()
        self._hashed = 0  # blocks
        self._lock = threading.Lock()

    def open(self) -> int:
        """Take up what an earlier attempt left, else begin; how many bytes are there."""
        try:
            known = self._map.read_bytes()
            if len(known) == len(self._done) and self.path.stat().st_size == self.size:
                self._done[:] = known
                return sum(self._length(number) for number, done in enumerate(known) if done == 1)
        except FileNotFoundError:
            pass
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._map.write_bytes(bytes(len(self._done)))  # first: it must never speak of other bytes
        with self.path.open("wb") as file:
            file.truncate(self.size)
        return 0

    def missing(self) -> Iterator[tuple[int, int]]:
        """Start and length of the ranges that are to be fetched, in order."""
        first: int | None = None
        for number in range(len(self._done) + 1):
            wanted = number < len(self._done) and self._done[number] != 1
            if first is not None and (not wanted or (number - first) * BLOCK >= RANGE):
                yield first * BLOCK, min(number * BLOCK, self.size) - first * BLOCK
                first = None
            if wanted and first is None:
                first = number

    @contextmanager
    def writer(self, start: int) -> Iterator[Writer]:
        """Writes bytes from `start` on, which is a block's; not to be shared between threads."""
        with self.path.open("r+b", buffering=0) as file, self._map.open("r+b", buffering=0) as known:
            file.seek(start)
            yield Writer(self, file, known, start)

    def hash_on(self) -> None:
        """Hash what has come in order, unless another thread is at it."""
        if self._lock.acquire(blocking=False):
            try:
                self._advance()
            finally:
                self._lock.release()

    def digest(self) -> str:
        """The SHA-256 of the whole, 64 hex digits, once nothing is missing."""
        with self._lock:
            self._advance()
            assert self._hashed == len(self._done)
            return self._hash.hexdigest()

    def discard(self) -> None:
        """Take it away; nothing of it is known any more."""
        self.forget()
        with suppress(FileNotFoundError):
            self.path.unlink()

    def forget(self) -> None:
        """Take the map away, after the bytes went to their place."""
        with suppress(FileNotFoundError):
            self._map.unlink()

    def mark(self, number: int, known: BinaryIO) -> None:
        """A block is written."""
        known.seek(number)
        known.write(b"\x01")
        self._done[number] = 1

    def _advance(self) -> None:
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._hashed * BLOCK)
            while self._hashed < len(self._done) and self._done[self._hashed] == 1:
                left = self._length(self._hashed)
                while left:
                    data = file.read(left)
                    if not data:
                        raise OSError(f"{self.path} is shorter than it was")
                    self._hash.update(data)
                    left -= len(data)
                self._hashed += 1

    def _length(self, number: int) -> int:
        return min(BLOCK, self.size - number * BLOCK)


class Writer:
    """Writes one range of a partial file, block by block into its map."""

    def __init__(self, partial: Partial, file: BinaryIO, known: BinaryIO, start: int) -> None:
        self._partial = partial
        self._file = file
        self._known = known
        self._at = start

    def write(self, chunk: bytes) -> None:
        """The next bytes of the range."""
        left = memoryview(chunk)
        while left:
            left = left[self._file.write(left) :]
        block = self._at // BLOCK
        self._at += len(chunk)
        ended = len(self._partial._done) if self._at == self._partial.size else self._at // BLOCK
        for number in range(block, ended):
            self._partial.mark(number, self._known)
