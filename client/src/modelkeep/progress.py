"""How far long work has come, as it is told to a callback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal["hash", "send", "process", "fetch", "check"]


@dataclass(frozen=True)
class Progress:
    """`done` of `total` bytes of a phase: hash (reading what is here), send, process (the registry verifies), fetch,
    check (reading what was fetched). `skipped` of them, part of `done`, did not have to move: they were there."""

    phase: Phase
    done: int
    total: int
    skipped: int = 0


OnProgress = Callable[[Progress], None]


class Meter:
    """Adds up one phase's bytes from any thread and tells the callback, at most ten times a second, and at the end."""

    def __init__(self, on_progress: OnProgress | None, phase: Phase, total: int) -> None:
        self._tell = on_progress
        self._phase: Phase = phase
        self._total = total
        self._done = self._skipped = 0
        self._told = 0.0
        self._lock = threading.Lock()
        self._report(force=True)

    def add(self, count: int, *, skipped: bool = False) -> None:
        """So many bytes more (or less: a part that has to go again); `skipped`: without moving them."""
        with self._lock:
            self._done += count
            if skipped:
                self._skipped += count
        self._report()

    def reach(self, done: int) -> None:
        """So many bytes in all, never fewer than before."""
        with self._lock:
            self._done = max(self._done, done)
        self._report()

    def finish(self) -> None:
        """Tell where it stands now, whenever it was told last."""
        self._report(force=True)

    def _report(self, *, force: bool = False) -> None:
        if self._tell is None:
            return
        with self._lock:
            now = time.monotonic()
            if not force and now - self._told < 0.1:
                return
            self._told = now
            # Told under the lock, so that a callback sees its numbers in order and never two at once.
            self._tell(Progress(self._phase, self._done, self._total, self._skipped))
