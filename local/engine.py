"""The container engine that SAM runs functions in: is it there, and how does a container reach this machine?"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from local.ports import LOOPBACK

_DESKTOP_HOST = "host.docker.internal"  # Docker Desktop leads it to this machine's loopback
_CHUNK = 256 * 1024
_SAM_LABEL = "label=sam.cli.container.type=lambda"


class EngineError(Exception):
    """No container engine answers; the text says what to do."""


def docker(*arguments: str) -> str:
    """What a docker command prints. EngineError, with what it says, if it fails."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise EngineError(
            "`make local` needs Docker (https://docs.docker.com/get-docker); `make run` does not"
        ) from None
    if done.returncode != 0:
        raise EngineError(
            f"Docker does not answer: {done.stderr.strip() or done.stdout.strip()}\n"
            "Start it and try again; `make run` needs none."
        )
    return done.stdout


def host_of_containers() -> str:
    """The address by which a container reaches this machine. EngineError."""
    if sys.platform != "linux" or "Docker Desktop" in json.loads(
        docker("info", "--format", "{{json .OperatingSystem}}")
    ):
        return _DESKTOP_HOST
    for entry in json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"] or ():
        if "." in entry.get("Gateway", ""):
            return str(entry["Gateway"])
    raise EngineError("Docker's network `bridge` has no IPv4 gateway, by which containers could reach this machine.")


def has_compose() -> bool:
    """Whether `docker compose` is there."""
    with contextlib.suppress(EngineError):
        return bool(docker("compose", "version"))
    return False


def containers(build: Path) -> dict[str, str]:
    """The containers that SAM runs from a build folder: their ids, and each one's folder in it (a logical id)."""
    found = {}
    for container in docker("ps", "--quiet", "--no-trunc", "--filter", _SAM_LABEL).split():
        for mount in json.loads(docker("inspect", container))[0]["Mounts"]:
            folder = Path(mount["Source"])
            if folder.parent == build:
                found[container] = folder.name
    return found


def remove_containers(build: Path) -> None:
    """Remove those: SAM leaves them when it is killed."""
    with contextlib.suppress(EngineError):
        if left := containers(build):
            docker("rm", "--force", *left)


class Relay:
    """Passes connections that containers make to `host` on to this machine's loopback, for some ports: our servers
    listen there alone. The address is the engine's own; a machine beside this one gets in by it only where it has been
    given a route to there. Docker Desktop needs none of it."""

    def __init__(self, host: str, ports: list[int]) -> None:
        self._sockets: list[socket.socket] = []
        self._closing = False
        if host == _DESKTOP_HOST:
            return
        for port in ports:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # The engine makes its bridge with the first container and removes it with the last (Linux, ip(7)).
            listener.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_FREEBIND", 15), 1)
            listener.bind((host, port))
            listener.listen(64)
            self._sockets.append(listener)
            threading.Thread(target=self._accept, args=(listener, port), name=f"relay-{port}", daemon=True).start()

    def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                inner, _ = listener.accept()
            except OSError:
                if self._closing:
                    return
                time.sleep(0.1)  # too many open files, say: that passes
                continue
            try:
                outer = socket.create_connection((LOOPBACK, port), timeout=5)
            except OSError:
                inner.close()
                continue
            outer.settimeout(None)
            for source, target in ((inner, outer), (outer, inner)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_pump, args=(source, target), name=f"relay-{port}", daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._closing = True
        for listener in self._sockets:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._sockets = []

    def __enter__(self) -> Relay:
        """It listens already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    buffer: Any = bytearray(_CHUNK)
    view = memoryview(buffer)
    with contextlib.suppress(OSError):
        while count := source.recv_into(buffer):
            target.sendall(view[:count])
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
