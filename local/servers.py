"""The embedded servers: SeaweedFS or MinIO as S3, and DynamoDB Local as DynamoDB, started side by side."""

from __future__ import annotations

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
from local.data_folder import DataFolder
from local.minio import MinIO, ask_for_events
from local.ports import LOOPBACK, Ports
from local.seaweedfs import SeaweedFS

BUCKET = "modelkeep"
INBOX = "modelkeep/uploads/"
TABLE = "modelkeep"
REGION = "us-east-1"
STORES: dict[str, type[SeaweedFS] | type[MinIO]] = {kind.name: kind for kind in (SeaweedFS, MinIO)}
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

    def __init__(self, data: Path, ports: Ports | None = None, *, store: str = SeaweedFS.name) -> None:
        self.data = DataFolder(data)
        self.ports = ports or Ports.from_base()
        self.store = STORES[store](self.data, self.ports)
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
            self._require_one_store()
            kill_leftovers(self.data.path)
            self.ports.require_free()
            shutil.rmtree(self.data.folder("tmp"))  # what a killed run was spooling
            self._children = [self.store.create_child(self._child_environment()), self._dynamodb(archives)]
            for child in self._children:
                child.log.unlink(missing_ok=True)  # logs are of this run
                child.start()
        except BaseException:
            self.stop()
            raise

    def _require_one_store(self) -> None:
        """What the table names lies in one store: another one over the same folder would have none of it."""
        for kind in STORES.values():
            if kind is not type(self.store) and (self.data.path / kind.folder).exists():
                raise StackError(
                    f"The data folder {self.data.path} belongs to a registry on {kind.name}, not {self.store.name}.\n"
                    f"Choose another one: MODELKEEP_DATA=.modelkeep-{self.store.name}"
                )

    def wait(self) -> None:
        """Return once an object can be put and tables can be listed; raise StackError, with the log, if not."""
        try:
            s3, dynamodb = self._client("s3"), self._client("dynamodb")
            store, table = self._children or (None, None)
            self._wait_for("DynamoDB", table, lambda: dynamodb.list_tables(Limit=1))
            self._wait_for("S3", store, lambda: _put_probe(s3))
            if isinstance(self.store, MinIO):
                ask_for_events(s3, BUCKET, INBOX)
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
            self.store.prepare()
            child.start()
        return messages

    def stop(self) -> None:
        """End both and give ports and data folder back; nothing where the folder is another's."""
        if not self.data.is_locked:
            return
        for child in self._children:
            child.kill()
        self._children = []
        self.store.clean_up()
        self.data.unlock()

    def pids(self) -> dict[str, int | None]:
        """The servers' process ids by name (`seaweedfs` or `minio`, `dynamodb`), for tests that kill them."""
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
            "REGISTRY_DIGESTS_BY": self.store.digests_by,
            "REGISTRY_PUT_CREDENTIALS": self.store.put_credentials,
            # One process works here: a lease is only in the way after a crash, and a restart goes on within a minute.
            "REGISTRY_LEASE_SECONDS": "20",
            "REGISTRY_RECHECK_SECONDS": "15",
            # Functions are threads of one process here: shares of an archive would only be in each other's way.
            "REGISTRY_UNPACK_SHARES": "1",
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

    def _wait_for(self, name: str, child: Child | None, probe: Any) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        started = time.monotonic()
        said = started
        while True:
            try:
                probe()
                return
            except (BotoCoreError, ClientError) as exc:
                waited = time.monotonic() - started
                end = f"The end of {child.log}:\n{child.log_tail()}" if child else "See `docker compose logs`."
                if child is not None and not child.is_running():
                    raise StackError(f"{child.name} ended at once. {end}") from exc
                if waited > _READY_TIMEOUT_SECONDS:
                    raise StackError(f"{name} does not answer after {waited:.0f} s ({exc}). {end}") from exc
            if time.monotonic() - said > _STILL_WAITING_SECONDS:
                said = time.monotonic()
                print(f"  still waiting for {name} ({said - started:.0f} s)…", flush=True)
            time.sleep(_READY_POLL_SECONDS)

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


def _put_probe(s3: Any) -> None:
    """Put an object and take it away: SeaweedFS answers listings some seconds before it can store."""
    try:
        s3.put_object(Bucket=BUCKET, Key="modelkeep/probe", Body=b"ready")
    except s3.exceptions.NoSuchBucket:
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="modelkeep/probe", Body=b"ready")
    s3.delete_object(Bucket=BUCKET, Key="modelkeep/probe")
