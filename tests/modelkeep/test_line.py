"""What is under way at once, and so lost by a kill."""

from __future__ import annotations

import threading

import pytest
from modelkeep.pushing import line as lines
from modelkeep.pushing.line import ONE_PART, Line
from modelkeep.workers import StoppedError


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(lines.time, "monotonic", found.monotonic)
    return found


def may_begin(line: Line, length: int, stop: threading.Event) -> bool:
    """Whether another transfer is let in while what the caller holds is under way; else it waits for room."""
    entered, leave, decided = threading.Event(), threading.Event(), threading.Event()
    wait = line._changed.wait

    def waits(seconds: float | None = None) -> bool:
        decided.set()
        return wait(seconds)

    def transfer() -> None:
        try:
            with line.room(length):
                entered.set()
                decided.set()
                leave.wait(120)
        except StoppedError:
            pass

    thread = threading.Thread(target=transfer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line._changed, "wait", waits)
        thread.start()
        assert decided.wait(120)
        there = entered.is_set()
        leave.set()
        if not there:
            stop.set()
        thread.join(120)
    return there


def test_a_slow_line_has_one_part_under_way_and_small_files_side_by_side(clock: Clock) -> None:
    stop = threading.Event()
    line = Line(stop)
    for _ in range(3):
        with line.room(ONE_PART):
            clock.now += 2.0
    with line.room(ONE_PART // 4), line.room(ONE_PART // 4):
        assert may_begin(line, ONE_PART // 2, stop)
        assert not may_begin(line, ONE_PART, stop)


def test_a_fast_line_has_as_much_as_it_moves_in_a_second(clock: Clock) -> None:
    stop = threading.Event()
    line = Line(stop)
    for _ in range(10):
        with line.room(ONE_PART):
            clock.now += 0.25  # 4 parts a second
    with line.room(ONE_PART), line.room(ONE_PART):
        assert may_begin(line, ONE_PART, stop)
        clock.now += 5.0  # and then much slower
        assert not may_begin(line, ONE_PART, stop)


def test_there_is_an_end_to_it(clock: Clock) -> None:
    stop = threading.Event()
    line = Line(stop)
    for _ in range(8):
        with line.room(ONE_PART):
            clock.now += 0.25
    with line.room(4 * ONE_PART):
        assert not may_begin(line, ONE_PART, stop)


def test_what_is_larger_than_any_allowance_goes_alone() -> None:
    with Line(threading.Event()).room(100 * ONE_PART):
        pass


def test_a_failed_transfer_makes_room_and_counts_for_nothing() -> None:
    stop = threading.Event()
    line = Line(stop)
    with pytest.raises(ValueError, match="lost"), line.room(ONE_PART):
        raise ValueError("lost")
    assert may_begin(line, ONE_PART, stop)
