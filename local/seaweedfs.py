"""SeaweedFS as S3: the store of `make run`, one static program from PyPI."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from local.children import Child
from local.data_folder import DataFolder, write_private
from local.ports import LOOPBACK, Ports

PARTS = ("master", "volume", "filer", "s3", "admin")


class ProgramMissingError(Exception):
    """A store's program is not installed; the text says how to get it."""


class SeaweedFS:
    """One node of it, on loopback alone."""

    name = "seaweedfs"
    folder = "s3"
    digests_by = "reading"  # it takes twice as long to copy with a digest (docs/stores.md)
    put_credentials = "own"

    def __init__(self, data: DataFolder, ports: Ports) -> None:
        self._data = data
        self._ports = ports

    def create_child(self, environment: dict[str, str]) -> Child:
        """The process, not yet started."""
        self.prepare()
        credentials = self._data.credentials()
        identity = {
            "name": "modelkeep",
            "credentials": [{"accessKey": credentials.access_key, "secretKey": credentials.secret_key}],
            "actions": ["Admin"],
        }
        configuration = self._data.path / "s3.json"
        write_private(configuration, json.dumps({"identities": [identity]}))
        for socket_file in self._data.folder("run").glob("*.sock"):
            socket_file.unlink()
        ports = self._ports.named()
        command = [
            weed(),
            "-logtostderr=true",
            "mini",
            f"-dir={self._data.folder(self.folder)}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            "-disableHttp",  # master and filer answer gRPC only: a web page could post to their HTTP ports
            "-master.telemetry=false",
            # The volumes say what the master must know; resuming its own log makes one start in six wait 5 to 15 s.
            "-master.resumeState=false",
            "-master.electionTimeout=500ms",  # with the default, a restart over existing data takes 12 to 20 s
            "-master.heartbeatInterval=50ms",
            *(f"-{part}.port={ports[part]}" for part in PARTS),
            *(f"-{part}.port.grpc={ports[f'{part}_grpc']}" for part in PARTS),
            f"-s3.config={configuration}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",
            "-s3.localSocket=run/s3.sock",  # relative to the data folder: a socket's path may have 104 bytes at most
            "-s3.localFilerSocket=run/filer.sock",
            "-filer.localSocket=run/filer.sock",
            "-webdav=false",
            "-admin.ui=false",
        ]
        # Without the limit: 3.2 GB in a large upload. With 300 MiB half of its time went into collecting garbage.
        return Child(self.name, command, folder=self._data.path, environment={**environment, "GOMEMLIMIT": "768MiB"})

    def prepare(self) -> None:
        """Before every start: it writes its options here and reads them back, old ports among them."""
        (self._data.folder(self.folder) / "mini.options").unlink(missing_ok=True)

    def clean_up(self) -> None:
        """After the end: sockets that it leaves behind."""
        for part in PARTS:
            port = self._ports.named()[f"{part}_grpc"]
            Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108


def weed() -> str:
    """SeaweedFS's program: beside this Python, as pip puts it, or on the PATH."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise ProgramMissingError("SeaweedFS (`weed`) is not installed. `make run` installs it: requirements/local.txt")
    return found
