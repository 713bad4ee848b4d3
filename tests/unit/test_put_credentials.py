"""Whose credentials sign PUT URLs: the function's, or temporary ones for the inbox, which are asked for seldom."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError
from registry.settings import get_settings
from registry.storage import presigning
from registry.storage.client import forget_clients

HOUR = 3600


class Store(ThreadingHTTPServer):
    """Answers AssumeRole as MinIO does, and nothing else."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, str]] = []
        self.good_for = 12 * HOUR
        self.refuses = False


class _Handler(BaseHTTPRequestHandler):
    server: Store

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.asked.append({name: values[0] for name, values in form.items()})
        number = len(self.server.asked)
        time.sleep(0.05)  # for whoever else would ask meanwhile
        ends = datetime.fromtimestamp(time.time() + self.server.good_for, UTC).isoformat()
        given = f"<AccessKeyId>TEMP{number}</AccessKeyId><SecretAccessKey>secret{number}</SecretAccessKey>"
        given += f"<SessionToken>token{number}</SessionToken><Expiration>{ends}</Expiration>"
        body = f"<AssumeRoleResult><Credentials>{given}</Credentials></AssumeRoleResult>"
        if self.server.refuses:
            body = "<Error><Type></Type><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
        self.send_response(403 if self.server.refuses else 200)
        self.end_headers()
        tag = "ErrorResponse" if self.server.refuses else "AssumeRoleResponse"
        self.wfile.write(f'<{tag} xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{body}</{tag}>'.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    store = Store()
    threading.Thread(target=store.serve_forever, args=(0.05,), daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{store.server_port}",
        "AWS_ACCESS_KEY_ID": "OWN",
        "AWS_SECRET_ACCESS_KEY": "own",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
        "REGISTRY_BUCKET": "bucket",
        "REGISTRY_TABLE": "table",
        "REGISTRY_PUT_CREDENTIALS": "inbox",
        "REGISTRY_PUBLIC_S3_ENDPOINT": "http://store.example:9000",
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    forget_clients()
    yield store
    store.shutdown()
    store.server_close()
    get_settings.cache_clear()
    forget_clients()


def signed(url: str) -> tuple[str, str | None]:
    """The access key and the session token of a URL."""
    query = parse_qs(urlsplit(url).query)
    return query["X-Amz-Credential"][0].split("/")[0], query.get("X-Amz-Security-Token", [None])[0]


def put() -> tuple[str, str | None]:
    return signed(presigning.presign_put("modelkeep/uploads/u/x/1", size=1, sha256=None)[0])


def part() -> tuple[str, str | None]:
    return signed(presigning.presign_part("modelkeep/uploads/u/x/1", "id", 1, size=1, sha256=None)[0])


def get() -> tuple[str, str | None]:
    return signed(presigning.presign_get("models/u/m/v1/a", disposition="attachment"))


def test_by_default_the_function_signs_and_no_sts_is_asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGISTRY_PUT_CREDENTIALS")
    get_settings.cache_clear()
    assert put() == part() == get() == ("OWN", None)
    assert not store.asked


def test_what_is_asked_for_may_write_the_inbox_and_no_more(store: Store) -> None:
    assert put() == part() == ("TEMP1", "token1")
    assert get() == ("OWN", None)
    (asked,) = store.asked
    assert asked["Action"] == "AssumeRole"
    may = {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::bucket/modelkeep/uploads/*"]}
    assert json.loads(asked["Policy"]) == {"Version": "2012-10-17", "Statement": [may]}
    assert int(asked["DurationSeconds"]) >= 3 * HOUR


def test_urls_are_for_the_host_where_clients_reach_the_store(store: Store) -> None:
    url, _ = presigning.presign_put("modelkeep/uploads/u/x/1", size=1, sha256=None)
    assert url.startswith("http://store.example:9000/bucket/modelkeep/uploads/u/x/1?")


def test_many_threads_ask_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert {each.result() for each in [pool.submit(put) for _ in range(40)]} == {("TEMP1", "token1")}
    assert len(store.asked) == 1


@pytest.mark.parametrize(("hours", "keys"), [(2.1, ["TEMP1", "TEMP1"]), (1.9, ["TEMP1", "TEMP2"])])
def test_credentials_that_might_end_before_a_url_are_renewed(store: Store, hours: float, keys: list[str]) -> None:
    store.good_for = int(hours * HOUR)
    assert [put()[0] for _ in range(2)] == keys


def test_a_refusal_is_an_error_and_asked_again(store: Store) -> None:
    """By another request: nothing is signed by the function instead."""
    store.refuses = True
    with pytest.raises(ClientError, match="AssumeRole"):
        put()
    store.refuses = False
    assert put() == ("TEMP2", "token2")
