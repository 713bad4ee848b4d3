"""Reading an archive by ranges: what the caller gives, and a window that turns small reads into few large ones."""

from __future__ import annotations

from typing import Protocol

from registry.archives.faults import Fault, refusal
from registry.archives.limits import MIB

MAX_RANGE_BYTES = 8 * MIB  # one read at most, and so the memory that planning takes


class RangeReader(Protocol):
    """An archive that lies elsewhere and does not change while it is read."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset` on, or an exception."""


class Window:
    """The bytes read last; what lies inside them costs no further read."""

    def __init__(self, source: RangeReader) -> None:
        self.size = source.size
        self._source = source
        self._start = 0
        self._data = b""

    def holds(self, offset: int, length: int) -> bool:
        """Whether these bytes are here already."""
        return self._start <= offset and offset + length <= self._start + len(self._data)

    def load(self, start: int, end: int) -> None:
        """Read from `start` to `end`, or to the archive's end, in one request."""
        self._data = b""  # frees the old bytes before the new ones arrive
        self._data = self._source.read(start, min(end, self.size) - start)
        self._start = start

    def get(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; ArchiveError `truncated` if the archive ends before."""
        if offset + length > self.size:
            raise refusal(
                Fault.TRUNCATED,
                f"A record at byte {offset} needs {length} bytes, but the archive ends at {self.size}: "
                "it is cut off or damaged. Upload it again.",
            )
        if not self.holds(offset, length):
            self.load(offset, offset + length)
        return self._data[offset - self._start : offset - self._start + length]
