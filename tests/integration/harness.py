"""What the integration tests share: a process that can be watched and killed at any call, a clock that can be moved,
and a look at all that is really there."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from registry import naming
from registry.auth import ANYBODY
from registry.schemas.answers import Metadata
from registry.schemas.forms import FolderForm, SingleForm
from registry.schemas.requests import VersionFields
from registry.schemas.starting import StartUpload

T = TypeVar("T")
MIB = 1024 * 1024
WRITES = {
    *("PutObject", "DeleteObject", "DeleteObjects", "CopyObject", "CreateMultipartUpload", "UploadPart"),
    *("UploadPartCopy", "CompleteMultipartUpload", "AbortMultipartUpload"),
    *("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"),
    "Invoke",
}
TABLE_CALLS = {
    *("GetItem", "Query", "BatchGetItem"),
    *("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"),
}


class DiedError(BaseException):
    """The process was killed here: no cleanup that makes a call gets any further."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the n-th call, or the n-th that writes: the process dies before it; the server refuses it,
    however often it is tried; or does it, and the answer never comes."""

    at: int
    how: Literal["die", "refuse", "lose"] = "die"
    writes: bool = False


def refusal(operation: str) -> ClientError:
    """How a server that is too busy says so, after botocore's last try."""
    code, status = ("SlowDown", 503)
    if operation in TABLE_CALLS:
        code, status = ("ProvisionedThroughputExceededException", 400)
    elif operation == "Invoke":
        code, status = ("TooManyRequestsException", 429)
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 4}
    return ClientError({"Error": {"Code": code, "Message": "busy"}, "ResponseMetadata": metadata}, operation)  # type: ignore[typeddict-item]


class Process:
    """The calls that this process makes to S3, DynamoDB and Lambda; something goes wrong with the n-th one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, started: list[Any]) -> None:
        from botocore.client import BaseClient
        from registry import tasks

        self.operations: list[str] = []
        self.consumed = 0.0
        self.calls = self.writes = 0
        self.dead = False
        self.struck: str | None = None  # the call that the fault hit
        self._fault: Fault | None = None
        self._watched = False
        self._before: Callable[[str, dict[str, Any]], None] | None = None
        self._after_write: Callable[[], None] | None = None
        self._lock = threading.RLock()
        self._unwatched = threading.local()
        original = BaseClient._make_api_call

        def make_call(client: Any, operation: str, arguments: Any) -> Any:
            if not self._watched or getattr(self._unwatched, "yes", False):
                return original(client, operation, arguments)
            if (look := self._before) is not None:
                look(operation, arguments)
            lost = self._note(operation)
            if operation in TABLE_CALLS:
                arguments = {"ReturnConsumedCapacity": "TOTAL", **arguments}
            answer = original(client, operation, arguments)
            self._count(answer)
            if self.dead:
                raise DiedError(operation)
            if lost:
                raise ConnectionClosedError(endpoint_url=operation)
            if operation in WRITES and (after := self._after_write) is not None:
                with self.unwatched():
                    after()
            return answer

        def start(name: str, event: dict[str, Any]) -> None:
            lost = self._watched and self._note("Invoke")
            started.append((name, event))
            if lost:
                raise ConnectionClosedError(endpoint_url="Invoke")

        monkeypatch.setattr(BaseClient, "_make_api_call", make_call)
        monkeypatch.setattr(tasks, "start_function", start)

    def _note(self, operation: str) -> bool:
        """Counts a call; whether its answer is to be lost."""
        with self._lock:
            if self.dead:
                raise DiedError(operation)
            self.calls += 1
            self.writes += operation in WRITES
            fault = self._fault
            if fault is not None and self.struck is None and fault.at == (self.writes if fault.writes else self.calls):
                self.struck = operation
                if fault.how == "die":
                    self.dead = True
                    raise DiedError(operation)
                if fault.how == "refuse":
                    raise refusal(operation)
                self.operations.append(operation)
                return True
            self.operations.append(operation)
            return False

    def _count(self, answer: Any) -> None:
        told = answer.get("ConsumedCapacity") if isinstance(answer, dict) else None
        with self._lock:
            for each in told if isinstance(told, list) else [told] if told else []:
                self.consumed += each.get("CapacityUnits", 0.0)

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Calls of this thread that are not the process's own."""
        self._unwatched.yes = True
        try:
            yield
        finally:
            self._unwatched.yes = False

    @contextmanager
    def watched(
        self,
        *,
        fault: Fault | None = None,
        before: Callable[[str, dict[str, Any]], None] | None = None,
        after_write: Callable[[], None] | None = None,
    ) -> Iterator[Process]:
        """Counts the calls made inside; `before` sees each. A process that has died makes no more, in any thread."""
        self.operations, self.consumed, self.calls, self.writes = [], 0.0, 0, 0
        self.dead, self.struck = False, None
        self._fault, self._before, self._after_write, self._watched = fault, before, after_write, True
        try:
            yield self
        finally:
            self._watched, self._fault, self._before, self._after_write = False, None, None, None

    def run_to_fault(self, work: Callable[[], Any], fault: Fault) -> bool:
        """Runs with a fault; whether it struck (False: the work came to its end before)."""
        with self.watched(fault=fault):
            try:
                work()
            except BaseException:  # what the work, or an error handler, made of it
                if self.struck is None:
                    raise
            return self.struck is not None

    def run_to_death(self, work: Callable[[], Any], at: int) -> bool:
        """Runs until the n-th write; whether it died."""
        return self.run_to_fault(work, Fault(at, writes=True))

    def stall(self, work: Callable[[], T], operation: str, meanwhile: Callable[[], Any], *, key: str = "") -> T:
        """Runs, but stops for as long as it takes others to act, right before it first makes this call (of this key).
        What `meanwhile` raises is raised here too."""
        stopped = threading.Event()
        failures: list[BaseException] = []

        def look(made: str, arguments: dict[str, Any]) -> None:
            with self._lock:
                if made != operation or not str(arguments.get("Key", "")).endswith(key) or stopped.is_set():
                    return
                stopped.set()
            with self.unwatched():
                try:
                    meanwhile()
                except BaseException as failure:
                    failures.append(failure)
                    raise

        with self.watched(before=look):
            try:
                result = work()
            finally:
                if failures:
                    raise failures[0]
        assert stopped.is_set(), f"it made no {operation}: {self.count()}"
        return result

    def interrupt(self, work: Callable[[], T], at: int, other: Callable[[], Any]) -> T | Exception:
        """Runs, and lets somebody else act right after the n-th write; the result, or the error."""

        def act() -> None:
            with self._lock:
                if self.writes < at or self._after_write is None:
                    return
                self._after_write = None
            other()

        with self.watched(after_write=act):
            try:
                return work()
            except Exception as error:  # noqa: BLE001
                return error

    def count(self) -> dict[str, int]:
        """How often each operation was called."""
        return dict(Counter(self.operations))

    def table_calls(self) -> dict[str, int]:
        """The same of DynamoDB alone."""
        return {name: times for name, times in self.count().items() if name in TABLE_CALLS}


