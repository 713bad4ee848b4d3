"""Which ports `make run` takes: one base, everything else counted from it."""

from __future__ import annotations

import contextlib
import random
import socket
from dataclasses import asdict, dataclass

import psutil  # type: ignore[import-untyped]

LOOPBACK = "127.0.0.1"
DEFAULT_BASE = 8000
_SEAWEEDFS_GRPC_OFFSET = 10_000  # SeaweedFS's maintenance worker looks for the admin's gRPC there and nowhere else
_FREE = range(10_000, 20_000, 20)  # so far apart, and none where another's admin gRPC is
_keepers: list[socket.socket] = []


class PortTakenError(Exception):
    """Another process listens where we want to."""


@dataclass(frozen=True)
class Ports:
    """Every port that a stack opens, all on 127.0.0.1: from `master` on inner to SeaweedFS, the last to SAM."""

    api: int
    s3: int
    dynamodb: int
    lambda_api: int
    master: int
    volume: int
    filer: int
    admin: int
    master_grpc: int
    volume_grpc: int
    filer_grpc: int
    s3_grpc: int
    start_lambda: int

    @property
    def admin_grpc(self) -> int:
        """SeaweedFS derives this one itself."""
        return self.admin + _SEAWEEDFS_GRPC_OFFSET

    @classmethod
    def from_base(cls, base: int = DEFAULT_BASE) -> Ports:
        """The API on `base`, S3 on the next, DynamoDB on the one after, and so on."""
        count = len(cls.__dataclass_fields__)
        if not 1024 <= base <= 65_535 - _SEAWEEDFS_GRPC_OFFSET - count:
            raise ValueError(f"the port must be between 1024 and {65_535 - _SEAWEEDFS_GRPC_OFFSET - count}, not {base}")
        return cls(*range(base, base + count))

    @classmethod
    def free(cls) -> Ports:
        """Ports that nobody uses now, and that no other process gets here as long as this one lives; below the range
        from which systems take the ports of outgoing connections."""
        firsts = list(_FREE)
        random.shuffle(firsts)
        for first in firsts:
            keeper, ports = socket.socket(), cls.from_base(first + 1)
            with contextlib.suppress(OSError):
                keeper.bind((LOOPBACK, first))  # the system lets one alone
                if not ports.taken():
                    _keepers.append(keeper)
                    return ports
            keeper.close()
        raise PortTakenError(f"none of {len(firsts)} runs of ports is free")

    def named(self) -> dict[str, int]:
        """Each port with what it is for."""
        return {**asdict(self), "admin_grpc": self.admin_grpc}

    def taken(self) -> dict[str, int]:
        """Those of our ports on which somebody listens."""
        return {name: port for name, port in self.named().items() if _is_taken(port)}

    def require_free(self) -> None:
        """Raise PortTakenError with the port, its owner where the system tells, and what to do."""
        taken = self.taken()
        if taken:
            lines = [f"  port {port} (ours for {name}) is taken by {_owner(port)}" for name, port in taken.items()]
            raise PortTakenError(
                "Some ports are taken:\n"
                + "\n".join(lines)
                + f"\nStop that program, or choose other ports, {len(self.named()) - 1} in a row: "
                + f"MODELKEEP_PORT={self.api + 100} make run"
            )


def _is_taken(port: int) -> bool:
    """True if a bind fails, or a connection succeeds: macOS lets one bind below somebody's wildcard address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _owner(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:  # macOS shows other processes' sockets to root only
        pass
    return "another program"
