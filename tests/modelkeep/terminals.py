"""A terminal to run a command in."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time
from pathlib import Path

PROJECT = Path(__file__).parents[2]


class Terminal:
    """A terminal in which a command runs: what it shows, what is typed."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self._mine, its = pty.openpty()
        self.process = subprocess.Popen(
            arguments,
            env=env,
            stdin=its,
            stdout=its,
            stderr=its,
            cwd=PROJECT,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that what is typed can be Ctrl-C
        )
        os.close(its)
        self.shown = ""

    def wait_for(self, text: str, *, seconds: float = 120) -> None:
        """Read until it shows this."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, f"no {text!r} in {self.shown!r}"
            assert self._read(), f"it ended without {text!r}: {self.shown!r}"

    def type(self, text: str) -> None:
        os.write(self._mine, text.encode())

    def end(self, *, seconds: float = 120) -> int:
        """Read to its end; the exit code."""
        end = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < end, self.shown
        os.close(self._mine)
        return self.process.wait(seconds)

    @property
    def plain(self) -> str:
        """What it shows without a terminal's commands."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.shown)

    def _read(self) -> bool:
        if not select.select([self._mine], [], [], 1)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self._mine, 65536)
        except OSError:  # the other side is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)
