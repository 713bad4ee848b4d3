"""The bad network itself: what passes through it, and what it does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3

from tests.end_to_end.proxying import Proxy
from tests.end_to_end.troubles import Answer, Cut, Flip

DATA = bytes(range(256)) * 1024


class Store(BaseHTTPRequestHandler):
    """Keeps what is PUT and gives it back."""

    protocol_version = "HTTP/1.1"
    kept: dict[str, bytes]

    def do_PUT(self) -> None:
        self.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"")

    def do_GET(self) -> None:
        self._answer(200, self.kept.get(self.path, b"none"))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Host", self.headers["Host"])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def kept() -> dict[str, bytes]:
    return {}


@pytest.fixture
def store(kept: dict[str, bytes]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Kept", (Store,), {"kept": kept}))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(store: str) -> Iterator[Proxy]:
    with Proxy(store) as proxy:
        yield proxy


@pytest.fixture
def http(proxy: Proxy) -> Iterator[urllib3.ProxyManager]:
    with urllib3.ProxyManager(proxy.url, retries=False) as manager:
        yield manager


def test_bytes_pass_unchanged_and_are_counted(
    store: str, kept: dict[str, bytes], proxy: Proxy, http: urllib3.ProxyManager
) -> None:
    answer = http.request("PUT", f"http://{store}/b/k?partNumber=3&X-Amz-Signature={'a' * 64}", body=DATA)
    assert (answer.status, answer.headers["X-Host"]) == (200, store)
    assert list(kept.values()) == [DATA]
    assert http.request("GET", f"http://{store}{next(iter(kept))}", headers={"Range": "bytes=5-"}).data == DATA
    assert (proxy.up, proxy.down) == (len(DATA), len(DATA))
    put, get = proxy.exchanges
    assert (put.method, put.path, put.part, put.up, put.status) == ("PUT", "/b/k", 3, len(DATA), 200)
    assert (get.start, get.down) == (5, len(DATA))
    assert "a" * 64 not in repr(put)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_byte_is_flipped_as_often_as_was_said(
    way: str, store: str, kept: dict[str, bytes], proxy: Proxy, http: urllib3.ProxyManager
) -> None:
    method = "PUT" if way == "up" else "GET"
    proxy.troubles.append(Flip(proxy.to_store(method), way, 70_000))  # type: ignore[arg-type]
    seen = []
    for _ in range(2):
        http.request("PUT", f"http://{store}/k", body=DATA)
        seen.append(http.request("GET", f"http://{store}/k").data)
    assert [index for index, byte in enumerate(DATA) if seen[0][index] != byte] == [70_000]
    assert seen[1] == DATA
    assert (kept["/k"]) == DATA


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_connection_is_cut_once(way: str, store: str, proxy: Proxy, http: urllib3.ProxyManager) -> None:
    http.request("PUT", f"http://{store}/k", body=DATA)
    method = "PUT" if way == "up" else "GET"
    proxy.troubles.append(Cut(proxy.to_store(method), way, 100_000))  # type: ignore[arg-type]
    with pytest.raises(urllib3.exceptions.HTTPError):
        http.request(method, f"http://{store}/k", body=DATA if way == "up" else None)
    assert http.request(method, f"http://{store}/k", body=DATA if way == "up" else None).status == 200


def test_answers_in_the_stores_stead_never_reach_it(
    store: str, kept: dict[str, bytes], proxy: Proxy, http: urllib3.ProxyManager
) -> None:
    proxy.troubles.append(Answer(proxy.to_store("PUT"), 503, headers={"Retry-After": "1"}))
    answer = http.request("PUT", f"http://{store}/k", body=DATA)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert kept == {}
    assert http.request("PUT", f"http://{store}/k", body=DATA).status == 200


def test_urls_that_were_given_away_can_die(store: str, kept: dict[str, bytes], http: urllib3.ProxyManager) -> None:
    old, new = "a" * 64, "b" * 64
    kept["/upload"] = f'{{"url": "http://s/k?X-Amz-Signature={old}"}}'.encode()
    with Proxy("elsewhere:1") as proxy, urllib3.ProxyManager(proxy.url, retries=False) as http:
        http.request("GET", f"http://{store}/upload")
        proxy.expire()
        assert http.request("GET", f"http://{store}/k?X-Amz-Signature={old}").status == 403
        assert http.request("GET", f"http://{store}/k?X-Amz-Signature={new}").status == 200


def test_offline_breaks_what_is_open_and_lets_nothing_through(
    store: str, proxy: Proxy, http: urllib3.ProxyManager
) -> None:
    http.request("PUT", f"http://{store}/k", body=DATA)
    with proxy.offline(), pytest.raises(urllib3.exceptions.HTTPError):
        http.request("GET", f"http://{store}/k")
    assert http.request("GET", f"http://{store}/k").data == DATA


def test_a_mark_is_called_once_when_its_bytes_have_passed(store: str, proxy: Proxy, http: urllib3.ProxyManager) -> None:
    seen: list[int] = []
    proxy.at("up", len(DATA) + 1, lambda: seen.append(proxy.up))
    http.request("PUT", f"http://{store}/k", body=DATA)
    assert seen == []
    http.request("PUT", f"http://{store}/k", body=DATA)
    http.request("PUT", f"http://{store}/k", body=DATA)
    assert len(seen) == 1
    assert len(DATA) < seen[0] <= 2 * len(DATA)


def test_a_store_that_dies_in_the_middle_is_passed_on_as_a_broken_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as dying:

        def answer() -> None:
            connection, _ = dying.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort")

        threading.Thread(target=answer, daemon=True).start()
        store = f"127.0.0.1:{dying.getsockname()[1]}"
        with Proxy(store) as proxy, urllib3.ProxyManager(proxy.url, retries=False, timeout=60) as http:
            with pytest.raises(urllib3.exceptions.ProtocolError):
                http.request("GET", f"http://{store}/k")
            proxy.settle()
            assert proxy.down == len(b"short")
