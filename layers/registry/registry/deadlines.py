"""How long a function may still work."""

from __future__ import annotations

import time
from typing import Any

_RESERVE_SECONDS = 30  # of a function's life: for what is in flight when it is time to stop, and for the handing over
_RESERVE_SHARE = 1 / 3  # of a short life
_GRACE_SHARE = 2 / 3  # of the reserve: for what is in flight


class OutOfTimeError(Exception):
    """What is under way can't come to its end before the function's does: drop it, somebody begins it anew."""


class Deadline:
    """When a function has to stop, in `seconds` from now; None: never. What is under way then has `grace` seconds more.
    `whole` is how long its successors will have, where that is known."""

    def __init__(self, seconds: float | None, *, grace: float | None = None, whole: float | None = None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._over = None if self._end is None or grace is None else self._end + grace
        self.whole = whole

    @property
    def passed(self) -> bool:
        """Whether it is time to stop."""
        return self._end is not None and time.monotonic() >= self._end

    @property
    def seconds_left(self) -> float | None:
        """Until it is time to stop; None: there is no end."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    @property
    def grace_left(self) -> float | None:
        """What is left for what is under way, in seconds; None: as long as it takes."""
        return None if self._over is None else max(0.0, self._over - time.monotonic())

    def stop_unless_fits(self, seconds: float) -> None:
        """Makes it time to stop if what takes so long, and would begin now, could not end within the grace."""
        left = self.grace_left
        if self._end is not None and left is not None and seconds > left:
            self._end = min(self._end, time.monotonic())

    @property
    def over(self) -> bool:
        """Whether it is time to drop what is under way; never, where no grace is known."""
        return self.grace_left == 0


def deadline_of(context: Any) -> Deadline:
    """How long a worker may work in this invocation."""
    milliseconds = getattr(context, "get_remaining_time_in_millis", None)
    if milliseconds is None:
        return Deadline(None)
    life = milliseconds() / 1000
    reserve = min(_RESERVE_SECONDS, life * _RESERVE_SHARE)
    return Deadline(life - reserve, grace=reserve * _GRACE_SHARE, whole=life - reserve)
