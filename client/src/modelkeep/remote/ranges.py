"""Ranges of one file of a version, straight from the store, several side by side."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from modelkeep.api import TRANSFER_PATIENCE
from modelkeep.connections import patiently
from modelkeep.errors import ConflictError, ModelkeepError, UnavailableError
from modelkeep.names import Ref
from modelkeep.results import File
from modelkeep.store import ExpiredError

if TYPE_CHECKING:
    from modelkeep.client import Client

GAP = 64 * 1024  # bytes: rather read so many that nobody asked for than make another request
PIECE = 16 * 1024 * 1024  # bytes of one request of several side by side
SIDE_BY_SIDE = 8
_URLS = 3  # fresh URLs for one range that brings no byte
_TOTAL = re.compile(r"bytes \d+-\d+/(\d+)")


class Ranges:
    """One file of one concrete version (`ref`). Every answer is of the same object (its ETag) and of the size that the
    registry says, else ConflictError: someone deleted the version and made it anew. Safe to use from many threads."""

    def __init__(self, client: Client, ref: Ref, file: File, *, patience: float = TRANSFER_PATIENCE) -> None:
        self.ref = ref
        self.file = file
        self._client = client
        self._patience = patience
        self._lock = threading.Lock()
        self._url: str | None = None
        self._etag: str | None = None

    def read(self, start: int, length: int) -> bytearray:
        """The bytes of a range, which must lie inside the file, by one request."""
        data = bytearray(length)
        self.fill(start, [memoryview(data)])
        return data

    def fill(self, start: int, views: Iterable[memoryview]) -> None:
        """Fill views (of bytes, writable) one after the other with what lies from `start` on, by one request. Goes on
        where it was after a broken connection or with a fresh URL."""
        self._fill(start, _Target(views, threading.Event()))

    def _fill(self, start: int, target: _Target) -> None:
        def attempt() -> None:
            urls = _URLS
            while True:
                url, before = self._presigned(), target.done
                try:
                    for chunk in self._client.store.get(url, start + before, target.size - before, check=self._check):
                        target.write(chunk)
                    return
                except ExpiredError:
                    self._expire(url)
                    urls = urls - 1 if target.done == before else _URLS
                    if not urls:
                        raise

        while target.done < target.size:
            before = target.done
            try:
                patiently(attempt, seconds=self._patience, retry=target.wants_more)
            except UnavailableError:
                if target.done == before:  # where bytes come, however slowly, it may go on
                    raise

    def fill_many(self, wanted: Sequence[tuple[int, memoryview]]) -> None:
        """Fill each view from its start, several requests side by side, neighbours by one."""
        runs = _runs(wanted)
        if len(runs) == 1:
            self.fill(*runs[0])
            return
        stop = threading.Event()
        waiting = queue.SimpleQueue[tuple[int, list[memoryview]]]()
        for run in runs:
            waiting.put(run)
        ended = queue.SimpleQueue[BaseException | None]()

        def work() -> None:
            try:
                while not stop.is_set():
                    start, views = waiting.get_nowait()
                    self._fill(start, _Target(views, stop))
            except queue.Empty:
                ended.put(None)
            except BaseException as error:  # noqa: BLE001 - raised below
                ended.put(error)

        # Daemons, and not waited for once one failed or at Ctrl-C: what hangs in a read would hold us for minutes.
        threads = min(SIDE_BY_SIDE, len(runs))
        for _ in range(threads):
            threading.Thread(target=work, name="modelkeep-ranges", daemon=True).start()
        try:
            for _ in range(threads):
                if (error := ended.get()) is not None:
                    raise error
        finally:
            stop.set()

    def _presigned(self) -> str:
        with self._lock:
            if self._url is None:
                query = {**self.ref.query, "filename": self.file.path, "redirect": True}
                answer = self._client.api.call("GET", f"{self.ref.route}/download", query=query, redirect=True)
                location = answer.headers.get("location")
                if answer.status != 307 or location is None:
                    raise ModelkeepError("the registry gave no URL of the file", code="no_url", status=answer.status)
                self._url = location
            return self._url

    def _expire(self, url: str) -> None:
        with self._lock:
            if self._url == url:  # else another thread has a fresh one already
                self._url = None

    def _check(self, headers: Mapping[str, str]) -> None:
        etag, total = headers.get("ETag"), _TOTAL.match(headers.get("Content-Range", ""))
        with self._lock:
            self._etag = self._etag or etag
            same = etag == self._etag
        if not same or (total is not None and int(total[1]) != self.file.size):
            raise ConflictError(
                f"{self.ref} is not the file any more that was opened",
                code="replaced",
                hint="The version was deleted and made anew. Open it again.",
            )


class _Target:
    """Views that a stream is written into, one after the other, until `stop`; `done` of `size` bytes."""

    def __init__(self, views: Iterable[memoryview], stop: threading.Event) -> None:
        self._stop = stop
        self._views = [view for view in views if len(view)]
        self._index = self._inside = 0
        self.done = 0
        self.size = sum(map(len, self._views))

    def wants_more(self, error: BaseException) -> bool:
        """Whether it makes sense to try again."""
        return isinstance(error, UnavailableError) and not self._stop.is_set()

    def write(self, chunk: bytes) -> None:
        if self._stop.is_set():
            raise ModelkeepError("nobody waits for these bytes any more", code="stopped")
        if len(chunk) > self.size - self.done:
            raise UnavailableError("the store sent more than was asked for", code="bad_range", hint="A proxy between?")
        rest = memoryview(chunk)
        while rest:
            view = self._views[self._index]
            count = min(len(rest), len(view) - self._inside)
            view[self._inside : self._inside + count] = rest[:count]
            rest = rest[count:]
            self.done += count
            self._inside += count
            if self._inside == len(view):
                self._index, self._inside = self._index + 1, 0


def _runs(wanted: Iterable[tuple[int, memoryview]]) -> list[tuple[int, list[memoryview]]]:
    """What to ask for by one request each: pieces of large ranges, and small ones that lie near each other. What lies
    between goes into one view that nobody reads."""
    unread = memoryview(bytearray(GAP))
    runs: list[tuple[int, list[memoryview]]] = []
    end = length = 0
    for start, view in sorted(wanted, key=lambda each: each[0]):
        for offset in range(0, len(view), PIECE):
            piece = view[offset : offset + PIECE]
            gap = start + offset - end
            if runs and 0 <= gap <= GAP and length + gap + len(piece) <= PIECE:
                runs[-1][1].extend([unread[:gap], piece] if gap else [piece])
                length += gap + len(piece)
            else:
                runs.append((start + offset, [piece]))
                length = len(piece)
            end = start + offset + len(piece)
    return runs
