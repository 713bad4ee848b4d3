"""Work done in a process of its own, which measures it: time, processor, memory above idle, disk, bytes to the store.

`idle` is the process with its imports done and its connections open, as a function is between two calls.
Linux alone, as the figures come from /proc.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent
_PREFIX = "USAGE "
_SAMPLE_SECONDS = 0.01
_FUNCTIONS_SHOWN = 8


@dataclass
class Usage:
    """What one piece of work took. `down` and `up`: bytes from and to the store, headers included."""

    wall: float
    cpu: float
    mb: float  # the largest resident size, less the idle one
    written: int  # bytes to disk
    down: int
    up: int
    store: float = 0.0  # processor seconds of the store meanwhile
    profile: dict[str, float] = field(default_factory=dict)  # processor seconds by function, if asked for


def run(job: str, arguments: Mapping[str, object], environment: Mapping[str, str], *, profile: bool = False) -> Usage:
    """Runs `module:function` of this folder in a fresh process. The function gets the arguments, prepares, and returns
    what is measured."""
    how = "profile" if profile else ""
    command = [sys.executable, "-m", "benchmarks.workers", job, json.dumps(arguments), how]
    paths = os.pathsep.join(str(PROJECT / each) for each in (".", "layers/registry"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "REGISTRY_"))}
    done = subprocess.run(command, env={**kept, **environment, "PYTHONPATH": paths}, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith(_PREFIX)]
    if done.returncode or not lines:
        raise SystemExit(f"{job} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return Usage(**json.loads(lines[-1].removeprefix(_PREFIX)))


def median(seen: list[Usage]) -> Usage:
    """Each figure's median."""
    names = [each.name for each in fields(Usage) if each.name != "profile"]
    return Usage(**{name: statistics.median(getattr(each, name) for each in seen) for name in names})


def measure(work: Callable[[], object], port: int) -> Usage:
    """Does the work and says what it took."""
    passed = count_bytes(port)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    idle, disk, cpu, began = _status("VmRSS"), _written(), _cpu(), time.perf_counter()
    work()
    wall = time.perf_counter() - began
    return Usage(
        wall=wall,
        cpu=_cpu() - cpu,
        mb=(_status("VmHWM") - idle) * 1024 / 1e6,
        written=_written() - disk,
        down=passed["down"],
        up=passed["up"],
    )


def sample(work: Callable[[], object]) -> dict[str, float]:
    """Does the work; processor seconds by the Python function that was innermost when a thread was looked at."""
    spent: dict[str, float] = defaultdict(float)
    before: dict[int, int] = {}
    done = threading.Event()

    def look() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            frames = sys._current_frames()
            for thread in threading.enumerate():
                frame = frames.get(thread.ident or 0)
                if frame is None or thread is threading.current_thread():
                    continue
                try:
                    now = int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0])
                except OSError:  # it has ended
                    continue
                name = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
                spent[name] += (now - before.get(thread.native_id or 0, now)) / 1e9
                before[thread.native_id or 0] = now

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    work()
    done.set()
    thread.join()
    most = sorted(spent.items(), key=lambda each: -each[1])[:_FUNCTIONS_SHOWN]
    return {name.replace("__main__.count_bytes.<locals>.counted", "socket"): seconds for name, seconds in most}


def count_bytes(port: int) -> Counter[str]:
    """From now on what Python's sockets move from and to a port of this machine is counted."""
    passed: Counter[str] = Counter()
    receive, send = socket.socket.recv_into, socket.socket.sendall

    def counted_receive(self: socket.socket, *arguments: Any) -> int:
        count = receive(self, *arguments)
        if _port(self) == port:
            passed["down"] += count
        return count

    def counted_send(self: socket.socket, data: Any, *arguments: Any) -> None:
        send(self, data, *arguments)
        if _port(self) == port:
            passed["up"] += memoryview(data).nbytes

    socket.socket.recv_into, socket.socket.sendall = counted_receive, counted_send  # type: ignore
    return passed


def _port(connection: socket.socket) -> int | None:
    try:
        return int(connection.getpeername()[1])
    except (OSError, IndexError):
        return None


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _written() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    """The process."""
    module, _, name = sys.argv[1].partition(":")
    work = getattr(importlib.import_module(f"benchmarks.{module}"), name)(**json.loads(sys.argv[2]))
    port = int(os.environ["AWS_ENDPOINT_URL_S3"].rsplit(":", 1)[1])
    profile: dict[str, float] = {}
    wanted = sys.argv[3] == "profile"
    usage = measure((lambda: profile.update(sample(work))) if wanted else work, port)
    usage.profile = profile
    print(_PREFIX + json.dumps(asdict(usage)), flush=True)
    os._exit(0)  # threads that serve us must not keep the process


if __name__ == "__main__":
    main()
