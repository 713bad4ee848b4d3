"""One file behind a registry and a store that are not there: what is asked of them is counted."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelkeep.api import Answer
from modelkeep.errors import ModelkeepError, UnreachableError
from modelkeep.names import Ref
from modelkeep.remote import BLOCK_SIZE, RemoteFile
from modelkeep.remote.ranges import Ranges
from modelkeep.results import File

REF = Ref("alice", "bert", "v1", "model.bin")
Fault = Callable[
    [str, int, int], ModelkeepError | int | None
]  # an error, or after how many bytes the connection breaks


class FakeStore:
    """`get` of one object: its bytes, in chunks; `fault` may say what goes wrong."""

    def __init__(self, data: bytes, *, fault: Fault | None = None, chunk: int = 1000) -> None:
        self.data = data
        self.etag = '"one"'
        self.fault = fault
        self.asked: list[tuple[int, int]] = []  # start, length
        self.sent = 0
        self._chunk = chunk
        self._lock = threading.Lock()

    def get(
        self, url: str, start: int, length: int, *, check: Callable[[Mapping[str, str]], None] | None = None
    ) -> Iterator[bytes]:
        assert length > 0
        assert start >= 0
        assert start + length <= len(self.data), (start, length)
        with self._lock:
            self.asked.append((start, length))
        fault = self.fault(url, start, length) if self.fault else None
        if isinstance(fault, ModelkeepError):
            raise fault
        if check is not None:
            check({"ETag": self.etag, "Content-Range": f"bytes {start}-{start + length - 1}/{len(self.data)}"})
        end = start + (length if fault is None else fault)
        while start < end:
            chunk = self.data[start : min(end, start + self._chunk)]
            with self._lock:
                self.sent += len(chunk)
            start += len(chunk)
            yield chunk
        if fault is not None:
            raise UnreachableError("broken")


class FakeClient:
    """The registry, which gives a new URL each time that it is asked."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.api = self
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    def call(self, method: str, path: str, *, query: Mapping[str, Any], redirect: bool) -> Answer:
        self.calls.append((method, path, dict(query)))
        return Answer(307, {"location": f"https://store/{len(self.calls)}"}, None)


def file_of(data: bytes, *, path: str = "model.bin", sha256: str | None = None) -> File:
    digest = sha256 or hashlib.sha256(data).hexdigest()
    return File(path, len(data), digest, "model", "application/octet-stream", True, None, f"models/{path}")


def ranges_of(store: FakeStore, *, patience: float = 60, file: File | None = None) -> tuple[Ranges, FakeClient]:
    client = FakeClient(store)
    return Ranges(client, REF, file or file_of(store.data), patience=patience), client  # type: ignore[arg-type]


def remote_of(store: FakeStore, *, block_size: int = BLOCK_SIZE, sha256: str | None = None) -> RemoteFile:
    ranges, _ = ranges_of(store, file=file_of(store.data, sha256=sha256))
    return RemoteFile(ranges, block_size=block_size)
