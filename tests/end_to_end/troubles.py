"""What a bad network does to single requests: for `proxying.py`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Way = Literal["up", "down"]


class CutError(Exception):
    """The connection is to break here."""


@dataclass(eq=False)
class Exchange:
    """One request and its answer, with the bytes of their bodies that have passed so far."""

    method: str
    host: str  # with its port
    path: str  # without the query, which may be a secret
    part: int | None  # of a multipart
    start: int  # of the range that is asked for
    signature: str | None = field(repr=False)
    up: int = 0
    down: int = 0
    status: int | None = None


class Trouble:
    """What is done to the exchanges that `wants` says, at most `times` of them; this one does nothing."""

    def __init__(self, wants: Callable[[Exchange], bool], *, times: int = 1) -> None:
        self.wants = wants
        self.left = times

    def answer(self, exchange: Exchange) -> tuple[int, dict[str, str], bytes] | None:
        """Status, headers and body in the server's stead."""
        return None

    def passing(self, way: Way, done: int, chunk: bytes) -> bytes:
        """What goes on of a chunk that begins at `done`; CutError breaks the connection."""
        return chunk


class Answer(Trouble):
    """The proxy answers in the server's stead."""

    def __init__(
        self,
        wants: Callable[[Exchange], bool],
        status: int,
        *,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        times: int = 1,
    ) -> None:
        super().__init__(wants, times=times)
        self._answer = (status, headers or {}, body)

    def answer(self, exchange: Exchange) -> tuple[int, dict[str, str], bytes] | None:
        return self._answer


class Reset(Trouble):
    """The connection breaks before the server has heard of it."""

    def answer(self, exchange: Exchange) -> tuple[int, dict[str, str], bytes] | None:
        raise CutError


class Cut(Trouble):
    """The connection breaks after so many bytes of a body."""

    def __init__(self, wants: Callable[[Exchange], bool], way: Way, after: int, *, times: int = 1) -> None:
        super().__init__(wants, times=times)
        self._way, self._after = way, after

    def passing(self, way: Way, done: int, chunk: bytes) -> bytes:
        if way == self._way and done + len(chunk) > self._after:
            raise CutError
        return chunk


class Flip(Trouble):
    """One bit of a body's byte at this offset is another one."""

    def __init__(self, wants: Callable[[Exchange], bool], way: Way, at: int, *, times: int = 1) -> None:
        super().__init__(wants, times=times)
        self._way, self._at = way, at

    def passing(self, way: Way, done: int, chunk: bytes) -> bytes:
        if way != self._way or not done <= self._at < done + len(chunk):
            return chunk
        damaged = bytearray(chunk)
        damaged[self._at - done] ^= 1
        return bytes(damaged)


class Hold(Trouble):
    """The first request waits, and those behind it, until they are let go; `came`: it is there."""

    def __init__(self, wants: Callable[[Exchange], bool]) -> None:
        super().__init__(wants, times=sys.maxsize)
        self.came = threading.Event()
        self._gone = threading.Event()

    def answer(self, exchange: Exchange) -> tuple[int, dict[str, str], bytes] | None:
        self.came.set()
        self._gone.wait(600)
        return None

    def release(self) -> None:
        """They go on."""
        self._gone.set()


class Meanwhile(Trouble):
    """Something happens at the moment when the request has come, before it goes on."""

    def __init__(self, wants: Callable[[Exchange], bool], call: Callable[[], object], *, times: int = 1) -> None:
        super().__init__(wants, times=times)
        self._call = call

    def answer(self, exchange: Exchange) -> tuple[int, dict[str, str], bytes] | None:
        self._call()
        return None
