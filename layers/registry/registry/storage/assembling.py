"""An object made of parts that the store copies and parts that it is sent, many at once, in bounded memory."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import count, pairwise
from typing import TypeAlias

from botocore.exceptions import ClientError

from registry.settings import MIB
from registry.storage import copying, multiparts, objects
from registry.storage.client import cannot, crc_of_base64
from registry.storage.multiparts import StoredPart
from registry.storage.objects import StoredObject
from registry.storage.writing import Room, put_part

_AT_ONCE = 16
_IN_FLIGHT_BYTES = 32 * MIB  # of parts that are sent; while one is put together it is there twice
_CRC_BYTES = 256 * MIB  # of an object, that the store tells the CRC-32 of at once
_MOST_RANGES = 500


class RangeCopyMissingError(Exception):
    """This store makes no parts of ranges of objects."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A part that is read and sent; `read` gives its `size` bytes."""

    size: int
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Copied:
    """A part that the store copies from an object."""

    source: StoredObject
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Made:
    """A part that is made as an object of its own first, of parts of its own, and then copied whole."""

    size: int
    parts: tuple[Part, ...]


Part: TypeAlias = Sent | Copied | Made


def begin(key: str) -> str:
    """Begins the multipart upload, with a CRC-32 to be checked in the end where this store does (`checks_crcs`)."""
    if copying.checks_crcs():
        return multiparts.create_multipart(key, checksum="CRC32", whole=True)
    return multiparts.create_multipart(key)


def scratch_prefix(key: str) -> str:
    """Where the objects lie that parts of `key` are made of; they are gone when `send_parts` has returned."""
    return f"{key}.parts/"


def send_parts(key: str, multipart: str, parts: Sequence[Part], *, stop: Callable[[], bool]) -> list[StoredPart]:
    """Makes the parts that the store does not have yet, until `stop`; those that it has then. RangeCopyMissingError;
    MultipartMissingError; ObjectMissingError, ObjectChangedError: a source is not what it was."""
    had = {part.number: part for part in multiparts.list_parts(key, multipart)}
    due = {number: part for number, part in enumerate(parts, 1) if number not in had}
    work = _Work(key, multipart, stop)
    try:
        had |= work.run(due)
    finally:
        objects.delete_objects(work.scratch)
    return list(had.values())


def complete(key: str, multipart: str, parts: Sequence[StoredPart], *, crc32: int) -> None:
    """Makes the object; where this store checks CRC-32s only if that is its own: else ChecksumError."""
    ordered = sorted(parts, key=lambda part: part.number)
    if copying.checks_crcs():
        multiparts.complete_multipart(key, multipart, ordered, crc32=crc32)
    else:
        multiparts.complete_multipart(key, multipart, _plain(ordered))


def _plain(parts: Sequence[StoredPart]) -> list[StoredPart]:
    return [replace(part, checksums={}) for part in parts]


class _Work:
    """The parts of one object."""

    def __init__(self, key: str, multipart: str, stop: Callable[[], bool]) -> None:
        self._key = key
        self._multipart = multipart
        self._stop = stop
        self._room = Room(_IN_FLIGHT_BYTES)
        # Of this attempt alone: one that has lost its lease takes nothing from under its successor.
        self._place = f"{scratch_prefix(key)}{secrets.token_hex(8)}/"
        self._names = count()
        self.scratch: list[str] = []

    def run(self, due: Mapping[int, Part]) -> dict[int, StoredPart]:
        """Makes the parts that there is time for. The first error ends it."""
        failed = threading.Event()

        def make(number: int, part: Part) -> StoredPart | None:
            if failed.is_set() or self._stop():
                return None
            try:
                return self._make(self._key, self._multipart, number, part)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            futures = [pool.submit(make, number, part) for number, part in due.items()]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        return {part.number: part for part in (future.result() for future in futures) if part is not None}

    def _make(self, key: str, multipart: str, number: int, part: Part) -> StoredPart:
        if isinstance(part, Sent):
            with self._room.take(part.size):
                return put_part(key, multipart, number, part.read())
        if isinstance(part, Copied):
            return _copy(key, multipart, number, part)
        source = self._make_object(part)
        return _copy(key, multipart, number, Copied(source, 0, source.size))

    def _make_object(self, made: Made) -> StoredObject:
        key = f"{self._place}{next(self._names)}"
        self.scratch.append(key)
        # AWS takes no part with a CRC-32 where none was announced; MinIO copies none into where one was.
        checked = copying.checks_crcs()
        multipart = multiparts.create_multipart(key, checksum="CRC32" if checked else None)
        try:
            parts = [self._make(key, multipart, number, part) for number, part in enumerate(made.parts, 1)]
            if not checked:
                parts = _plain(parts)
            return StoredObject(key, made.size, multiparts.complete_multipart(key, multipart, parts))
        except BaseException:
            multiparts.abort_multipart(key, multipart)
            raise


def _copy(key: str, multipart: str, number: int, part: Copied) -> StoredPart:
    try:
        return multiparts.copy_part(part.source, key, multipart, number, offset=part.offset, length=part.size)
    except ClientError as error:
        if not cannot(error):
            raise
        raise RangeCopyMissingError(key) from error


def crcs_of(sources: Sequence[StoredObject], scratch: str) -> list[list[tuple[int, int]]]:
    """The CRC-32s of a few objects as the store tells them, each as that of one range after the other, with its length:
    by copies into a multipart that is thrown away (its key: `scratch`), so that no byte passes here. Where it
    `checks_crcs`, it tells them. ObjectMissingError, ObjectChangedError: a source is not what it was."""
    ranges = [(source, *bounds) for source in sources for bounds in _ranges(source.size)]
    multipart = multiparts.create_multipart(scratch, checksum="CRC32")

    def crc(number: int) -> int:
        source, offset, length = ranges[number]
        part = multiparts.copy_part(source, scratch, multipart, number + 1, offset=offset, length=length)
        return crc_of_base64(part.checksums["ChecksumCRC32"])

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            told = iter(list(pool.map(crc, range(len(ranges)))))
    finally:
        multiparts.abort_multipart(scratch, multipart)
    return [[(next(told), length) for _, length in _ranges(source.size)] for source in sources]


def _ranges(size: int) -> list[tuple[int, int]]:
    """Offsets and lengths; a large object in many, as they are copied side by side."""
    number = max(1, min(size // _CRC_BYTES, _MOST_RANGES), -(-size // multiparts.MAX_PART_BYTES))
    return [(first, last - first) for first, last in pairwise(size * each // number for each in range(number + 1))]
