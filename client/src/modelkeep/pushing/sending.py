"""The bytes of an upload, side by side to the store: whole files by one PUT, large ones in parts, each part with its
SHA-256, read from the disk as it goes, so that memory does not grow with any size."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from modelkeep.api import TRANSFER_PATIENCE, Api
from modelkeep.connections import patiently
from modelkeep.errors import IntegrityError, UnavailableError
from modelkeep.progress import Meter
from modelkeep.pushing.hashing import Hashed, Hashes, check_content, hash_range, read_range
from modelkeep.pushing.line import Line
from modelkeep.results import Put, Upload, UploadFile
from modelkeep.store import ExpiredError, Store
from modelkeep.workers import Job, side_by_side

THREADS = 8
_MIB = 1024 * 1024
_URLS_AHEAD = 512 * _MIB  # bytes that URLs are asked for at a time: they live an hour, and lines may be slow
_MAX_URLS, _MIN_URLS = 500, 16  # a page of the registry's; at least
_FIRST_PARTS, _MAX_PARTS = 4, 32  # signed by one call: few at first, so that the sending begins
_TRIES = 5  # without success of one file or part, before its error counts
_PAUSE = 0.1  # seconds before a fresh URL is tried, doubled each time
_URLS = 20  # for one part, however old they were
_YOUNG = 600.0  # seconds; a URL refused later has died of age, and that is no failure
_EXPIRED_HINT = "Push again: it goes on where it was. `modelkeep doctor` looks at the store and at the clocks."
DAMAGED_HINT = "Something between here and the store changes bytes: a proxy, a bad disk."
_T = TypeVar("_T")


class Sender:
    """Sends what an upload lacks. `files` by their path; None is the archive."""

    def __init__(
        self,
        api: Api,
        store: Store,
        upload_id: str,
        files: Mapping[str | None, Hashed],
        hashes: Hashes,
        stop: threading.Event,
    ) -> None:
        self._api = api
        self._store = store
        self._route = f"/ai-models/upload/{upload_id}"
        self._files = files
        self._hashes = hashes
        self._stop = stop
        self._line = Line(stop)
        self._meter = Meter(None, "send", 0)
        self._succeeded = time.monotonic()
        self._refused: dict[str | None, int] = {}  # how often in a row a file's URL was refused
        self._dead = 0.0  # URLs that were asked for at this time, or before, are refused
        self.sent: set[str | None] = set()  # by one PUT each; the registry may not have seen all of them yet

    def send(self, missing: Sequence[UploadFile], meter: Meter) -> None:
        """Send these files, or the parts of them that the store lacks. Files whose URL had died are left out of `sent`:
        ask what is missing, and send again."""
        self._meter = meter
        whole = [file for file in missing if file.part_size is None]
        large = [file for file in missing if file.part_size is not None]
        side_by_side(self._jobs(whole, large), threads=THREADS, stop=self._stop)

    def _jobs(self, whole: Sequence[UploadFile], large: Sequence[UploadFile]) -> Iterator[Job]:
        if whole and whole[0].path is None:
            yield from self._archive_job()
        elif whole:
            for state in sorted({file.status for file in whole}):
                yield from self._file_jobs(state, {file.path for file in whole if file.status == state})
        for file in large:
            yield from self._part_jobs(file)

    def _archive_job(self) -> Iterator[Job]:
        archive = self._ask({"urls": True}).archive
        if archive is not None and archive.put is not None:
            yield partial(self._send_file, self._files[None], None, archive.put, time.monotonic())

    def _file_jobs(self, state: str, wanted: set[str | None]) -> Iterator[Job]:
        average = sum(self._files[path].size for path in wanted) // len(wanted)
        limit = min(max(_URLS_AHEAD // (average + 1), _MIN_URLS), _MAX_URLS, len(wanted))
        query = {"urls": True, "state": state, "limit": limit}
        for answer in self._api.pages(self._route, query=query, patience=TRANSFER_PATIENCE):
            asked = time.monotonic()
            for file in Upload.from_json(answer.body).files:
                if file.path in wanted and file.put is not None:
                    wanted.discard(file.path)
                    yield partial(self._send_file, self._files[file.path], file.path, file.put, asked)
            if not wanted:
                return

    def _send_file(self, file: Hashed, path: str | None, put: Put, asked: float) -> None:
        if asked <= self._dead:
            return
        try:
            self._send(file, put, 0, file.size)
        except ExpiredError as error:
            self._dead = max(self._dead, asked)
            self._refused[path] = self._count(error, self._refused.get(path, 0), asked)
            return
        self._refused.pop(path, None)
        self.sent.add(path)

    def _count(self, error: ExpiredError, refused: int, asked: float) -> int:
        """How often in a row URLs were refused that can't have died of age; the error where that is too often."""
        refused += time.monotonic() - asked < _YOUNG
        if refused >= _TRIES:
            error.hint = _EXPIRED_HINT
            raise error
        self._stop.wait(_PAUSE * 2**refused)
        return refused

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _part_jobs(self, file: UploadFile) -> Iterator[Job]:
        assert file.part_size is not None
        local, size = self._files[file.path], file.part_size
        count = -(-local.size // size)
        missing = [number for number in range(1, count + 1) if number not in file.stored_parts]
        kept = local.size - sum(_length(local, size, number) for number in missing)
        self._meter.add(kept, skipped=True)
        batch = _FIRST_PARTS
        while missing:
            now, missing = missing[:batch], missing[batch:]
            batch = max(1, min(batch * 2, _MAX_PARTS, _URLS_AHEAD // size))
            digests = {number: self._hash_part(local, size, number) for number in now}
            asked = time.monotonic()
            for put in self._sign(file.path, digests):
                assert put.number is not None
                sha256 = digests[put.number]
                yield partial(self._send_part, local, file.path, size, put, sha256, asked)

    def _hash_part(self, file: Hashed, part_size: int, number: int) -> str:
        return hash_range(file, (number - 1) * part_size, _length(file, part_size, number), self._stop)

    def _sign(self, path: str | None, digests: Mapping[int, str]) -> list[Put]:
        body = {"path": path, "parts": [{"number": number, "sha256": digest} for number, digest in digests.items()]}
        answer = self._api.call("POST", f"{self._route}/parts", body=body, patience=TRANSFER_PATIENCE)
        return [Put(part["url"], part["headers"], part["number"]) for part in answer.body["parts"]]

    def _send_part(self, file: Hashed, path: str | None, part_size: int, put: Put, sha256: str, asked: float) -> None:
        assert put.number is not None
        number, refused = put.number, 0
        for _ in range(_URLS):
            try:
                return self._send(file, put, (number - 1) * part_size, _length(file, part_size, number))
            except ExpiredError as error:
                refused = self._count(error, refused, asked)
            asked = time.monotonic()
            [put] = self._sign(path, {number: sha256})
        raise ExpiredError(
            f"part {number} of {file.path!r} outlasted {_URLS} URLs", hint="Push again on a faster line."
        )

    # -- one PUT -------------------------------------------------------------------------------------------------------

    def _send(self, file: Hashed, put: Put, start: int, length: int) -> None:
        """One PUT, again while the store can't or what arrived was damaged."""
        for tries in range(1, _TRIES + 1):
            try:
                self._patiently(lambda: self._put(file, put, start, length))
            except IntegrityError as error:
                check_content(file, self._hashes, self._stop)
                if tries == _TRIES:
                    error.hint = DAMAGED_HINT
                    raise
                continue
            self._succeeded = time.monotonic()
            return

    def _put(self, file: Hashed, put: Put, start: int, length: int) -> None:
        moved = 0

        def chunks() -> Iterator[bytes]:
            nonlocal moved
            for chunk in read_range(file, start, length, self._stop):
                yield chunk
                moved += len(chunk)
                self._meter.add(len(chunk))

        try:
            with self._line.room(length):
                self._store.put(put, chunks(), length)
        except BaseException:
            self._meter.add(-moved)
            raise

    def _patiently(self, do: Callable[[], _T]) -> _T:
        began = time.monotonic()

        def again(error: BaseException) -> bool:
            lately = time.monotonic() - max(began, self._succeeded) < TRANSFER_PATIENCE
            return isinstance(error, UnavailableError) and lately and not self._stop.is_set()

        return patiently(do, seconds=float("inf"), retry=again)

    def _ask(self, query: Mapping[str, object]) -> Upload:
        return Upload.from_json(self._api.call("GET", self._route, query=query, patience=TRANSFER_PATIENCE).body)


def _length(file: Hashed, part_size: int, number: int) -> int:
    return min(part_size, file.size - (number - 1) * part_size)
