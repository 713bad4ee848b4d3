"""Threads that do tasks side by side, and stop together."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable

Task = Callable[[], None]
_GRACE = 3.0  # seconds that threads have to notice that they should stop; one that hangs in a read is left to itself


class StoppedError(Exception):
    """Others failed, or the user wants no more: nothing to report."""


class Crew:
    """Some workers for tasks that are made as they are wanted. The first error stops all and is raised."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._stop = threading.Event()
        self._errors: list[BaseException] = []

    def check(self) -> None:
        """To be called often within tasks: StoppedError once there is no point in going on."""
        if self._stop.is_set():
            raise StoppedError

    @property
    def stopped(self) -> bool:
        """Whether there is no point in going on."""
        return self._stop.is_set()

    def run(self, tasks: Iterable[Task]) -> None:
        """Do all tasks; few are taken from the iterable before their time."""
        waiting: queue.Queue[Task | None] = queue.Queue(self._workers)
        # Daemons: Ctrl-C is not to wait for a store that does not answer.
        threads = [threading.Thread(target=self._work, args=[waiting], daemon=True) for _ in range(self._workers)]
        for thread in threads:
            thread.start()
        try:
            for task in tasks:
                self._put(waiting, task)
            for _ in threads:
                self._put(waiting, None)
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.5)
                    self.check()
        except StoppedError:
            pass
        finally:
            completed = not any(thread.is_alive() for thread in threads)
            if not completed:
                self._stop.set()
            end = time.monotonic() + _GRACE
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
        if self._errors:
            raise self._errors[0]

    def _put(self, waiting: queue.Queue[Task | None], task: Task | None) -> None:
        while True:
            self.check()
            try:
                return waiting.put(task, timeout=0.2)
            except queue.Full:
                continue

    def _work(self, waiting: queue.Queue[Task | None]) -> None:
        while not self._stop.is_set():
            try:
                task = waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            if task is None:
                return
            try:
                task()
            except StoppedError:
                return
            except BaseException as error:  # noqa: BLE001 - raised again by run()
                self._errors.append(error)
                self._stop.set()
                return
