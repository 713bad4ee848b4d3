"""HTTP connections: one thread-safe pool with the system's certificates and the environment's proxies."""

from __future__ import annotations

import logging
import ssl
import time
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import tenacity
import truststore
import urllib3

from modelkeep.errors import UnavailableError, UnreachableError, UsageError

TIMEOUT = urllib3.Timeout(connect=10, read=60)  # seconds; the registry's longest answers take 30
# What may go wrong on the way; each means: no whole answer came.
FAULTS = (urllib3.exceptions.HTTPError, OSError)
_NOT_SENT = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
_SILENT, _AGAIN = 3.0, 30.0  # seconds: so long nobody is told that a server does not answer, and so often after that
_told = [-_AGAIN]  # when, by any thread
_log = logging.getLogger("modelkeep")
_T = TypeVar("_T")


class Connections:
    """Connections to any host, kept open and used again; for many threads."""

    def __init__(self, *, size: int = 32) -> None:
        self._options: dict[str, Any] = {"maxsize": size, "block": False, "timeout": TIMEOUT, "retries": False}
        self._managers: dict[tuple[str, str], urllib3.PoolManager] = {}  # by scheme and proxy
        self._pools: dict[tuple[str, str], urllib3.PoolManager] = {}  # by scheme and host

    def open(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        body: object = None,
        timeout: urllib3.Timeout | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """The answer with its body still unread. The caller reads it whole and releases it, or closes it.
        UnreachableError where none came; its text has the host alone, for URLs may be presigned."""
        for name, value in headers.items():
            if not value.isprintable() or not value.isascii():  # http.client would show it, and it may be a token
                raise UsageError(f"the header {name} can't hold what it was given", code="bad_header")
        try:
            return self._pool(url).urlopen(
                method,
                url,
                headers=headers,
                body=body,
                preload_content=False,
                decode_content=False,
                redirect=False,
                timeout=timeout or TIMEOUT,
            )
        except FAULTS as error:
            raise unreachable(url, error) from error

    def close(self) -> None:
        """Close what is open."""
        for pool in list(self._managers.values()):
            pool.clear()

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        # Remembered: to look through the environment takes longer than a small answer of a store that is near.
        if (known := self._pools.get((parts.scheme, parts.netloc))) is None:
            known = self._pools[parts.scheme, parts.netloc] = self._find_pool(url)
        return known

    def _find_pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = urllib.request.getproxies().get(parts.scheme, "")
        if urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = ""
        # One for each scheme and proxy; of two threads that make the same one, both may.
        if (known := self._managers.get((parts.scheme, proxy))) is None:
            known = self._managers[parts.scheme, proxy] = self._make_manager(parts.scheme, proxy)
        return known

    def _make_manager(self, scheme: str, proxy: str) -> urllib3.PoolManager:
        options = self._options
        if scheme == "https" or proxy.startswith("https:"):  # the system's certificates take a while to load
            options = {**options, "ssl_context": truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
        if not proxy:
            return urllib3.PoolManager(num_pools=8, **options)
        address = proxy if "://" in proxy else f"http://{proxy}"
        found = urlsplit(address)
        headers = None
        if found.username:
            headers = urllib3.make_headers(
                proxy_basic_auth=f"{unquote(found.username)}:{unquote(found.password or '')}"
            )
            address = address.replace(found.netloc, found.netloc.rpartition("@")[2])
        return urllib3.ProxyManager(address, proxy_headers=headers, **options)


def read_whole(answer: urllib3.BaseHTTPResponse, url: str, *, at_most: int) -> bytes:
    """A small answer's body; its connection is free then. UnavailableError where it does not end."""
    raw = bytearray()
    try:
        while chunk := answer.read(64 * 1024):
            raw += chunk
            if len(raw) > at_most:
                raise UnavailableError(
                    f"{urlsplit(url).netloc.rpartition('@')[2]} answers with more than {at_most} bytes",
                    code="answer_too_large",
                )
    except FAULTS as error:
        answer.close()
        raise unreachable(url, error) from error
    except BaseException:
        answer.close()
        raise
    answer.release_conn()
    return bytes(raw)


def unreachable(url: str, error: BaseException) -> UnreachableError:
    """What to say of a request that got no answer: host and kind of fault, never the URL."""
    reason = getattr(error, "reason", None) or error
    words = {
        urllib3.exceptions.NewConnectionError: "nobody answers there",
        urllib3.exceptions.NameResolutionError: "no such host",
        urllib3.exceptions.ConnectTimeoutError: "no connection in time",
        urllib3.exceptions.ReadTimeoutError: "no answer in time",
        urllib3.exceptions.SSLError: "its certificate is not good",
        ssl.SSLError: "its certificate is not good",
    }
    said = next((text for kind, text in words.items() if type(reason) is kind), "the connection broke")
    fault = UnreachableError(
        f"{urlsplit(url).netloc.rpartition('@')[2]} can't be reached: {said}",
        hint="`modelkeep doctor` looks for the cause.",
    )
    fault.sent = not isinstance(error, _NOT_SENT)
    return fault


def patiently(do: Callable[[], _T], *, seconds: float, retry: Callable[[BaseException], bool] | None = None) -> _T:
    """Do it again while the server can't or does not answer, with growing, random pauses of at most 20 s or as long as
    the server asks, for so many seconds; then its last error. What it waits for is logged, as a warning."""
    jitter = tenacity.wait_random_exponential(multiplier=0.5, max=20)

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", None) or 0.0
        return max(jitter(state), min(asked, 60.0))

    return tenacity.Retrying(
        stop=tenacity.stop_before_delay(seconds),
        wait=wait,
        retry=tenacity.retry_if_exception(retry or (lambda error: isinstance(error, UnavailableError))),
        before_sleep=_tell,
        reraise=True,
    )(do)


def _tell(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    silent = (state.seconds_since_start or 0.0) + (state.next_action.sleep if state.next_action else 0.0)
    if silent >= _SILENT and time.monotonic() - _told[0] >= _AGAIN:
        _told[0] = time.monotonic()
        _log.warning("%s; still trying", getattr(error, "detail", error))
