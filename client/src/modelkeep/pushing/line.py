"""How much may be under way at once: what a push loses when it is killed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from modelkeep.workers import StoppedError

_WINDOW = 5.0  # seconds over which the line's pace is measured
ONE_PART = 16 * 1024 * 1024  # bytes: a part of the registry's, unless the file has more than 160 GB


class Line:
    """Lets as many bytes be under way as the line lately moved in one second, or one part if that is more; one transfer
    always may. So a kill costs a part, or a second, whatever the number of threads."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._changed = threading.Condition()
        self._under_way = 0
        self._began: float | None = None
        self._moved: deque[tuple[float, int]] = deque()

    @contextmanager
    def room(self, length: int) -> Iterator[None]:
        """Waits until so many more bytes may be under way; StoppedError if the push is stopped meanwhile."""
        with self._changed:
            while self._under_way and self._under_way + length > max(ONE_PART, self._pace()):
                if self._stop.is_set():
                    raise StoppedError
                self._changed.wait(0.1)
            self._under_way += length
            if self._began is None:
                self._began = time.monotonic()
        try:
            yield
            with self._changed:
                self._moved.append((time.monotonic(), length))
        finally:
            with self._changed:
                self._under_way -= length
                self._changed.notify_all()

    def _pace(self) -> float:
        """Bytes a second, over the last seconds."""
        now = time.monotonic()
        while self._moved and self._moved[0][0] < now - _WINDOW:
            self._moved.popleft()
        seconds = min(_WINDOW, now - (self._began or now))
        return sum(length for _, length in self._moved) / seconds if seconds else 0.0
