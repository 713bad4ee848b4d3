"""A small registry and store over HTTP, in memory, that does wrong what it is told to: what a push meets on its way."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PART = 64 * 1024  # bytes of a part here; the real one's is 16 MiB


@dataclass
class FakeUpload:
    """An upload, and what was sent of it: whole files by path (None: the archive), parts by path and number."""

    upload_id: str
    version: str
    body: dict[str, Any]
    files: list[dict[str, Any]]
    status: str = "uploading"
    code: str | None = None
    whole: dict[str | None, bytes] = field(default_factory=dict)
    parts: dict[tuple[str | None, int], bytes] = field(default_factory=dict)
    known: set[str | None] = field(default_factory=set)
    failed: set[str | None] = field(default_factory=set)

    def has(self, file: dict[str, Any]) -> bool:
        """Whether all of a file is there, and is what was announced."""
        data = self.content(file)
        return file["path"] in self.known or (
            data is not None and file.get("sha256") in (None, hashlib.sha256(data).hexdigest())
        )

    def content(self, file: dict[str, Any]) -> bytes | None:
        path, size = file["path"], file["size"]
        if size <= PART:
            return self.whole.get(path)
        got = [self.parts.get((path, number)) for number in range(1, -(-size // PART) + 1)]
        return None if None in got else b"".join(each for each in got if each is not None)


Fault = Callable[["Handler"], bool]  # whether it has answered, or done away with the request


class FakeRegistry:
    """`fault(name, …)` makes the next requests of a kind go wrong; `calls` and `puts` tell what came."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.uploads: dict[str, FakeUpload] = {}
        self.versions: dict[tuple[str, str], FakeUpload] = {}
        self.keys: dict[str, str] = {}
        self.calls: list[str] = []
        self.puts: list[tuple[str | None, int, int]] = []  # path, part's number (0: whole), bytes that came
        self.faults: dict[str, list[Fault]] = {}
        self.updates: list[dict[str, Any]] = []
        self.errors: list[Exception] = []  # of this registry's own
        self.url = ""
        self.inline = 1000  # files in a version's answer

    def fault(self, kind: str, *faults: Fault) -> None:
        self.faults.setdefault(kind, []).extend(faults)

    @property
    def bytes_put(self) -> int:
        return sum(count for _, _, count in self.puts)

    def files_of(self, model_id: str, version: str) -> dict[str | None, bytes]:
        """What a version holds."""
        upload = self.versions[model_id, version]
        return {file["path"]: upload.content(file) or b"" for file in upload.files}

    # -- what routes do ------------------------------------------------------------------------------------------------

    def begin(self, body: dict[str, Any], key: str) -> FakeUpload | dict[str, Any]:
        if key in self.keys:
            upload = self.uploads[self.keys[key]]
            return upload if upload.body == body else {"code": "idempotency_mismatch"}
        version = body.get("version")
        if version is None:
            version = (
                f"v{1 + len([each for each in self.uploads.values() if each.body['model_id'] == body['model_id']])}"
            )
        if (body["model_id"], version) in self.versions:
            return {"code": "version_exists"}
        for other in self.uploads.values():
            if (other.body["model_id"], other.version, other.status) == (body["model_id"], version, "uploading"):
                return {"code": "version_uploading", "upload_id": other.upload_id}
        upload = FakeUpload(f"{len(self.uploads):032x}", version, body, [])
        self.add(upload, [{"path": None, **body["archive"]}] if "archive" in body else body["files"])
        self.uploads[upload.upload_id] = upload
        self.keys[key] = upload.upload_id
        return upload

    def add(self, upload: FakeUpload, files: list[dict[str, Any]]) -> bool:
        if {file["path"] for file in upload.files} & {file["path"] for file in files}:
            return False
        upload.files += files
        have: dict[str | None, bytes | None] = {}
        for version in self.versions.values():
            have |= {file.get("sha256"): version.content(file) for file in version.files}
        for file in files:
            if file["path"] is not None and "sha256" in file and file["sha256"] in have:
                upload.known.add(file["path"])
                data = have[file["sha256"]]
                assert data is not None
                if file["size"] <= PART:
                    upload.whole[file["path"]] = data
                for at in range(0, len(data), PART):
                    upload.parts[file["path"], at // PART + 1] = data[at : at + PART]
        return True

    def complete(self, upload: FakeUpload) -> dict[str, Any] | None:
        """What it refuses with, or None once the version is there."""
        missing = []
        for file in upload.files:
            if upload.has(file):
                continue
            if upload.content(file) is not None:  # all came, and is something else
                upload.failed.add(file["path"])
                upload.whole.pop(file["path"], None)
                upload.parts = {key: data for key, data in upload.parts.items() if key[0] != file["path"]}
            missing.append({"path": file["path"], "parts": []})
        if missing:
            return {"code": "upload_incomplete", "missing": missing[:100]}
        upload.status = "ready"
        self.versions[upload.body["model_id"], upload.version] = upload
        return None

    def show(self, upload: FakeUpload, query: dict[str, str]) -> dict[str, Any]:
        """The page that is asked for; `cursor` is the number of its first file."""
        limit, first = int(query.get("limit", 1000)), int(query.get("cursor", 0))
        shown = [self._file(upload, file, query) for file in upload.files]
        chosen = [file for file in shown[first:] if query.get("state") in (None, file["status"])]
        page = {
            "upload_id": upload.upload_id,
            "user_id": "alice",
            "model_id": upload.body["model_id"],
            "version": upload.version,
            "status": upload.status,
            "created_at": "",
            "expires_at": "",
            "code": upload.code,
            "detail": upload.code,
            "file_count": len(upload.files),
            "bytes_total": sum(file["size"] for file in upload.files),
            "bytes_stored": 0,
            "files": [] if shown[0]["path"] is None else chosen[:limit],
        }
        if shown[0]["path"] is None:
            page["archive"] = shown[0]
        elif len(chosen) > limit:
            page["next"] = shown.index(chosen[limit])
        return page

    def _file(self, upload: FakeUpload, file: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        path, size = file["path"], file["size"]
        status = "failed" if path in upload.failed else "pending"
        if path in upload.known:
            status = "stored"
        if upload.status == "ready":
            status = "verified"
        shown = {"path": path, "size": size, "sha256": file.get("sha256"), "status": status, "code": None}
        if upload.status == "ready":
            shown["sha256"] = hashlib.sha256(upload.content(file) or b"").hexdigest()
        if status in ("pending", "failed"):
            if size > PART:
                stored = sorted(number for at, number in upload.parts if at == path)
                shown["multipart"] = {"part_size": PART, "part_count": -(-size // PART), "stored_parts": stored}
            elif query.get("urls") == "true":
                shown["put"] = self.put(upload, upload.files.index(file), 0, file.get("sha256"))
        return shown

    def put(self, upload: FakeUpload, slot: int, number: int, sha256: str | None) -> dict[str, Any]:
        headers = {}
        if sha256 is not None:
            headers["x-amz-checksum-sha256"] = base64.b64encode(bytes.fromhex(sha256)).decode()
        return {
            "url": f"{self.url}/store/{upload.upload_id}/{slot}/{number}?X-Amz-Signature=secret",
            "headers": headers,
        }


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    registry: FakeRegistry

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        where = url.path.strip("/").split("/")
        kind = self._kind(where)
        self.damage = self.mute = False  # of this request; the next may come by the same connection
        faults = self.registry.faults.get(kind, [])
        with self.registry.lock:
            self.registry.calls.append(kind)
            fault = faults.pop(0) if faults else None
        if fault is not None and fault(self):
            return
        self.data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.registry.lock:
            try:
                answer = self._answer(kind, where, query)
            except Exception as error:  # noqa: BLE001  # told by `errors`
                self.registry.errors.append(error)
                answer = 418, {"detail": repr(error)}, {}
        if self.mute:
            self.reset()
            return
        self.send(*answer)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def _kind(self, where: list[str]) -> str:
        if where[0] == "store":
            return "put"
        if where[1] != "upload":
            return "files" if where[-1] == "files" else {"GET": "get", "PUT": "update"}[self.command]
        if self.command == "POST":
            return {"direct": "begin"}.get(where[2]) or {"files": "add"}.get(where[3], where[3])
        return {"GET": "look", "DELETE": "abort"}[self.command]

    def _answer(self, kind: str, where: list[str], query: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        registry = self.registry
        if kind == "put":
            return self._store(where)
        body = json.loads(self.data) if self.data else {}
        if kind in ("get", "files", "update"):
            if kind == "update":
                registry.updates.append(body)
            return self._version(kind, where[2], query.get("version"))
        if kind == "begin":
            begun = registry.begin(body, self.headers["Idempotency-Key"])
            if isinstance(begun, dict):
                return 409, {"detail": "taken", **begun}, {}
            return self._page(201, begun, query)
        upload = registry.uploads.get(where[2])
        if upload is None:
            return 404, {"detail": "no such upload", "code": "upload_not_found"}, {}
        if kind == "abort":
            upload.status = "aborted"
        elif kind != "look" and upload.status not in ("uploading", "processing"):
            if kind != "complete" or upload.status != "ready":
                return 409, {"detail": "ended", "code": "upload_ended"}, {}
        elif kind == "add":
            if not registry.add(upload, body["files"]):
                return 400, {"detail": "twice", "code": "path_duplicate"}, {}
        elif kind == "parts":
            slot = next(i for i, file in enumerate(upload.files) if file["path"] == body["path"])
            parts = [
                {"number": part["number"], **registry.put(upload, slot, part["number"], part["sha256"])}
                for part in body["parts"]
            ]
            return 200, {"parts": parts}, {}
        elif kind == "complete" and (refusal := registry.complete(upload)) is not None:
            return 400, {"detail": "not whole", **refusal}, {}
        return self._page(200, upload, query)

    def _page(self, status: int, upload: FakeUpload, query: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        page = self.registry.show(upload, query)
        following = page.pop("next", None)
        if following is None:
            return status, page, {}
        again = "&".join(f"{name}={value}" for name, value in query.items() if name != "cursor")
        link = f'<{self.registry.url}/ai-models/upload/{upload.upload_id}?{again}&cursor={following}>; rel="next"'
        return status, page, {"Link": link}

    def _version(self, kind: str, model_id: str, version: str | None) -> tuple[int, Any, dict[str, str]]:
        upload = self.registry.versions.get((model_id, version or ""))
        if upload is None:
            return 404, {"detail": "no such version", "code": "version_not_found"}, {}
        files = [
            {
                "filename": file["path"],
                "file_size": file["size"],
                "file_hash": hashlib.sha256(upload.content(file) or b"").hexdigest(),
                "file_type": "other",
                "content_type": "",
                "is_primary": file["path"] == upload.body.get("primary_file_path"),
                "file_path": "",
            }
            for file in upload.files
        ]
        if kind == "files":
            return 200, files, {}
        said = {name: value for name, value in upload.body.items() if name not in ("files", "archive")}
        facts = {"file_count": len(files), "total_size": sum(file["file_size"] for file in files)}
        return (
            200,
            {**said, "user_id": "alice", "version": version, **facts, "files": files[: self.registry.inline]},
            {},
        )

    def _store(self, where: list[str]) -> tuple[int, Any, dict[str, str]]:
        upload, slot, number = self.registry.uploads[where[1]], int(where[2]), int(where[3])
        path = upload.files[slot]["path"]
        self.registry.puts.append((path, number, len(self.data)))
        said = self.headers.get("x-amz-checksum-sha256")
        if self.damage:
            self.data = b"\0" + self.data[1:]
        if said is not None and base64.b64decode(said) != hashlib.sha256(self.data).digest():
            return 400, "<Error><Code>BadDigest</Code></Error>", {}
        if upload.status not in ("uploading", "processing"):
            return 404, "<Error><Code>NoSuchUpload</Code></Error>", {}
        upload.failed.discard(path)
        if number:
            upload.parts[path, number] = self.data
        else:
            upload.whole[path] = self.data
        return 200, "", {}

    def send(self, status: int, body: Any, headers: dict[str, str]) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def reset(self) -> None:
        """The connection ends as when a cable is pulled."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def answers(status: int, body: Any, **headers: str) -> Fault:
    """Reads the request and answers with this instead."""

    def fault(handler: Handler) -> bool:
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        handler.send(status, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return fault


def breaks_off(after: int) -> Fault:
    """Resets the connection when so many bytes of the body are read."""

    def fault(handler: Handler) -> bool:
        length = min(after, int(handler.headers.get("Content-Length") or 0))
        handler.registry.puts.append(("", 0, len(handler.rfile.read(length))))
        handler.reset()
        return True

    return fault


def damages(handler: Handler) -> bool:
    """Flips what arrives."""
    handler.damage = True
    return False


def says_nothing(handler: Handler) -> bool:
    """Does what is asked, and the answer is lost."""
    handler.mute = True
    return False


@contextmanager
def serving() -> Iterator[FakeRegistry]:
    """A fake registry that is gone afterwards."""
    registry = FakeRegistry()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"registry": registry}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # of connections that we broke off ourselves
    registry.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
    assert not registry.errors
