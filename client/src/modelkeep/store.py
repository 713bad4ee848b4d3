"""The S3 store behind the registry, reached by presigned URLs alone: whole objects or parts up, ranges down.

A URL may die earlier than it says (with the credentials that signed it), so any 403 or 404 means: ask for a fresh one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import urlsplit

import urllib3

from modelkeep.api import user_agent
from modelkeep.connections import FAULTS, Connections, read_whole, unreachable
from modelkeep.errors import IntegrityError, ModelkeepError, UnavailableError
from modelkeep.results import Put

CHUNK = 1024 * 1024  # bytes in memory at a time, of one transfer
_TIMEOUT = urllib3.Timeout(connect=10, read=120)  # seconds; a store may hash a whole part before it answers
_MAX_ANSWER = 1024 * 1024  # bytes of an answer that is no file
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_TOTAL = re.compile(r"bytes [0-9]+-[0-9]+/([0-9]{1,19})")
_DIGEST_CODES = {"BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest", "XAmzContentSHA256Mismatch"}


class ExpiredError(ModelkeepError):
    """The store does not take this URL (any more): a fresh one is needed."""

    code = "url_expired"


class Store:
    """PUTs and ranged GETs."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._agent = user_agent()

    def put(self, put: Put, chunks: Iterable[bytes], size: int) -> None:
        """Send `size` bytes. ExpiredError: take a fresh URL. IntegrityError: other bytes arrived than were announced.
        UnavailableError: try again later."""
        headers = {**put.headers, "Content-Length": str(size), "User-Agent": self._agent}
        answer = self._connections.open("PUT", put.url, headers=headers, body=chunks if size else b"", timeout=_TIMEOUT)
        raw = read_whole(answer, put.url, at_most=_MAX_ANSWER)
        if answer.status >= 300:
            raise _fault(put.url, answer.status, raw)

    def probe(self, url: str) -> tuple[int, str]:
        """An object's bytes in all, and its ETag, learnt by fetching one of them: a presigned GET is no HEAD."""
        headers = {"Range": "bytes=0-0", "Accept-Encoding": "identity", "User-Agent": self._agent}
        answer = self._connections.open("GET", url, headers=headers, timeout=_TIMEOUT)
        try:
            if answer.status != 206:
                raw = b"" if answer.status == 200 else read_whole(answer, url, at_most=_MAX_ANSWER)
                raise _fault(url, answer.status, raw)
            found = _TOTAL.fullmatch(answer.headers.get("Content-Range", ""))
            read_whole(answer, url, at_most=_MAX_ANSWER)
        except FAULTS as error:
            raise unreachable(url, error) from error
        finally:
            whole = answer.status == 206 and answer.headers.get("Content-Length") == "1"
            answer.release_conn() if whole else answer.close()
        if found is None:
            raise UnavailableError(f"{_host(url)} does not say how large a file is", code="bad_range")
        return int(found[1]), answer.headers.get("ETag", "")

    def get(
        self, url: str, start: int, length: int, *, check: Callable[[Mapping[str, str]], None] | None = None
    ) -> Iterator[bytes]:
        """The bytes of a range, as they come; an error if there are fewer or the store answers with others. `check` is
        shown the answer's headers before the first byte, and may raise."""
        if length == 0:
            return
        headers = {
            "Range": f"bytes={start}-{start + length - 1}",
            "Accept-Encoding": "identity",
            "User-Agent": self._agent,
        }
        answer = self._connections.open("GET", url, headers=headers, timeout=_TIMEOUT)
        left = length
        try:
            if answer.status not in (200, 206):
                raise _fault(url, answer.status, read_whole(answer, url, at_most=_MAX_ANSWER))
            if _is_shorter(answer, start + length):
                raise IntegrityError(f"{_host(url)} has less of the file than the registry says", code="damaged")
            if not _is_range(answer, start, length):
                raise UnavailableError(
                    f"{_host(url)} sent another range than was asked for", code="bad_range", hint="A proxy between?"
                )
            if check is not None:
                check(answer.headers)
            for chunk in answer.stream(CHUNK):
                left -= len(chunk)
                if left < 0:
                    break
                yield chunk
            if left:
                raise unreachable(url, EOFError())
        except FAULTS as error:
            raise unreachable(url, error) from error
        finally:
            # Read to its end the connection can be used again; else it is closed, as an unknown rest would follow.
            answer.release_conn() if left == 0 else answer.close()


def _is_range(answer: urllib3.BaseHTTPResponse, start: int, length: int) -> bool:
    size = answer.headers.get("Content-Length", "")
    if answer.status == 200:  # what does not know ranges sends the whole, which will do where that was asked for
        return start == 0 and size == str(length)
    return answer.headers.get("Content-Range", "").startswith(f"bytes {start}-{start + length - 1}/")


def _is_shorter(answer: urllib3.BaseHTTPResponse, end: int) -> bool:
    """Whether what the store has ends before byte `end`."""
    found = _TOTAL.fullmatch(answer.headers.get("Content-Range", ""))
    return answer.status == 206 and found is not None and int(found[1]) < end


def _fault(url: str, status: int, raw: bytes) -> ModelkeepError:
    found = _CODE.search(raw[:4096])
    code = found[1].decode() if found else ""
    said = f"the store at {_host(url)} answered {status}" + (f" {code}" if code else "")
    if code in _DIGEST_CODES:
        return IntegrityError(f"{said}: bytes were damaged on the way", code="damaged_on_the_way", status=status)
    if status in (400, 401, 403, 404, 410):
        return ExpiredError(f"{said}", status=status)
    if status == 416:
        return IntegrityError(f"{said}: the file is shorter than the registry says", code="damaged", status=status)
    return UnavailableError(said, code="store_unavailable", status=status)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
