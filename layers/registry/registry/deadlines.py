"""How long a function may still work."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class OutOfTimeError(Exception):
    """What is under way can't come to its end before the function's does: drop it, somebody begins it anew."""


class Deadline:
    """When a function has to stop, in `seconds` from now; None: never. What is under way then has `grace` seconds more.
    `whole` is how long its successors will have, where that is known."""

    def __init__(self, seconds: float | None, *, grace: float | None = None, whole: float | None = None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._grace = grace
        self.whole = whole

    @property
    def passed(self) -> bool:
        """Whether it is time to stop."""
        return self._end is not None and time.monotonic() >= self._end

    @property
    def seconds_left(self) -> float | None:
        """Until it is time to stop; None: there is no end."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def bound(self, items: Iterable[T]) -> Iterator[T]:
        """The same items, as long as there is time for what is under way; OutOfTimeError."""
        for item in items:
            self.check()
            yield item

    def check(self) -> None:
        """OutOfTimeError if there is no time left for what is under way."""
        if self._end is not None and self._grace is not None and time.monotonic() >= self._end + self._grace:
            raise OutOfTimeError
