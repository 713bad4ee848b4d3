"""When functions stop."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from registry.deadlines import Deadline, deadline_of


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still unless it is set."""
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_it_is_time_to_stop_before_the_function_ends(now: list[float]) -> None:
    deadline = deadline_of(SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000))
    assert (deadline.seconds_left, deadline.grace_left) == (870, 890)
    now[0] += 870
    assert deadline.passed
    assert not deadline.over
    now[0] += 20
    assert deadline.over


def test_what_would_not_end_in_time_is_not_begun(now: list[float]) -> None:
    deadline = Deadline(10, grace=5)
    now[0] += 8
    deadline.stop_unless_fits(7)
    assert not deadline.passed
    now[0] += 1
    deadline.stop_unless_fits(7)
    assert deadline.passed
    assert deadline.grace_left == 6, "what is under way has the time that it had"


@pytest.mark.parametrize("seconds", [None, 10])
def test_without_an_end_or_a_grace_everything_fits(now: list[float], seconds: float | None) -> None:
    deadline = Deadline(seconds)
    deadline.stop_unless_fits(1e9)
    assert not deadline.passed
