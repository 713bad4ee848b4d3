"""Jobs side by side: all are done, few are made ahead, and one that fails stops the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from modelkeep.workers import StoppedError, side_by_side


def test_all_jobs_are_done_at_most_so_many_at_once_and_few_made_ahead() -> None:
    lock = threading.Lock()
    done: list[int] = []
    now, most, ahead = [0], [0], [0]

    def jobs() -> Iterator[Callable[[], None]]:
        for number in range(100):
            ahead[0] = max(ahead[0], number - len(done))
            yield lambda number=number: work(number)  # type: ignore[misc]

    def work(number: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        with lock:
            done.append(number)
            now[0] -= 1

    side_by_side(jobs(), threads=3, stop=threading.Event())
    assert sorted(done) == list(range(100))
    assert most[0] <= 3
    assert ahead[0] <= 3 + 3 + 1


def test_the_first_error_stops_the_others_and_no_more_jobs_are_made() -> None:
    stop = threading.Event()
    made: list[int] = []
    started = threading.Event()

    def waits() -> None:
        started.set()
        assert stop.wait(120)
        raise StoppedError

    def fails() -> None:
        assert started.wait(120)
        raise ValueError("this one")

    def jobs() -> Iterator[Callable[[], None]]:
        yield waits
        yield fails
        for number in range(1000):
            made.append(number)
            yield lambda: None

    with pytest.raises(ValueError, match="this one"):
        side_by_side(jobs(), threads=2, stop=stop)
    assert stop.is_set()
    assert len(made) < 10


def test_where_making_jobs_is_stopped_by_an_error_that_error_is_told() -> None:
    stop = threading.Event()

    def fails() -> None:
        raise ValueError("this one")

    def jobs() -> Iterator[Callable[[], None]]:
        yield fails
        assert stop.wait(120)
        raise StoppedError

    with pytest.raises(ValueError, match="this one"):
        side_by_side(jobs(), threads=2, stop=stop)


def test_what_stops_the_maker_stops_the_workers() -> None:
    stop, started, ended = threading.Event(), threading.Event(), threading.Event()

    def waits() -> None:
        started.set()
        assert stop.wait(120)
        ended.set()

    def jobs() -> Iterator[Callable[[], None]]:
        yield waits
        assert started.wait(120)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side(jobs(), threads=2, stop=stop)
    assert ended.wait(120)
