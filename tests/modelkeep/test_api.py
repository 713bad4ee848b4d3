"""Requests to a registry that answers as registries, proxies and broken networks do."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import tenacity.nap
from modelkeep import Client
from modelkeep.api import Api
from modelkeep.connections import Connections
from modelkeep.errors import (
    ConflictError,
    DeniedError,
    IntegrityError,
    InvalidError,
    ModelkeepError,
    NotFoundError,
    UnavailableError,
    UnreachableError,
)
from modelkeep.results import Put
from modelkeep.store import ExpiredError, Store

from tests.modelkeep.serving import Reply, Request, serving

SECRET = "X-Amz-Signature=5ec7e7"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(tenacity.nap.time, "sleep", waited.append)
    return waited


def reply(body: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps(body).encode(), headers)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, InvalidError, 9),
        (401, DeniedError, 4),
        (403, DeniedError, 4),
        (404, NotFoundError, 3),
        (409, ConflictError, 5),
        (412, ConflictError, 5),
        (418, ModelkeepError, 1),
    ],
)
def test_a_refusal_is_its_exception_and_is_not_asked_again(status: int, kind: type, code: int) -> None:
    said = {"detail": "why", "code": "word", "upload_id": "u1"}
    with serving(lambda _: reply(said, status)) as server, pytest.raises(ModelkeepError) as caught:
        Api(server.url, None).call("POST", "/x", body={})
    error = caught.value
    assert type(error) is kind
    assert (error.detail, error.code, error.extra, error.status) == ("why", "word", {"upload_id": "u1"}, status)
    assert error.exit_code == code
    assert len(server.requests) == 1


@pytest.mark.parametrize("first", [Reply(503), Reply(502, b"<html>"), Reply(429), Reply(500), Reply(None)])
def test_what_may_pass_is_asked_again(first: Reply) -> None:
    answers = iter([first, first, reply({"a": 1})])
    with serving(lambda _: next(answers)) as server:
        assert Api(server.url, None).call("GET", "/x").body == {"a": 1}
    assert len(server.requests) == 3


def test_a_server_that_says_when_is_given_that_time(no_waiting: list[float]) -> None:
    answers = iter([reply({}, 503, **{"Retry-After": "7"}), reply(None)])
    with serving(lambda _: next(answers)) as server:
        Api(server.url, None).call("GET", "/x")
    assert no_waiting[0] >= 7


def test_patience_ends_with_the_last_error() -> None:
    with (
        serving(lambda _: reply({"detail": "busy"}, 503, **{"X-Request-Id": "r-1"})) as server,
        pytest.raises(UnavailableError, match=r"busy \(request r-1\)"),
    ):
        Api(server.url, None, patience=0).call("GET", "/x")


def test_what_may_have_been_done_is_not_done_twice() -> None:
    with serving(lambda _: Reply(None)) as server, pytest.raises(UnreachableError) as caught:
        Api(server.url, None).call("DELETE", "/x", repeatable=False)
    assert caught.value.sent
    assert len(server.requests) == 1


def test_nobody_there() -> None:
    with serving(lambda _: reply(None)) as server:
        pass
    with pytest.raises(UnreachableError, match="nobody answers there") as caught:
        Api(server.url, None, patience=0).call("GET", "/x")
    assert not caught.value.sent
    assert "doctor" in (caught.value.hint or "")


def test_a_page_that_is_no_registry_s_is_told_apart() -> None:
    with serving(lambda _: Reply(200, b"<html>sign in</html>")) as server, pytest.raises(UnavailableError) as caught:
        Api(server.url, None, patience=0).call("GET", "/x")
    assert caught.value.code == "not_a_registry"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (Reply(301, b"", {"Location": "https://models.example.com/x"}), "https://models.example.com"),
        (Reply(307, b"", {"Location": "https://models.example.com/x"}), "https://models.example.com"),
        (Reply(302, b"<html>"), "MODELKEEP_URL"),
        (Reply(404, b"<html>"), "MODELKEEP_URL"),
        (Reply(404, b'{"detail": "Not Found", "code": "no_such_route"}'), "MODELKEEP_URL"),
        (Reply(405, b"{}"), "MODELKEEP_URL"),
    ],
)
def test_a_wrong_url_is_no_missing_model_and_no_fault_of_ours(answer: Reply, hint: str) -> None:
    with serving(lambda _: answer) as server, pytest.raises(UnavailableError) as caught:
        Api(server.url, None).call("GET", "/ai-models/alice")
    assert (caught.value.code, caught.value.exit_code, caught.value.status) == ("not_a_registry", 7, answer.status)
    assert hint in f"{caught.value.detail} {caught.value.hint}"
    assert len(server.requests) == 1


def test_a_download_may_be_sent_on() -> None:
    with serving(lambda _: Reply(307, b"", {"Location": "https://store/k"})) as server:
        assert (
            Api(server.url, None).call("GET", "/a/b/download", redirect=True).headers["location"] == "https://store/k"
        )


def test_a_token_that_is_refused_is_not_asked_for_as_if_there_were_none() -> None:
    with serving(lambda _: reply({"message": "Unauthorized"}, 401)) as server:
        for token, hint in ((None, "Sign in"), ("eyJ", "whoami")):
            with pytest.raises(DeniedError, match="Unauthorized") as caught:
                Api(server.url, token).call("GET", "/x")
            assert hint in (caught.value.hint or "")


def test_pages_follow_their_links_to_this_host_alone() -> None:
    def answer(request: Request) -> Reply:
        if "cursor" in request.path:
            return reply([3])
        return reply([1, 2], Link='<https://evil.example.com/prod/x?limit=2&cursor=a%2Bb>; rel="next"')

    with serving(answer) as server:
        assert list(Api(server.url + "/prod", "token").rows("/x", query={"limit": 2, "latest": None})) == [1, 2, 3]
    assert [request.path for request in server.requests] == ["/prod/x?limit=2", "/prod/x?limit=2&cursor=a%2Bb"]
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer token"}


def test_lists_ask_for_a_page_when_it_is_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("MODELKEEP_HOME", str(tmp_path))
    rows = [{"filename": f"{number}", "file_path": "", "file_size": 1, "file_hash": "", "file_type": "", "content_type":
             "", "is_primary": False} for number in range(2)]  # fmt: skip
    with serving(lambda request: reply(rows, Link=f'<{request.path}&cursor=x>; rel="next"')) as server:
        files: Iterator[Any] = Client(server.url).files("alice/bert", urls=True)
        assert server.requests == []
        next(files), next(files)
        assert len(server.requests) == 1
        next(files)
        assert len(server.requests) == 2


def test_the_store_never_gets_the_token_and_no_error_has_the_url() -> None:
    answers = iter([Reply(403, b"<Code>AccessDenied</Code>"), Reply(503), Reply(400, b"<Code>BadDigest</Code>")])
    with serving(lambda _: next(answers)) as server:
        store, put = Store(Connections()), Put(f"{server.url}/o?{SECRET}", {"x-amz-checksum-sha256": "AA=="})
        for kind in (ExpiredError, UnavailableError, IntegrityError):
            with pytest.raises(kind) as caught:
                store.put(put, iter([b"ab", b"c"]), 3)
            assert SECRET not in f"{caught.value.detail} {caught.value.hint}"
    for request in server.requests:
        assert "authorization" not in request.headers
        assert (request.headers["content-length"], request.body) == ("3", b"abc")
        assert request.headers["x-amz-checksum-sha256"] == "AA=="
        assert "transfer-encoding" not in request.headers


def test_a_range_that_ends_early_or_is_another_is_no_range() -> None:
    def answer(request: Request) -> Reply:
        assert request.headers["range"] == "bytes=2-5"
        return next(answers)

    answers = iter(
        [
            Reply(206, b"cdef", {"Content-Range": "bytes 2-5/9"}),
            Reply(206, b"cd", {"Content-Range": "bytes 2-5/9", "Content-Length": "2"}),
            Reply(206, b"abcd", {"Content-Range": "bytes 0-3/9"}),
            Reply(200, b"abcdefghi"),
            Reply(416, b""),
        ]
    )
    with serving(answer) as server:
        store = Store(Connections())
        url = f"{server.url}/o?{SECRET}"
        assert b"".join(store.get(url, 2, 4)) == b"cdef"
        for kind in (UnreachableError, UnavailableError, UnavailableError, IntegrityError):
            with pytest.raises(kind) as caught:
                list(store.get(url, 2, 4))
            assert SECRET not in str(caught.value)
        assert list(store.get(url, 0, 0)) == []


def test_proxies_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda _: reply({"through": "proxy"})) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "http://user:pass%21@"))
        monkeypatch.setenv("no_proxy", "direct.example.com")
        assert Api("http://models.example.com", None).call("GET", "/x").body == {"through": "proxy"}
    assert proxy.requests[0].path == "http://models.example.com/x"
    assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwYXNzIQ=="


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_no_answer(status: int, no_waiting: list[float]) -> None:
    there = Reply(status, b"", {"Location": "https://user:secret@real.example/x?signature=secret"})
    with serving(lambda _: there) as server, pytest.raises(UnavailableError) as caught:
        Api(server.url, None, patience=0).call("GET", "/x")
    assert caught.value.code == "not_a_registry"
    assert "to https://real.example" in caught.value.detail
    assert "secret" not in caught.value.detail


def test_a_redirect_that_is_asked_for_is_an_answer() -> None:
    with serving(lambda _: Reply(307, b"no JSON", {"Location": "https://store/x"})) as server:
        answer = Api(server.url, None).call("GET", "/x", redirect=True)
    assert (answer.status, answer.headers["location"]) == (307, "https://store/x")


@pytest.mark.parametrize(
    "bad", [Reply(200, b"[" * 100_000), Reply(503, b"", {"Retry-After": "\xb2"}), Reply(200, b" " * 2000)]
)
def test_what_no_registry_says_is_no_fault_of_ours(bad: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelkeep.api._MAX_ANSWER", 150_000 if bad.body[:1] == b"[" else 1000)
    with serving(lambda _: bad) as server, pytest.raises(UnavailableError):
        Api(server.url, None, patience=0).call("GET", "/x")


def test_a_header_that_can_not_be_sent_is_not_shown() -> None:
    with pytest.raises(ModelkeepError) as caught:
        Api("http://127.0.0.1:1", None).call("GET", "/x", headers={"If-Match": "a\nsecret"})
    assert (caught.value.code, "secret" in caught.value.detail) == ("bad_header", False)


def test_a_store_that_sends_more_than_was_asked_for_is_not_believed() -> None:
    """Without a length, and without an end."""

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(206)
            self.send_header("Content-Range", "bytes 0-9/10")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                while True:
                    self.wfile.write(b"x" * 100_000)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        with pytest.raises(UnavailableError):
            for chunk in Store(Connections()).get(f"http://127.0.0.1:{server.server_port}/x", 0, 10):
                assert len(chunk) <= 10
        server.shutdown()
