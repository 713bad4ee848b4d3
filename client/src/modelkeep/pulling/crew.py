"""Workers that do tasks side by side for one pull, again and again, and stop together."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from modelkeep.workers import Job, StoppedError, side_by_side

Task = Job


class Crew:
    """Some workers for tasks that are made as they are wanted. The first error stops all and is raised."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._stop = threading.Event()

    def check(self) -> None:
        """To be called often within tasks: StoppedError once there is no point in going on."""
        if self._stop.is_set():
            raise StoppedError

    def run(self, tasks: Iterable[Task]) -> None:
        """Do all tasks; few are taken from the iterable before their time."""
        side_by_side(tasks, threads=self._workers, stop=self._stop)
