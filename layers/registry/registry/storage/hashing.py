"""The digest of bytes in S3, read by more than one function where one does not live long enough."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from registry.hashing import ResumableHash, StateError
from registry.settings import MIB
from registry.storage import objects
from registry.storage.objects import StoredObject

# The next range is on its way while one is hashed, so that a slow answer stops nothing: 32 MiB of memory. Ranges of
# 8 MiB cost a sixth more CPU time.
_RANGE_BYTES = 16 * MIB
_AHEAD = 2
# What a function that dies without a word costs its successor.
_SAVE_SECONDS = 30
_SAVE_BYTES = 1024 * MIB


def hash_range(
    source: StoredObject,
    offset: int,
    length: int,
    *,
    state: str | None = None,
    until: Callable[[], bool],
    save: Callable[[str], None],
) -> ResumableHash | None:
    """The hash of `length` bytes from `offset` on; None if `until` said to stop, and then `save` has been called with
    the `state` to go on from, as it is every 30 seconds and every GiB.

    A state of another object or range, or one that can't be read, counts as none. Where `hashing.can_resume` is False
    nothing is saved. ObjectChangedError, ObjectMissingError: the source is not what it was.
    """
    place = f"{source.etag} {offset} {length} "
    digest = _resume(state, place)
    saved_at, saved_bytes = time.monotonic(), digest.size

    def note() -> None:
        nonlocal saved_at, saved_bytes
        text = digest.state()
        if text is not None and digest.size > saved_bytes:
            save(place + text)
        saved_at, saved_bytes = time.monotonic(), digest.size

    with ThreadPoolExecutor(_AHEAD) as pool:
        ranges = _read_ahead(pool, source, offset + digest.size, offset + length)
        try:
            while digest.size < length:
                if until():
                    note()
                    return None
                for chunk in next(ranges):
                    digest.update(chunk)
                if time.monotonic() - saved_at >= _SAVE_SECONDS or digest.size - saved_bytes >= _SAVE_BYTES:
                    note()
        finally:
            pool.shutdown(cancel_futures=True)
    return digest


def _resume(state: str | None, place: str) -> ResumableHash:
    if state is not None and state.startswith(place):
        try:
            return ResumableHash.resume(state.removeprefix(place))
        except StateError:
            pass
    return ResumableHash()


def _read_ahead(pool: ThreadPoolExecutor, source: StoredObject, first: int, end: int) -> Iterator[list[bytes]]:
    waiting: deque[Future[list[bytes]]] = deque()
    for start in range(first, end, _RANGE_BYTES):
        if len(waiting) == _AHEAD:
            yield waiting.popleft().result()
        waiting.append(pool.submit(_read, source, start, min(_RANGE_BYTES, end - start)))
    while waiting:
        yield waiting.popleft().result()


def _read(source: StoredObject, start: int, length: int) -> list[bytes]:
    return list(objects.stream_range(source.key, start, length, etag=source.etag))
