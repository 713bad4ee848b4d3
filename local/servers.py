"""The embedded servers: SeaweedFS as S3 and DynamoDB Local as DynamoDB, started side by side."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any

from local import jars
from local.children import Child, kill_leftovers
from local.data_folder import DataFolder, write_private
from local.ports import LOOPBACK, Ports

BUCKET = "modelkeep"
TABLE = "modelkeep"
REGION = "us-east-1"
_PROJECT = Path(__file__).parent.parent
_READY_TIMEOUT_SECONDS = 90
_READY_POLL_SECONDS = 0.05
_STILL_WAITING_SECONDS = 5
_RESTARTS_PER_MINUTE = 3  # a server that dies more often than that has a reason that a restart does not cure
# What a shell may have set for real AWS and what would win over, or mix with, our own.
_FOREIGN_VARIABLES = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)


class StackError(Exception):
    """A server did not start, or does not stay."""


class Stack:
    """Both servers over one data folder. A context manager: `with Stack(folder, Ports.free()) as stack: …`."""

    def __init__(self, data: Path, ports: Ports | None = None) -> None:
        self.data = DataFolder(data)
        self.ports = ports or Ports.from_base()
        self._children: list[Child] = []
        self._restarts: dict[str, deque[float]] = {}

    def start(self) -> None:
        """Start both and wait until both answer."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start both without waiting: what else the caller prepares runs meanwhile."""
        archives = jars.jar_folder()
        self.data.lock()
        try:
            kill_leftovers(self.data.path)
            self.ports.require_free()
            shutil.rmtree(self.data.folder("tmp"))  # what a killed run was spooling
            self._children = [self._seaweedfs(), self._dynamodb(archives)]
            for child in self._children:
                child.log.unlink(missing_ok=True)  # logs are of this run
                child.start()
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Return once an object can be put and tables can be listed; raise StackError, with the log, if not."""
        try:
            s3, dynamodb = self._client("s3"), self._client("dynamodb")
            self._wait_for(self._children[1], lambda: dynamodb.list_tables(Limit=1))
            self._wait_for(self._children[0], lambda: _put_probe(s3))
        except BaseException:
            self.stop()
            raise

    def restart_dead(self) -> list[str]:
        """Start again what has died; returns a message each. Call it now and then, from the thread that started us."""
        messages = []
        for child in self._children:
            if child.is_running():
                continue
            recent = self._restarts.setdefault(child.name, deque(maxlen=_RESTARTS_PER_MINUTE))
            if len(recent) == _RESTARTS_PER_MINUTE and time.monotonic() - recent[0] < 60:
                raise StackError(f"{child.name} dies again and again. The end of {child.log}:\n{child.log_tail()}")
            recent.append(time.monotonic())
            messages.append(
                f"{child.name} has died (exit status {child.exit_status}) and is started again. "
                f"The end of {child.log}:\n{child.log_tail()}"
            )
            self._forget_options()
            child.start()
        return messages

    def stop(self) -> None:
        """End both and give ports and data folder back."""
        for child in self._children:
            child.kill()
        self._children = []
        for name in ("master", "volume", "filer", "s3", "admin"):  # sockets that SeaweedFS leaves behind
            port = self.ports.named()[f"{name}_grpc"]
            Path(f"/tmp/seaweedfs-{name}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108
        self.data.unlock()

    def pids(self) -> dict[str, int | None]:
        """The servers' process ids by name (`seaweedfs`, `dynamodb`), for tests that kill them."""
        return {child.name: child.pid for child in self._children}

    def environment(self) -> dict[str, str]:
        """The variables with which the registry and boto3 find these servers."""
        credentials = self.data.credentials()
        no_proxy = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or "", LOOPBACK, "localhost"]
        return {
            "AWS_ENDPOINT_URL_S3": f"http://{LOOPBACK}:{self.ports.s3}",
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://{LOOPBACK}:{self.ports.dynamodb}",
            "AWS_ENDPOINT_URL_LAMBDA": f"http://{LOOPBACK}:{self.ports.lambda_api}",
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": ",".join(filter(None, no_proxy)),
            "no_proxy": ",".join(filter(None, no_proxy)),
            "REGISTRY_BUCKET": BUCKET,
            "REGISTRY_TABLE": TABLE,
            "REGISTRY_AUTHENTICATION": "off",
            # API Gateway's limits do not hold here: no size is refused, all bytes are answered without a redirect.
            "REGISTRY_REQUEST_LIMIT_BYTES": "0",
            "REGISTRY_INLINE_LIMIT_BYTES": "0",
            "REGISTRY_WAIT_SECONDS": "0",
            # One process works here: a lease is only in the way after a crash, and a restart goes on within a minute.
            "REGISTRY_LEASE_SECONDS": "20",
            "REGISTRY_RECHECK_SECONDS": "15",
            "TMPDIR": str(self.data.folder("tmp")),
        }

    def __enter__(self) -> Stack:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _client(self, service: str) -> Any:
        import boto3
        from botocore.config import Config

        environment = self.environment()
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=environment[f"AWS_ENDPOINT_URL_{service.upper()}"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
            config=Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 1}, proxies={}),
        )

    def _wait_for(self, child: Child, probe: Any) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        started = time.monotonic()
        said = started
        while True:
            try:
                probe()
                return
            except (BotoCoreError, ClientError) as exc:
                waited = time.monotonic() - started
                if not child.is_running():
                    raise StackError(
                        f"{child.name} ended at once. The end of {child.log}:\n{child.log_tail()}"
                    ) from exc
                if waited > _READY_TIMEOUT_SECONDS:
                    raise StackError(
                        f"{child.name} does not answer after {waited:.0f} s ({exc}). "
                        f"The end of {child.log}:\n{child.log_tail()}"
                    ) from exc
            if time.monotonic() - said > _STILL_WAITING_SECONDS:
                said = time.monotonic()
                print(f"  still waiting for {child.name} ({said - started:.0f} s)…", flush=True)
            time.sleep(_READY_POLL_SECONDS)

    def _forget_options(self) -> None:
        # SeaweedFS writes its options here and reads them back at the next start, old ports among them.
        (self.data.folder("s3") / "mini.options").unlink(missing_ok=True)

    def _seaweedfs(self) -> Child:
        self._forget_options()
        credentials = self.data.credentials()
        identity = {
            "name": "modelkeep",
            "credentials": [{"accessKey": credentials.access_key, "secretKey": credentials.secret_key}],
            "actions": ["Admin"],
        }
        configuration = self.data.path / "s3.json"
        write_private(configuration, json.dumps({"identities": [identity]}))
        run = self.data.folder("run")
        for socket_file in run.glob("*.sock"):
            socket_file.unlink()
        ports = self.ports
        command = [
            weed(),
            "-logtostderr=true",
            "mini",
            f"-dir={self.data.folder('s3')}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            "-disableHttp",  # master and filer answer gRPC only: a web page could post to their HTTP ports
            "-master.telemetry=false",
            # The volumes say what the master must know; resuming its own log makes one start in six wait 5 to 15 s.
            "-master.resumeState=false",
            "-master.electionTimeout=500ms",  # with the default, a restart over existing data takes 12 to 20 s
            "-master.heartbeatInterval=50ms",
            *(
                f"-{part}.{kind}={port}"
                for part in ("master", "volume", "filer", "s3", "admin")
                for kind, port in (
                    ("port", ports.named()[part]),
                    ("port.grpc", ports.named()[f"{part}_grpc"]),
                )
            ),
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
        environment = self._child_environment() | {"GOMEMLIMIT": "300MiB"}  # without: 3.2 GB in a large upload
        return Child("seaweedfs", command, folder=self.data.path, environment=environment)

    def _dynamodb(self, archives: Path) -> Child:
        options = [f"--port={self.ports.dynamodb}", f"--data={self.data.folder('dynamodb')}", f"--jars={archives}"]
        environment = self._child_environment() | {"PYTHONPATH": str(_PROJECT)}
        return Child(
            "dynamodb",
            [sys.executable, "-m", "local.dynamodb_local", *options],
            folder=self.data.path,
            environment=environment,
        )

    def _child_environment(self) -> dict[str, str]:
        # HOME is ours, so that no configuration file of the user's changes a server.
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.data.path),
            "TMPDIR": str(self.data.folder("tmp")),
            "LANG": "C.UTF-8",
        }


def apply_environment(environment: dict[str, str]) -> None:
    """Set the variables in this process and take away those that would lead elsewhere."""
    for name in _FOREIGN_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(environment)


def weed() -> str:
    """SeaweedFS's program: beside this Python, as pip puts it, or on the PATH."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise StackError("SeaweedFS (`weed`) is not installed. `make run` installs it: requirements/local.txt")
    return found


def _put_probe(s3: Any) -> None:
    """Put an object and take it away: SeaweedFS answers listings some seconds before it can store."""
    try:
        s3.put_object(Bucket=BUCKET, Key="modelkeep/probe", Body=b"ready")
    except s3.exceptions.NoSuchBucket:
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="modelkeep/probe", Body=b"ready")
    s3.delete_object(Bucket=BUCKET, Key="modelkeep/probe")