class Clock:
    """`time.time` as everybody here sees it; S3's signatures go by another clock and stay valid."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import time

        real, self.offset = time.time, 0.0
        monkeypatch.setattr(time, "time", lambda: real() + self.offset)

    def forward(self, seconds: float) -> None:
        self.offset += seconds


@dataclass
class World:
    """One registry with a table of its own, and a user whom nobody else has."""

    user_id: str
    started: Any
    clock: Clock
    process: Process

    # -- what the servers hold ------------------------------------------------------------------------------------

    def rows(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The whole table."""
        from registry.records import Row
        from registry.settings import get_settings

        client = Row._get_connection().connection.client
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for page in client.get_paginator("scan").paginate(TableName=get_settings().table, ConsistentRead=True):
            for item in page["Items"]:
                found[item["pk"]["S"], item["sk"]["S"]] = {
                    name: next(iter(value.values())) for name, value in item.items()
                }
        return found

    def objects(self) -> list[str]:
        """Every object of the user's, wherever."""
        from registry.settings import get_settings
        from registry.storage import objects

        user = naming.escape_user_id(self.user_id)
        settings = get_settings()
        prefixes = (settings.models_prefix, settings.inbox_prefix, settings.archives_prefix)
        return [entry.key for prefix in prefixes for entry in objects.list_objects(f"{prefix}{user}/")]

    def multiparts(self) -> list[str]:
        """Every multipart upload of the user's that is still open."""
        from registry.storage.client import bucket, s3

        found = []
        for page in s3().get_paginator("list_multipart_uploads").paginate(Bucket=bucket()):
            found += [each["Key"] for each in page.get("Uploads", []) if f"/{self.user_id}/" in each["Key"]]
        return found

    # -- what callers see -----------------------------------------------------------------------------------------

    def get(self, model_id: str, version: str | None = None) -> Metadata | None:
        from registry import versions
        from registry.errors import NotFoundError

        try:
            return versions.get_model(principal=ANYBODY, user_id=self.user_id, model_id=model_id, version=version)[0]
        except NotFoundError:
            return None

    def list(self, *, query: str | None = None, limit: int = 100, skip: int = 0, **filters: Any) -> list[Metadata]:
        """All pages."""
        from registry import versions
        from registry.versions import Filters, Paging

        found: list[Metadata] = []
        cursor = None
        while True:
            page, cursor = versions.list_models(
                principal=ANYBODY,
                user_id=self.user_id,
                filters=Filters(**filters),
                paging=Paging(limit=limit, skip=skip, cursor=cursor),
                query=query,
            )
            found += page
            skip = 0
            if cursor is None:
                return found

    def versions(self, model_id: str, *, limit: int = 100) -> list[Metadata]:
        from registry import versions

        found: list[Metadata] = []
        cursor = None
        while True:
            page, cursor = versions.list_versions(
                principal=ANYBODY, user_id=self.user_id, model_id=model_id, limit=limit, cursor=cursor
            )
            found += page
            if cursor is None:
                return found

    def files(self, model_id: str, version: str) -> dict[str, str]:
        """Path and digest of each, by the paged route."""
        from registry import versions

        found: dict[str, str] = {}
        cursor = None
        while True:
            page, cursor = versions.list_files(
                principal=ANYBODY,
                user_id=self.user_id,
                model_id=model_id,
                version=version,
                limit=1_000,
                cursor=cursor,
                urls=False,
            )
            found |= {file.filename: file.file_hash for file in page}
            if cursor is None:
                return found

    def read(self, shown: Metadata) -> dict[str, bytes]:
        """The bytes of a version, as its metadata says where they are."""
        from registry.storage import objects

        return {file.filename: objects.read_range(file.file_path, 0, file.file_size) for file in shown.files}

    def verify(self, model_id: str, version: str, wanted: dict[str, bytes]) -> Metadata:
        """The version is there, whole, and its digests are those of its bytes."""
        shown = self.get(model_id, version)
        assert shown is not None, "the version is not there"
        assert {file.filename: file.file_hash for file in shown.files} == {
            path: sha256(data) for path, data in wanted.items()
        }
        assert self.read(shown) == wanted
        assert shown.file_count == len(wanted)
        assert shown.total_size == sum(map(len, wanted.values()))
        assert [each.version for each in self.list() if each.model_id == model_id].count(version) == 1
        return shown

    # -- what callers do ------------------------------------------------------------------------------------------

    def upload_single(self, model_id: str, data: bytes, *, version: str = "v1", **fields: Any) -> Metadata:
        from registry.uploads import forms

        form = SingleForm(
            **{"user_id": self.user_id, "model_id": model_id, "version": version, "name": "a name", **fields}
        )
        return forms.upload_single(
            principal=ANYBODY, form=form, filename="model.onnx", body=io.BytesIO(data), size=len(data)
        )

    def upload_folder(self, model_id: str, data: bytes, *, version: str = "v1") -> Any:
        from registry.uploads import forms

        form = FolderForm(user_id=self.user_id, model_id=model_id, version=version, name="a name")
        return forms.upload_folder(principal=ANYBODY, form=form, body=io.BytesIO(data), size=len(data))

    def start(self, model_id: str, *, version: str | None = "v1", key: str | None = None, **fields: Any) -> Any:
        from registry.uploads import starting

        request = StartUpload.model_validate(
            {"user_id": self.user_id, "model_id": model_id, "version": version, "name": "a name", **fields}
        )
        return starting.start_upload(principal=ANYBODY, request=request, idempotency_key=key)

    def start_files(
        self, model_id: str, contents: dict[str, bytes], *, version: str | None = "v1", **fields: Any
    ) -> Any:
        """Announces files, in order, without digests."""
        listed = [{"path": path, "size": len(data)} for path, data in contents.items()]
        return self.start(model_id, version=version, files=listed, **fields)

    def put_files(self, upload: Any, contents: dict[str, bytes]) -> dict[str, Any]:
        """The client's PUTs; the event that the last one raises."""
        from registry.storage import objects

        for number, data in enumerate(contents.values()):
            objects.put_object(naming.inbox_key(self.user_id, upload.upload_id, number), data)
        return event_of(naming.inbox_key(self.user_id, upload.upload_id, len(contents) - 1))

    def put_archive(self, upload: Any, data: bytes) -> dict[str, Any]:
        from registry.storage import objects

        key = naming.inbox_key(self.user_id, upload.upload_id, naming.ARCHIVE_SLOT)
        objects.put_object(key, data)
        return event_of(key)

    def receive(self, event: dict[str, Any]) -> None:
        from functions.receive_upload.app import lambda_handler

        lambda_handler(event, None)

    def update(self, model_id: str, version: str | None = "v1", **changes: Any) -> Metadata:
        from registry import versions

        return versions.update_model(
            principal=ANYBODY,
            user_id=self.user_id,
            model_id=model_id,
            version=version,
            changes=VersionFields.model_validate(changes),
            if_match=None,
        )[0]

    def delete(self, model_id: str, version: str | None = "v1", *, every: bool = False) -> Any:
        from registry import deleting

        return deleting.delete_model(
            principal=ANYBODY, user_id=self.user_id, model_id=model_id, version=version, every=every
        )

    def abort(self, upload_id: str) -> Any:
        from registry.uploads import completing

        return completing.abort_upload(principal=ANYBODY, upload_id=upload_id)

    # -- time -----------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """One sweep, and the functions that it starts."""
        from functions.sweep_uploads.app import lambda_handler

        lambda_handler({}, None)
        self.started.run()

    def recover(self, *, rounds: int = 3) -> None:
        """Leases run out, and the sweep comes by; some times."""
        self.started.run()
        for _ in range(rounds):
            self.clock.forward(130)
            self.sweep()

    def end(self) -> None:
        """Uploads expire, and everything that was put off comes due."""
        for seconds in (8 * 86_400, 7_200, 7_200):
            self.clock.forward(seconds)
            self.sweep()

    def check_hints(self) -> None:
        """What is left of hints leads nowhere, and none is missing: lists show just the versions that are ready."""
        versions = [row for (_, sk), row in self.rows().items() if sk.startswith("V#")]
        ready = [row for row in versions if row["status"] == "ready" and row["user_id"] == self.user_id]
        for active in (True, False):
            wanted = {(row["model_id"], row["version"]) for row in ready if row["active"] == active}
            listed = self.list(is_active=active)
            assert {(each.model_id, each.version) for each in listed} == wanted
            for each in listed:
                assert each in self.list(query=each.name, is_active=active, framework=each.framework)

    def check_no_work(self) -> None:
        """Nothing unfinished is on record, but what is only to be looked at once more."""
        left = [row for (pk, _), row in self.rows().items() if pk.startswith("WK#") and row["kind"] != "purge"]
        assert not left

    def check_clean(self) -> None:
        """After the end: every row belongs to a version that is ready, is a hint, or has a time to live; and so does
        every object."""
        rows = self.rows()
        ready = {
            row["upload_id"]: row for (_, sk), row in rows.items() if sk.startswith("V#") and row["status"] == "ready"
        }
        strange = []
        for (pk, sk), row in rows.items():
            kind = pk.split("#")[0]
            if kind == "M":
                fine = sk == "#" or row["status"] == "ready" or (row["status"] == "gone" and "expires" in row)
            elif kind == "F":
                fine = pk[2:] in ready
            elif kind == "D":
                fine = sk in ready
            elif kind in ("A", "I"):
                fine = "expires" in row
                if kind == "A" and sk == "#":
                    fine = fine and row["status"] in ("ready", "failed", "aborted")
            else:
                fine = kind in ("P", "W")  # hints: `check_hints`
            if not fine:
                strange.append((pk, sk, row.get("status"), row.get("kind")))
        assert not strange
        prefixes = tuple(row["prefix"] for row in ready.values())
        assert [key for key in self.objects() if not (prefixes and key.startswith(prefixes))] == []
        self.check_hints()
        assert self.multiparts() == []


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def event_of(key: str) -> dict[str, Any]:
    """The event as S3 would send it, as far as anybody reads it."""
    from urllib.parse import quote_plus

    return {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"object": {"key": quote_plus(key, safe="/")}}}]}


def make_zip(contents: dict[str, bytes], *, deflated: Sequence[str] = ()) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for path, data in contents.items():
            method = zipfile.ZIP_DEFLATED if path in deflated else zipfile.ZIP_STORED
            archive.writestr(path, data, compress_type=method)
    return target.getvalue()


def at_once(works: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """All of them at the same moment, a thread each; results or errors, in order."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T | Exception:
        barrier.wait()
        try:
            return work()
        except Exception as error:  # noqa: BLE001
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))
