"""Child processes that never outlive us for long, whatever kills us."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil  # type: ignore[import-untyped]

_EXEC_CHILD = Path(__file__).with_name("exec_child.py")
_KILL_WAIT_SECONDS = 60  # what is killed dies, on a busy machine a little later
_TERMINATE_WAIT_SECONDS = 20
_LOG_TAIL_BYTES = 4_000
_LOG_TAIL_LINES = 12


class Child:
    """One server process: its log, its pid file, and how to start it again.

    Start it from a thread that lives as long as the child should: Linux ties the child to that thread.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.command = [str(word) for word in command]
        self.log = folder / "logs" / f"{name}.log"
        self._folder = folder
        self._environment = dict(environment)
        self._pid_file = folder / "run" / f"{name}.json"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, stdout: int | IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        """Start the process in a session of its own, so that a Ctrl-C in the terminal reaches only us."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_EXEC_CHILD), str(os.getpid()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )
        self._pid_file.write_text(json.dumps({"pid": self._process.pid, "command": self.command}))
        return self._process

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self.is_running() and self._process else None

    def is_running(self) -> bool:
        """False before the start, and once the process has ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """How it ended; minus the signal's number if by one."""
        return self._process.poll() if self._process else None

    def kill(self) -> None:
        """End it by SIGKILL and wait: SeaweedFS may hang on anything gentler, and both stores are safe against it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_KILL_WAIT_SECONDS)
        self._pid_file.unlink(missing_ok=True)

    def terminate(self) -> None:
        """End it by SIGTERM, for what has to clean up behind itself (SAM removes its containers); then by SIGKILL."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_TERMINATE_WAIT_SECONDS)
        self.kill()

    def log_tail(self) -> str:
        """The last lines of its log, for messages."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - _LOG_TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(f"    {line}" for line in lines[-_LOG_TAIL_LINES:])


def kill_leftovers(folder: Path) -> list[str]:
    """End children of a run that was killed itself; returns their names. Call it only with the folder's lock held.

    A pid may belong to somebody else by now: only a process with exactly the recorded command is ended.
    """
    ended = []
    for pid_file in sorted((folder / "run").glob("*.json")):
        try:
            record = json.loads(pid_file.read_text())
            process = psutil.Process(record["pid"])
            if process.cmdline()[1:] == record["command"][1:]:  # [0] may be another spelling of the same program
                process.kill()
                process.wait(_KILL_WAIT_SECONDS)
                ended.append(pid_file.stem)
        except (psutil.NoSuchProcess, psutil.ZombieProcess, json.JSONDecodeError, KeyError):
            pass
        pid_file.unlink(missing_ok=True)
    return ended
