"""Threads that stop together."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from modelkeep.pulling.crew import Crew, Task


def test_all_tasks_are_done_side_by_side() -> None:
    barrier = threading.Barrier(4)
    done: list[int] = []

    def task() -> None:
        done.append(barrier.wait(120))

    Crew(4).run(task for _ in range(8))
    assert sorted(done) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_first_error_stops_the_others_and_is_raised() -> None:
    crew = Crew(3)
    running, stopped = threading.Event(), threading.Event()

    def works() -> None:
        running.set()
        try:
            while True:
                crew.check()
        finally:
            stopped.set()

    def fails() -> None:
        running.wait(120)
        raise ValueError("this one")

    def never() -> None:
        raise AssertionError("was started after the failure")

    def tasks() -> Iterator[Task]:
        yield works
        yield fails
        stopped.wait(120)
        yield from [never] * 100

    with pytest.raises(ValueError, match="this one"):
        crew.run(tasks())
    assert stopped.is_set()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_ctrl_c_where_tasks_are_made_stops_what_runs(error: type[BaseException]) -> None:
    crew = Crew(2)
    running, stopped = threading.Event(), threading.Event()

    def works() -> None:
        running.set()
        try:
            while True:
                crew.check()
        finally:
            stopped.set()

    def tasks() -> Iterator[Task]:
        yield works
        running.wait(120)
        raise error

    with pytest.raises(error):
        crew.run(tasks())
    assert stopped.is_set()


def test_tasks_are_not_made_long_before_their_time() -> None:
    crew = Crew(4)
    release = threading.Event()
    made: list[int] = []

    def wait() -> None:
        release.wait(120)

    def tasks() -> Iterator[Task]:
        for number in range(30):
            made.append(number)
            yield wait

    runner = threading.Thread(target=crew.run, args=[tasks()])
    runner.start()
    runner.join(0.5)
    assert len(made) <= 4 + 4 + 1  # at work, waiting, and the one that waits for room
    release.set()
    runner.join(120)
    assert len(made) == 30
