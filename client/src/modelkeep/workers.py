"""Work done side by side by a few threads, which the first error and Ctrl-C stop."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable

Job = Callable[[], None]
_GRACE = 2.0  # seconds that an error waits for the other threads to notice


class StoppedError(Exception):
    """This thread was told to stop: another one has failed, or the user has pressed Ctrl-C."""


def side_by_side(jobs: Iterable[Job], *, threads: int, stop: threading.Event) -> None:
    """Do all the jobs; few are made ahead of time, in the calling thread, so that there may be any number. The first
    error sets `stop`, which jobs look at, and is raised here. The threads are daemons: one that hangs on a dead
    connection keeps no process alive."""
    waiting: queue.Queue[Job | None] = queue.Queue(maxsize=threads)
    errors: list[BaseException] = []

    def work() -> None:
        while (job := waiting.get()) is not None:
            if stop.is_set():
                continue
            try:
                job()
            except BaseException as error:  # noqa: BLE001  # raised by the caller
                errors.append(error)
                stop.set()

    pool: list[threading.Thread] = []
    try:
        for job in jobs:
            if len(pool) < threads:
                pool.append(threading.Thread(target=work, name=f"modelkeep-{len(pool)}", daemon=True))
                pool[-1].start()
            _put(waiting, job, stop)
            if stop.is_set():
                break
        for _ in pool:
            _put(waiting, None, stop)
        for thread in pool:
            while thread.is_alive() and not stop.is_set():
                thread.join(0.1)
    except BaseException as error:
        stop.set()
        _dismiss(waiting, pool)
        if errors and isinstance(error, StoppedError):  # the maker of jobs was stopped by what went wrong in one
            raise errors[0] from None
        raise
    if stop.is_set():
        _dismiss(waiting, pool)
        raise errors[0] if errors else StoppedError


def _put(waiting: queue.Queue[Job | None], job: Job | None, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            waiting.put(job, timeout=0.1)
        except queue.Full:
            continue
        return


def _dismiss(waiting: queue.Queue[Job | None], pool: list[threading.Thread]) -> None:
    """Throw away what is waiting, so that each thread finds its end instead, and give them a moment for it."""
    try:
        while True:
            waiting.get_nowait()
    except queue.Empty:
        pass
    for _ in pool:
        try:
            waiting.put_nowait(None)
        except queue.Full:
            break
    end = time.monotonic() + _GRACE
    for thread in pool:
        thread.join(max(0.0, end - time.monotonic()))
