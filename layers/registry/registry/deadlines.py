"""How long a function may still work."""

from __future__ import annotations

import time
from typing import Any

_RESERVE_SECONDS = 30  # of a function's life: for what is in flight when it is time to stop


def seconds_left(context: Any) -> float | None:
    """How long a worker may work in this invocation; at least a little."""
    milliseconds = getattr(context, "get_remaining_time_in_millis", None)
    return None if milliseconds is None else max(1.0, milliseconds() / 1000 - _RESERVE_SECONDS)


class Deadline:
    """When a function has to stop; None: never."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Whether it is time to stop."""
        return self._end is not None and time.monotonic() >= self._end
