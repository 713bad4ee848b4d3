"""Copies in parts, side by side, inside the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache

from registry.settings import MIB
from registry.storage import multiparts
from registry.storage.multiparts import StoredPart
from registry.storage.objects import StoredObject

PART_BYTES = 32 * MIB  # small, as those that are under way have to end before the function does
COPIES_AT_ONCE = 16


@contextmanager
def new_multipart(key: str, *, checksum: str | None = None, whole: bool = False) -> Iterator[str]:
    """A multipart that an error aborts."""
    multipart = multiparts.create_multipart(key, checksum=checksum, whole=whole)
    try:
        yield multipart
    except BaseException:
        multiparts.abort_multipart(key, multipart)
        raise


@cache
def _copiers() -> ThreadPoolExecutor:
    """One bound for all that is copied in parts: beside it go reads and small objects, by the same connections."""
    return ThreadPoolExecutor(COPIES_AT_ONCE, "copies")


@contextmanager
def copies(
    source: StoredObject,
    key: str,
    multipart: str,
    offset: int,
    length: int,
    *,
    skip: Container[int] = (),
    check: Callable[[float], None] = lambda longest: None,
) -> Iterator[list[Future[StoredPart]]]:
    """Copies in parts, side by side, but those to `skip`. None is under way any more when this ends, so that the
    multipart may be aborted. Before each, `check` is told how many seconds the longest has taken until now."""
    plan = multiparts.plan_parts(length, smallest=PART_BYTES)
    longest = 0.0

    def copy(number: int) -> StoredPart:
        nonlocal longest
        check(longest)
        began, begin = time.monotonic(), offset + (number - 1) * plan.part_bytes
        part = multiparts.copy_part(source, key, multipart, number, offset=begin, length=plan.length(number))
        longest = max(longest, time.monotonic() - began)
        return part

    started = [_copiers().submit(copy, number) for number in range(1, plan.count + 1) if number not in skip]
    try:
        yield started
    finally:
        # Those that are called off count as done only when their turn comes, behind all that others have copied.
        wait([each for each in started if not each.cancel()])


def collect(copies: Iterable[Future[StoredPart]]) -> list[StoredPart]:
    """The parts, once all are copied; raises what the first that failed raised."""
    return [each.result() for each in copies]
