"""Functions whose time is told in looks at the clock, so that no test hangs on how fast the machine is."""

from __future__ import annotations

from typing import Any

from registry.deadlines import Deadline


class Life(Deadline):
    """A deadline that has passed at the look after the first `looks`, whatever took how long."""

    looks = 0
    lived = 0  # lives begun
    successors: float | None = None  # seconds that those who go on will have
    seconds_left: Any = 0.0
    over: Any = False

    def __init__(self, seconds: float | None = None, **_: Any) -> None:
        super().__init__(None, whole=self.successors)
        type(self).lived += 1
        self.left = self.looks

    @property
    def passed(self) -> bool:
        self.left -= 1
        return self.left < 0


def lives_of(looks: int, **attributes: Any) -> type[Life]:
    """What to put for `deadlines.Deadline`; its attributes may be set while it is in use, for lives that begin then."""
    return type("Life", (Life,), {"looks": looks, **attributes})
