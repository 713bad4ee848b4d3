"""The `modelkeep` command behind a bad network, watched: for the tests of hostile networks and crashes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.end_to_end import client_under_test
from tests.end_to_end.client import Client
from tests.end_to_end.proxying import Proxy
from tests.end_to_end.running import Server

MB = 1_000_000
PEAK_MIB = 200 * MB / 1024**2  # what the client may take, whatever the size


@dataclass
class Ended:
    """How a command ended; its largest resident size in MiB, 0 where the system does not tell."""

    status: int
    out: str
    err: str
    peak_mib: float


@dataclass
class Rig:
    """One user of one registry, whose every byte passes the proxy."""

    server: Server
    proxy: Proxy
    user_id: str
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)  # further ones of the command's environment

    @property
    def client(self) -> Client:
        """The registry as it is, past the proxy."""
        return Client(self.server.url, self.user_id)

    def ref(self, name: str) -> str:
        """A model's, or a version's."""
        return f"{self.user_id}/{name}"

    def start(
        self, *arguments: str | Path, home: str = "home", variables: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """`modelkeep ARGUMENTS`, still running."""
        return client_under_test.start(
            self.server,
            self.user_id,
            self.folder / home,
            *map(str, arguments),
            variables={**self.proxy.environment, **self.variables, **(variables or {})},
        )

    def run(
        self,
        *arguments: str | Path,
        home: str = "home",
        seconds: float = 300,
        variables: Mapping[str, str] | None = None,
    ) -> Ended:
        """`modelkeep ARGUMENTS` to its end."""
        return self.finish(self.start(*arguments, home=home, variables=variables), seconds=seconds)

    def finish(self, process: subprocess.Popen[str], *, seconds: float = 300) -> Ended:
        """Wait for a command's end, with an eye on its memory."""
        end, peak = time.monotonic() + seconds, 0.0
        try:
            while True:
                peak = max(peak, high_water(process.pid))
                try:
                    out, err = process.communicate(timeout=0.05)
                except subprocess.TimeoutExpired:
                    assert time.monotonic() < end, f"still running: {process.args!r}"
                else:
                    return Ended(process.returncode, out, err, peak)
        finally:
            process.kill()


def high_water(pid: int) -> float:
    """A process's largest resident size so far, in MiB; 0 where the system does not tell, or it is gone."""
    if sys.platform != "linux":
        return 0.0
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)
