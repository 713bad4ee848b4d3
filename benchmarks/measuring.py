"""Commands measured from outside, from start to end, and the machine that they ran on."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

# Started by this, a process is measured from outside, and nothing of the parent's own size counts.
WRAPPER = """
import json, os, sys, time
began = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
seen = {"wall": time.perf_counter() - began, "cpu": usage.ru_utime + usage.ru_stime, "mib": usage.ru_maxrss / 1024}
open(sys.argv[1], "w").write(json.dumps(seen))
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass
class Measured:
    """Figures of several runs: seconds of the process, of the call within (its `CALL` lines), of the processor; MiB."""

    name: str
    wall: list[float] = field(default_factory=list)
    call: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)

    def median(self, figure: str) -> float:
        """Of one of them."""
        return float(statistics.median(getattr(self, figure)))


def measure(into: Measured | None, command: list[str], environment: dict[str, str]) -> str:
    """Run a command, note its figures, and return what it printed."""
    with tempfile.NamedTemporaryFile("r") as seen:
        done = subprocess.run(
            [sys.executable, "-S", "-E", "-c", WRAPPER, seen.name, *command],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{command[:3]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        figures = json.loads(seen.read())
    if into is not None:
        into.wall.append(figures["wall"])
        into.cpu.append(figures["cpu"])
        into.mib.append(figures["mib"])
        into.call += [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("CALL ")]
    return done.stdout


def now() -> str:
    """The time, as people read it."""
    return f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d %H:%M} UTC"


def machine() -> str:
    """What the figures are of."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.machine()} ({model}), "
        f"{os.cpu_count()} processors, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )
