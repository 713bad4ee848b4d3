"""A registry and its store in one HTTP server: versions of which a test says every byte, faults where it wants them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import modelkeep
from modelkeep.config import Config, Home

PAGE = {True: 500, False: 1000}  # files a page, with URLs and without


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class FakeRegistry:
    """`versions[name]` is path → bytes; what the store gives instead is in `stored` (by path). All of `alice/bert`."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[str, bytes]] = {}
        self.said: dict[str, dict[str, Any]] = {}  # further or other metadata, by version
        self.rows: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: row  # what the list says of a file
        self.stored: dict[str, bytes] = {}
        self.zip: bytes | None = None
        self.building = 0  # answers before the ZIP is there
        self.calls: list[str] = []  # paths of the API that were asked for, with their queries
        self.gets: list[tuple[str, int, int]] = []  # path, start, bytes that were sent
        self.generation = 0  # URLs of an earlier one are dead
        self.fault: Callable[[str, int, int], int | None] = lambda path, start, count: None
        """Asked before each answer of the store: None, a status, or after how many bytes (negative) to hang up."""
        self._lock = threading.Lock()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 64 * 1024  # else head and body go apart, and the second waits for an ACK

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                if parts.path.startswith("/store/"):
                    registry._store(self, unquote(parts.path.removeprefix("/store/")), query)
                else:
                    with registry._lock:
                        registry.calls.append(self.path)
                    registry._api(self, parts.path, query)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # clients that hang up are what some tests are about

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def bytes_sent(self) -> int:
        return sum(count for _, _, count in self.gets)

    def client(self, home: Path) -> modelkeep.Client:
        config = Config(Home(home, home / "state", home / "cache"))
        return modelkeep.Client(self.url, config=config, patience=3)

    def files(self, version: str) -> list[dict[str, Any]]:
        return [
            self.rows(
                {
                    "filename": path,
                    "file_path": f"models/alice/bert/{version}/{path}",
                    "file_size": len(data),
                    "file_hash": sha256(data),
                    "file_type": "other",
                    "content_type": "application/octet-stream",
                    "is_primary": number == 0,
                    "description": None,
                }
            )
            for number, (path, data) in enumerate(sorted(self.versions[version].items()))
        ]

    def _api(self, handler: Any, path: str, query: dict[str, str]) -> None:
        version = query.get("version") or (list(self.versions)[-1] if self.versions else "")
        if not path.startswith("/ai-models/alice/bert") or version not in self.versions:
            return answer(handler, 404, {"detail": f"no {path} {version}", "code": "version_not_found"})
        files = self.files(version)
        if path.endswith("/files"):
            urls = query.get("urls") == "true"
            start, size = int(query.get("cursor", 0)), PAGE[urls]
            page = files[start : start + size]
            if urls:
                for row in page:
                    where = quote(row["filename"], safe="")
                    row["url"] = f"{self.url}/store/{where}?version={version}&generation={self.generation}"
            headers = {}
            if start + size < len(files):
                asked = f"version={version}" + ("&urls=true" if urls else "")
                headers["Link"] = f'<{self.url}{path}?{asked}&cursor={start + size}>; rel="next"'
            return answer(handler, 200, page, headers)
        if path.endswith("/download"):
            assert query["redirect"] == "true"
            if self.building:
                self.building -= 1
                again = f"{self.url}{path}?version={version}&redirect=true&wait=1"
                return answer(handler, 307, None, {"Location": again})
            to = f"{self.url}/store/the.zip?generation={self.generation}"
            return answer(handler, 307, None, {"Location": to})
        said = {
            "user_id": "alice",
            "model_id": "bert",
            "version": version,
            "name": "BERT",
            "framework": "pytorch",
            "model_type": "nlp",
            "files": files[:1000],
            "file_count": len(files),
            "total_size": sum(map(len, self.versions[version].values())),
            "tags": [],
            "dependencies": [],
            "custom_metadata": {},
            **self.said.get(version, {}),
        }
        return answer(handler, 200, said, {"ETag": f'"{version}"'})

    def _store(self, handler: Any, path: str, query: dict[str, str]) -> None:
        if int(query["generation"]) < self.generation:
            answer(handler, 403, None)
            return
        if path == "the.zip":
            data = self.zip or b""
        else:
            data = self.stored.get(path, self.versions[query["version"]].get(path, b""))
        asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", handler.headers["Range"])
        assert asked is not None
        start, end = int(asked[1]), min(int(asked[2]) + 1, len(data))
        if start >= len(data):
            answer(handler, 416, None)
            return
        fault = self.fault(path, start, end - start)
        if fault is not None and fault > 0:
            answer(handler, fault, None)
            return
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        handler.send_header("Content-Length", str(end - start))
        handler.send_header("ETag", f'"{sha256(data)[:32]}"')
        handler.end_headers()
        count = end - start if fault is None else min(-fault, end - start)
        with self._lock:
            self.gets.append((path, start, count))
        handler.wfile.write(data[start : start + count])
        if fault is not None:
            handler.wfile.flush()
            handler.connection.shutdown(2)
            handler.close_connection = True


def answer(handler: Any, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    raw = b"" if body is None else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(raw)))
    handler.end_headers()
    handler.wfile.write(raw)


@contextlib.contextmanager
def serving() -> Iterator[FakeRegistry]:
    registry = FakeRegistry()
    thread = threading.Thread(target=registry.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.server.shutdown()
        registry.server.server_close()
        thread.join()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below, ours too, except the marker."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".modelkeep.json"
    }
