"""MinIO as S3: what many run already. Its program comes from the PATH, or is built once with Go."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

from local.children import Child
from local.data_folder import DataFolder
from local.ports import LOOPBACK, Ports
from local.seaweedfs import ProgramMissingError

# The last version before the archive; no registry has it as a program, so it is built (about 3 minutes on 2 cores).
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
TARGET = "MODELKEEP"  # MinIO's name for where its events go
EVENTS_PATH = "/events"
_CACHE = Path(__file__).parent.parent / ".cache"


class MinIO:
    """One node of it, on loopback alone. Its events go to `POST /events` on the port of our Lambda API."""

    name = "minio"
    folder = "minio"
    digests_by = "store"
    put_credentials = "inbox"  # it obeys headers that were not signed (docs/stores.md)

    def __init__(self, data: DataFolder, ports: Ports) -> None:
        self._data = data
        self._ports = ports

    def create_child(self, environment: dict[str, str]) -> Child:
        """The process, not yet started."""
        credentials = self._data.credentials()
        ours = {
            "MINIO_ROOT_USER": credentials.access_key,
            "MINIO_ROOT_PASSWORD": credentials.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",  # it would ask the internet for a newer version
            f"MINIO_NOTIFY_WEBHOOK_ENABLE_{TARGET}": "on",
            f"MINIO_NOTIFY_WEBHOOK_ENDPOINT_{TARGET}": f"http://{LOOPBACK}:{self._ports.lambda_api}{EVENTS_PATH}",
            f"MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_{TARGET}": credentials.secret_key,
            # With a folder events survive while nobody listens; they are then delivered every three seconds.
            f"MINIO_NOTIFY_WEBHOOK_QUEUE_DIR_{TARGET}": str(self._data.folder("minio-events")),
        }
        command = [program(), "server", str(self._data.folder(self.folder)), f"--address={LOOPBACK}:{self._ports.s3}"]
        return Child(self.name, command, folder=self._data.path, environment={**environment, **ours})

    def prepare(self) -> None:
        """Nothing has to be done before a start."""

    def clean_up(self) -> None:
        """Nothing is left behind."""


def ask_for_events(s3: Any, bucket: str, prefix: str) -> None:
    """Have the bucket tell our target of every object that is made below the prefix."""
    rule = {"Name": "prefix", "Value": prefix}
    queue = {
        "QueueArn": f"arn:minio:sqs::{TARGET}:webhook",
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [rule]}},
    }
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [queue]})


def event_of(body: dict[str, Any], *, region: str) -> dict[str, Any]:
    """What MinIO posts, as the event that S3 would send: other names, and keys escaped with their slashes."""
    records = []
    for record in body["Records"]:
        entry = record["s3"]["object"]
        key = urllib.parse.quote_plus(urllib.parse.unquote_plus(entry["key"]), safe="/")
        records.append(
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": region,
                "eventTime": record["eventTime"],
                "eventName": record["eventName"].removeprefix("s3:"),
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "bucket": {name: record["s3"]["bucket"][name] for name in ("name", "arn")},
                    "object": {
                        "key": key,
                        "size": entry.get("size", 0),
                        "eTag": entry.get("eTag", ""),
                        "sequencer": entry["sequencer"],
                    },
                },
            }
        )
    return {"Records": records}


def built_program() -> Path:
    """Where `make minio` puts it."""
    cache = Path(os.environ.get("MODELKEEP_CACHE") or _CACHE).absolute()
    return cache / f"minio-{VERSION}" / "minio"


def program() -> str:
    """MinIO's program: on the PATH, or the one that was built."""
    found = shutil.which("minio") or (str(built_program()) if built_program().exists() else None)
    if not found:
        raise ProgramMissingError(
            "MinIO (`minio`) is not installed: put it on the PATH, or let `make minio` build it (Go 1.24 or newer)."
        )
    return found


def build() -> Path:
    """Build it, unless it is there. ProgramMissingError where there is no Go."""
    path = built_program()
    if path.exists():
        return path
    if not shutil.which("go"):
        raise ProgramMissingError(
            "MinIO is built with Go 1.24 or newer, and there is no `go` on the PATH. Install it (https://go.dev/dl), "
            "or put a `minio` on the PATH."
        )
    print(f"Building MinIO {VERSION} (once; about three minutes)…", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(path.parent)}
    command = ["go", "install", "-trimpath", "-ldflags", "-s -w", f"github.com/minio/minio@{VERSION}"]
    try:
        subprocess.run(command, env=environment, check=True)
    except subprocess.CalledProcessError as exc:
        raise ProgramMissingError(f"MinIO could not be built ({exc}). Is Go 1.24 or newer?") from exc
    return path


def main() -> None:
    """`python -m local.minio`: build it if need be, and say where it is."""
    try:
        print(shutil.which("minio") or build())
    except ProgramMissingError as exc:
        raise SystemExit(str(exc)) from exc


if __name__ == "__main__":
    main()
