"""Writing an object from chunks as they come: flat memory, parts side by side, each checked by the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from types import TracebackType

from isal import isal_zlib

from registry.settings import MIB
from registry.storage import multiparts, objects
from registry.storage.client import base64_of_crc, bucket, s3
from registry.storage.multiparts import StoredPart

_SMALLEST_PART = 8 * MIB
_IN_FLIGHT_BYTES = 16 * MIB  # of one object's parts


class Room:
    """So many bytes at once, for any thread; one who wants more than there is has it alone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._changed = threading.Condition()

    def enter(self, size: int) -> None:
        """Waits until there is room for so much."""
        size = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size

    def leave(self, size: int) -> None:
        """The inverse of `enter`."""
        with self._changed:
            self._free += min(size, self._size)
            self._changed.notify_all()

    @contextmanager
    def take(self, size: int) -> Iterator[None]:
        """Room for the time of a `with`."""
        self.enter(size)
        try:
            yield
        finally:
            self.leave(size)


_ROOM = Room(24 * MIB)  # for the parts of all objects that this process writes


class ObjectWriter:
    """Writes `size` bytes or fewer to a key. Use as a context manager: left without `finish`, nothing is."""

    def __init__(self, key: str, size: int) -> None:
        self._key = key
        self._part_bytes = multiparts.plan_parts(size, smallest=_SMALLEST_PART).part_bytes
        self._waiting = BytesIO()  # grows in place and is handed on as it is: each byte is copied once
        self._multipart: str | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._in_flight: list[Future[StoredPart]] = []
        self._parts: list[StoredPart] = []
        self._number = 0
        self._finished = False

    def __enter__(self) -> ObjectWriter:
        return self

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes; waits while enough parts are on their way."""
        rest = memoryview(chunk)
        while self._waiting.tell() + len(rest) > self._part_bytes:  # not >=: the last part must not be empty
            room = self._part_bytes - self._waiting.tell()
            self._waiting.write(rest[:room])
            rest = rest[room:]
            self._send(self._take())
        self._waiting.write(rest)

    def finish(self, *, sha256: str | None = None) -> str:
        """All is written and checked: the object's ETag. Where its `sha256` is known, it need not be made again."""
        if self._multipart is None:
            etag = objects.put_object(self._key, self._take(), sha256=sha256)
        else:
            self._send(self._take())
            self._collect(0)
            etag = multiparts.complete_multipart(self._key, self._multipart, self._parts)
        self._finished = True
        return etag

    def _take(self) -> bytes:
        body = self._waiting.getvalue()
        self._waiting = BytesIO()
        return body

    def _send(self, body: bytes) -> None:
        if self._multipart is None or self._pool is None:
            self._multipart = multiparts.create_multipart(self._key, checksum="CRC32")
            self._pool = ThreadPoolExecutor(max(1, min(4, _IN_FLIGHT_BYTES // self._part_bytes)))
        self._collect(max(1, _IN_FLIGHT_BYTES // self._part_bytes) - 1)
        self._number += 1
        size = len(body)
        _ROOM.enter(size)
        future = self._pool.submit(put_part, self._key, self._multipart, self._number, body)
        future.add_done_callback(lambda _: _ROOM.leave(size))  # of one that is cancelled too
        self._in_flight.append(future)

    def _collect(self, left: int) -> None:
        while len(self._in_flight) > left:
            self._parts.append(self._in_flight.pop(0).result())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=not self._finished)
        if not self._finished and self._multipart is not None:
            multiparts.abort_multipart(self._key, self._multipart)


def put_part(key: str, multipart: str, number: int, body: bytes) -> StoredPart:
    """Sends a part, which the store holds against its CRC-32."""
    crc = base64_of_crc(isal_zlib.crc32(body))
    answer = s3().upload_part(
        Bucket=bucket(), Key=key, UploadId=multipart, PartNumber=number, Body=body, ChecksumCRC32=crc
    )
    return StoredPart(number, len(body), answer["ETag"].strip('"'), {"ChecksumCRC32": crc})
