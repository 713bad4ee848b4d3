"""A bad network between a client and its servers: a forward HTTP proxy that counts bodies as they pass, cuts, damages,
refuses, slows down and goes away.

A client uses it by `Proxy.environment`. A forward proxy keeps the Host that a presigned URL is signed for, so the store
accepts what comes through.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from urllib.parse import parse_qs, urlsplit

from tests.end_to_end.troubles import Answer, CutError, Exchange, Trouble, Way

CHUNK = 64 * 1024  # bytes in a proxy's hands at a time, of one body
_BUFFER = 128 * 1024  # bytes of a connection that the kernel may hold
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "proxy-authorization", "te"}
_SIGNATURE = re.compile(rb"X-Amz-Signature=([0-9a-f]{64})")
_EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"


class Proxy:
    """Listens on a port of its own. `up` and `down`: bytes of bodies to and from the store, as far as they passed."""

    def __init__(self, store: str, *, rate: int | None = None) -> None:
        self.store = store  # host:port
        self.rate = rate  # bytes a second through the whole proxy, to and from the store
        self.up = self.down = 0
        self.exchanges: list[Exchange] = []
        self.troubles: list[Trouble] = []
        self._expired: set[str] = set()
        self._issued: set[str] = set()
        self._sockets: set[socket.socket] = set()
        self._marks: list[tuple[Way, int, Callable[[], object]]] = []
        self._away = False
        self._active = 0
        self._changed = threading.Condition()
        self._slow = threading.Lock()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """For a client: all plain HTTP goes through here, localhost too."""
        return {"http_proxy": self.url, "HTTP_PROXY": self.url, "no_proxy": "", "NO_PROXY": ""}

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._break_all()
        self._server.server_close()

    def to_store(self, method: str) -> Callable[[Exchange], bool]:
        """Which exchanges with the store a trouble is for."""
        return lambda exchange: exchange.method == method and exchange.host == self.store

    def at(self, way: Way, count: int, call: Callable[[], object]) -> None:
        """Call once, at the moment when so many bytes have passed to or from the store in all."""
        with self._changed:
            self._marks.append((way, count, call))

    def expire(self) -> None:
        """No presigned URL that a client has been given so far is good any more."""
        with self._changed:
            self._expired |= self._issued

    @contextlib.contextmanager
    def offline(self) -> Iterator[None]:
        """Within, whatever is open breaks and nothing new gets through."""
        self._away = True
        self._break_all()
        try:
            yield
        finally:
            self._away = False

    def settle(self, seconds: float = 120) -> None:
        """Wait until what is under way has ended: of a client that was killed, what the kernel still held."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._active == 0, seconds), "exchanges do not end"

    def forget(self) -> None:
        """Count from zero."""
        with self._changed:
            self.up = self.down = 0
            self.exchanges.clear()

    # -- for the handlers ----------------------------------------------------------------------------------------------

    def begin(self, exchange: Exchange) -> list[Trouble]:
        """Note an exchange; what is to be done to it."""
        with self._changed:
            self.exchanges.append(exchange)
            self._active += 1
            # One at a time: of two, the one that answers in the store's stead would use the other up.
            chosen = list(islice((each for each in self.troubles if each.left > 0 and each.wants(exchange)), 1))
            for each in chosen:
                each.left -= 1
            if exchange.signature in self._expired:
                chosen.append(Answer(lambda _: True, 403, body=_EXPIRED))
            return chosen

    def end(self) -> None:
        """It is over, well or not."""
        with self._changed:
            self._active -= 1
            self._changed.notify_all()

    def count(self, exchange: Exchange, way: Way, size: int) -> None:
        """So many bytes have come from a client, or go to it."""
        due: list[Callable[[], object]] = []
        with self._changed:
            setattr(exchange, way, getattr(exchange, way) + size)
            if exchange.host == self.store:
                setattr(self, way, getattr(self, way) + size)
                due = [call for which, count, call in self._marks if which == way and getattr(self, way) >= count]
                self._marks = [each for each in self._marks if each[2] not in due]
        for call in due:
            call()
        if self.rate and exchange.host == self.store:
            with self._slow:
                time.sleep(size / self.rate)

    def note_urls(self, answer: bytes) -> None:
        """Remember the presigned URLs that the registry gives away. One that is given anew lives: within a second the
        same signature comes out."""
        given = {found.decode() for found in _SIGNATURE.findall(answer)}
        with self._changed:
            self._issued |= given
            self._expired -= given

    def accept(self, client: socket.socket) -> bool:
        """Whether a new connection is served."""
        with self._changed:
            self._sockets.add(client)
            return not self._away

    def release(self, client: socket.socket) -> None:
        """It is closed."""
        with self._changed:
            self._sockets.discard(client)

    @property
    def is_away(self) -> bool:
        """Nothing gets through now."""
        return self._away

    def _break_all(self) -> None:
        with self._changed:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)
        # Accepted connections inherit these. Without, the kernel holds megabytes of each, that no network would.
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.socket.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER)

    def verify_request(self, request: object, client_address: object) -> bool:
        return self.proxy.accept(request)  # type: ignore[arg-type]

    def shutdown_request(self, request: object) -> None:
        self.proxy.release(request)  # type: ignore[arg-type]
        super().shutdown_request(request)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is killed breaks its connections: that is what we are for. Anything else is our mistake."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _pass_on(self) -> None:
        proxy, url = self.server.proxy, urlsplit(self.path)
        query = parse_qs(url.query)
        exchange = Exchange(
            self.command,
            url.netloc,
            url.path,
            int(query["partNumber"][0]) if "partNumber" in query else None,
            int(found[1]) if (found := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0,
            query.get("X-Amz-Signature", [None])[0],
        )
        troubles = proxy.begin(exchange)
        upstream = http.client.HTTPConnection(url.netloc, timeout=300)
        try:
            self._exchange(proxy, exchange, troubles, upstream, url.path + (f"?{url.query}" if url.query else ""))
        except (OSError, http.client.HTTPException, CutError):
            self.close_connection = True
        finally:
            upstream.close()
            proxy.end()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815

    def _exchange(
        self,
        proxy: Proxy,
        exchange: Exchange,
        troubles: list[Trouble],
        upstream: http.client.HTTPConnection,
        target: str,
    ) -> None:
        ours = next((found for each in troubles if (found := each.answer(exchange)) is not None), None)
        if ours is not None:
            for _ in self._body(proxy, exchange, []):
                pass
            status, headers, body = ours
            exchange.status = status
            self._head(status, {**headers, "Content-Length": str(len(body))})
            self.wfile.write(body)
            return
        upstream.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                upstream.putheader(name, value)
        upstream.endheaders()
        for chunk in self._body(proxy, exchange, troubles):
            try:
                upstream.send(chunk)
            except OSError:  # it has answered already and reads no more
                self.close_connection = True
                break
        answer = upstream.getresponse()
        exchange.status = answer.status
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        if exchange.host != proxy.store:
            whole = answer.read()
            proxy.note_urls(whole)
            if self.command != "HEAD":
                headers["Content-Length"] = str(len(whole))
            if not proxy.is_away:
                proxy.count(exchange, "down", len(whole))
                self._head(answer.status, headers)
                self.wfile.write(whole)
            return
        whole = b"" if "Content-Length" in headers or self.command == "HEAD" else answer.read()  # it came in chunks
        headers.setdefault("Content-Length", str(len(whole)))
        self._head(answer.status, headers)
        self.wfile.write(whole)
        left = 0 if whole or self.command == "HEAD" else int(headers["Content-Length"])
        while left:
            chunk = answer.read1(min(CHUNK, left))
            if not chunk:  # the store has died
                raise CutError
            left -= len(chunk)
            for each in troubles:
                chunk = each.passing("down", exchange.down, chunk)
            proxy.count(exchange, "down", len(chunk))  # before a client can know that it has them
            self.wfile.write(chunk)

    def _body(self, proxy: Proxy, exchange: Exchange, troubles: list[Trouble]) -> Iterator[bytes]:
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            chunk = self.rfile.read1(min(CHUNK, left))
            if not chunk or proxy.is_away:
                raise CutError
            for each in troubles:
                chunk = each.passing("up", exchange.up, chunk)
            proxy.count(exchange, "up", len(chunk))
            left -= len(chunk)
            yield chunk

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""
