"""Progress on stderr: bars on a terminal, a line at a phase's begin and end elsewhere, nothing with --quiet."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from modelkeep.cli.output import Output
from modelkeep.cli.text import size
from modelkeep.progress import Phase, Progress

if TYPE_CHECKING:
    from rich.progress import TaskID

_DOING = {"hash": "Reading", "send": "Sending", "process": "Processing", "fetch": "Fetching", "check": "Checking"}
_DONE = {"hash": "Read", "send": "Sent", "process": "Processed", "fetch": "Fetched", "check": "Checked"}
_SKIPPED = {"hash": "known", "send": "there", "process": "done", "fetch": "here", "check": "checked"}


class Bars:
    """An `on_progress` callback for the time of a `with`."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._bars: Any = None  # rich's, once there is something to show
        self._tasks: dict[Phase, TaskID] = {}
        self._began: dict[Phase, float] = {}
        self._ended: set[Phase] = set()
        self._lock = threading.Lock()  # phases may run side by side

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, progress: Progress) -> None:
        """Show where it stands."""
        if self._out.quiet or progress.total <= 0:
            return
        with self._lock:
            if sys.stderr.isatty():
                self._draw(progress)
            else:
                self._say(progress)

    def _draw(self, progress: Progress) -> None:
        if self._bars is None:
            self._bars = _rich_bars()
            self._bars.start()
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = self._bars.add_task(_DOING[progress.phase], total=progress.total, there="")
        there = f"({size(progress.skipped)} {_SKIPPED[progress.phase]} already)" if progress.skipped else ""
        # What need not move counts for nothing, or the rate would be a lie and the time left too.
        idle = progress.skipped if progress.skipped < progress.total else 0
        self._bars.update(
            self._tasks[progress.phase],
            total=progress.total - idle,
            completed=progress.done - idle,
            there=there,
        )

    def _say(self, progress: Progress) -> None:
        phase = progress.phase
        if phase not in self._began:
            self._began[phase] = time.monotonic()
            self._out.note(f"{_DOING[phase]} {size(progress.total)}")
        if progress.done >= progress.total and phase not in self._ended:
            self._ended.add(phase)
            seconds = time.monotonic() - self._began[phase]
            skipped = f", of which {size(progress.skipped)} were {_SKIPPED[phase]} already,"
            there = skipped if progress.skipped else ""
            self._out.note(f"{_DONE[phase]} {size(progress.total)}{there} in {seconds:.1f} s")


def _rich_bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Drawn

    return Drawn(
        TextColumn("{task.description:<10}", markup=False),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[there]}", markup=False),
        console=Console(file=sys.stderr, highlight=False),
    )
