"""What goes over the wire to S3: no body is hashed a second time to be signed, none is sent in botocore's chunks, and
there is a connection for everyone who waits for one."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from registry.settings import get_settings
from registry.storage import multiparts, objects, parts
from registry.storage.client import CONNECTIONS, forget_clients, s3
from registry.storage.writing import ObjectWriter
from registry.uploads import members

MIB = 1024 * 1024


class _Recorder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str, dict[str, str]]]] = []

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.seen.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        body = b""
        if self.command == "POST":
            body = b"<R><UploadId>u</UploadId><ETag>&quot;e&quot;</ETag></R>"
        self.send_response(200)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_POST = do_DELETE = _answer  # noqa: N815  # http.server's names

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Any:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Recorder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
        "REGISTRY_BUCKET": "bucket",
        "REGISTRY_TABLE": "table",
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    forget_clients()
    _Recorder.seen.clear()
    yield _Recorder.seen
    server.shutdown()
    server.server_close()
    get_settings.cache_clear()
    forget_clients()


def test_no_body_is_signed_and_each_has_one_checksum_of_ours(seen: Any) -> None:
    objects.put_object("models/u/m/v1/a", b"x" * MIB)
    with ObjectWriter("models/u/m/v1/b", 20 * MIB) as writer:
        for _ in range(20):
            writer.write(b"x" * MIB)
        writer.finish()
    bodies = [(path, headers) for command, path, headers in seen if command == "PUT"]
    assert len(bodies) == 4
    for path, headers in bodies:
        assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD", path
        assert "x-amz-trailer" not in headers
        assert "aws-chunked" not in headers.get("content-encoding", "")
        given = [name for name in headers if name.startswith("x-amz-checksum-")]
        assert given == (["x-amz-checksum-sha256"] if path.endswith("/a") else ["x-amz-checksum-crc32"])


def test_over_https_it_is_the_same(seen: Any) -> None:
    """What is sent is asked of botocore itself, just before it goes out."""
    import boto3

    class SentError(Exception):
        pass

    sent: list[dict[str, Any]] = []
    client = boto3.client("s3", config=s3().meta.config, endpoint_url="https://s3.us-east-1.amazonaws.com")

    def keep(request: Any, **_: Any) -> None:
        sent.append(dict(request.headers))
        raise SentError

    client.meta.events.register("before-send.s3", keep)
    with pytest.raises(SentError):
        client.put_object(Bucket="bucket", Key="a", Body=b"x", ChecksumSHA256="x" * 44)
    (headers,) = sent
    assert headers["X-Amz-Content-SHA256"] in ("UNSIGNED-PAYLOAD", b"UNSIGNED-PAYLOAD")
    assert not any("trailer" in name.lower() for name in headers)


def test_there_is_a_connection_for_everyone() -> None:
    assert parts.COPIES_AT_ONCE + 3 * 4 <= CONNECTIONS  # copies beside the parts of three writers
    assert members._PUTS_AT_ONCE + 3 <= CONNECTIONS  # small files beside three reads
    assert multiparts.MAX_PARTS * parts.PART_BYTES < multiparts.MAX_OBJECT_BYTES, "parts grow with the object"
    assert multiparts.plan_parts(multiparts.MAX_OBJECT_BYTES, smallest=parts.PART_BYTES).count <= multiparts.MAX_PARTS
