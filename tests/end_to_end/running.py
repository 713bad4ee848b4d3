"""The server as a user starts it: `python -m local` in a process of its own, killed as a power cut would."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from local.ports import Ports
from tests import leaks

PROJECT = Path(__file__).parents[2]
_START_SECONDS = 300


def environment() -> dict[str, str]:
    """What `make run` gives the server: nothing that a shell set for other installations."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "AWS_", "MODELKEEP_"))
    }
    if "MODELKEEP_CACHE" in os.environ:
        kept["MODELKEEP_CACHE"] = os.environ["MODELKEEP_CACHE"]
    return {**kept, "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "layers/registry")])}


class Server:
    """One data folder and one run of ports; started, killed and started again."""

    def __init__(self, folder: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> None:
        self._arguments = arguments  # further ones of `python -m local`
        self._settings = dict(settings or {})  # REGISTRY_*, where `make run` leaves them as they are
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.ports = Ports.free()
        self.url = f"http://localhost:{self.ports.api}"
        self.starts: list[float] = []  # seconds from the command to the banner
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        began = time.monotonic()
        written = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "local",
                    "--port",
                    str(self.ports.api),
                    "--data",
                    str(self.data),
                    *self._arguments,
                ],
                cwd=PROJECT,
                env={**environment(), **self._settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while b"Modelkeep is ready" not in self.log.read_bytes()[written:]:
            assert self._process.poll() is None, f"the server ended: {self.log.read_text()[-4000:]}"
            assert time.monotonic() - began < _START_SECONDS, f"no banner: {self.log.read_text()[-4000:]}"
            time.sleep(0.05)
        self.starts.append(time.monotonic() - began)

    @property
    def process(self) -> psutil.Process:
        """The main process, in which all functions run."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def kill(self) -> None:
        """SIGKILL for the main process and all its children: nothing gets to say goodbye."""
        if self._process is None:
            return
        processes: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            processes = [self.process, *self.process.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(60)
        psutil.wait_procs(processes, timeout=60)
        self._process = None

    def restart(self) -> None:
        """Start again over the same data, on the same ports."""
        self.kill()
        self.start()

    def secrets(self) -> list[str]:
        """What is secret in its log."""
        credentials = json.loads((self.data / leaks.CREDENTIALS).read_text())
        return leaks.find_secrets(self.log.read_text(errors="replace"), credentials["secret_key"])


@contextlib.contextmanager
def running(folder: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server that is gone afterwards, whose log then says nothing secret and which gave up on no event."""
    server = Server(folder, *arguments, settings=settings)
    try:
        server.start()
        yield server
        letters = [path.read_text()[:3000] for path in (server.data / "dead-letters").glob("*.json")]
    finally:
        server.kill()
        for name in ("s3", "dynamodb", "tmp"):  # gigabytes; the logs stay
            shutil.rmtree(server.data / name, ignore_errors=True)
    assert not server.secrets()
    assert not letters, f"events that failed three times: {letters}"


class Usage:
    """What the server's main process took while the block ran: its largest resident size, as the kernel counted it, and
    processor time, which tells more than the clock where machines are shared."""

    def __init__(self, server: Server) -> None:
        self._process = server.process
        self._folder = Path(f"/proc/{self._process.pid}")
        self._before = 0.0
        self.peak_mib = 0.0
        self.processor_seconds = 0.0

    def __enter__(self) -> Usage:
        (self._folder / "clear_refs").write_text("5")  # the high-water mark begins anew
        self._before = self._processor_seconds()
        return self

    def __exit__(self, *error: object) -> None:
        self.processor_seconds = self._processor_seconds() - self._before
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                self.peak_mib = int(line.split()[1]) / 1024

    def _processor_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)
