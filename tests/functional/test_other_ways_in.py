"""Other ways to what is another's: other spellings and methods, uploads of one's own, keys, cursors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.functional.kit import form_body, nothing_written
from tests.functional.test_who_may_call import assert_unauthenticated

Ask = Callable[..., Any]


@pytest.mark.parametrize(
    "path",
    [
        "/ai-models/alice/m/",
        "/ai-models//alice/m",
        "//ai-models/alice/m",
        "/ai-models/alice%2Fm",
        "/ai-models/%61lice/m",
        "/ai-models/mallory/..%2Falice%2Fm",
        "/ai-models/mallory%2F..%2Falice/m",
        "/ai-models/alice;mallory/m",
        "/ai-models/search/alice/",
        "/ai-models/ALICE/m",
        "/AI-MODELS/alice/m",
        "/ai-models/grants/alice/m/carol",
        "/ai-models/grants/alice/m/carol/",
        "/ai-models/grants/alice//carol",
        "/ai-models/grants/alice/m%2Fcarol",
        "/ai-models/grants/%61lice/%6D/carol",
        "/ai-models/grants/mallory/%2e%2e/alice/carol",
        "/ai-models/grants/alice",
        "/ai-models/grants/alice/",
        "/ai-models/tokens/",
    ],
)
@pytest.mark.case("N16")
def test_no_other_spelling_or_method_leads_to_what_is_anothers(ask: Ask, upload_id: str, path: str) -> None:
    override = {"X-HTTP-Method-Override": "GET", "X-Original-URL": "/ai-models/alice/m", "X-User-Id": "alice"}
    with nothing_written():
        for method in ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "TRACE"):
            answer = ask("mallory", method, path, headers=override)
            assert answer.status_code in (400, 404, 405), (method, answer.text)
            answer = ask(None, method, path, headers=override)
            assert answer.status_code in ((400, 404, 405) if method == "OPTIONS" else (401,)), (method, answer.text)


def test_an_upload_of_ones_own_cannot_name_another_namespace_anywhere(ask: Ask, upload_id: str) -> None:
    mine = {"user_id": "mallory", "model_id": "m", "version": "v1", "name": "M", "files": [{"path": "a", "size": 1}]}
    begun = ask("mallory", "POST", "/ai-models/upload/direct", json=mine)
    assert begun.status_code == 201
    own = begun.json()["upload_id"]
    key = urlsplit(begun.json()["files"][0]["put"]["url"]).path
    assert "/modelkeep/uploads/mallory/" in key or key.startswith("/uploads/mallory/")
    with nothing_written():
        for path in ("../../alice/m/v1/a", "/models/alice/m/v1/a", "..\\alice"):
            answer = ask(
                "mallory", "POST", f"/ai-models/upload/{own}/files", json={"files": [{"path": path, "size": 1}]}
            )
            assert answer.status_code == 400
        extra = {"files": [{"path": "b", "size": 1}], "user_id": "alice"}
        assert ask("mallory", "POST", f"/ai-models/upload/{own}/files", json=extra).status_code == 400
    assert ask("alice", "GET", f"/ai-models/upload/{own}").status_code == 404


def test_an_idempotency_key_of_another_principal_reveals_nothing(ask: Ask, upload_id: str) -> None:
    key = {"Idempotency-Key": "the same"}

    def start(who: str, user_id: str) -> Any:
        request = {"user_id": user_id, "model_id": "k", "version": "v1", "name": "K", "archive": {"size": 1}}
        return ask(who, "POST", "/ai-models/upload/direct", json=request, headers=key)

    first = start("alice", "alice")
    assert first.status_code == 201
    again = start("alice", "alice")
    assert again.json()["upload_id"] == first.json()["upload_id"]
    with nothing_written():
        other = start("mallory", "alice")
        assert other.status_code == 404
        assert first.json()["upload_id"] not in other.text
    own = start("mallory", "mallory")  # neither the key nor a mismatch with it is known to others
    assert own.status_code == 201
    assert own.json()["upload_id"] != first.json()["upload_id"]
    assert own.json()["user_id"] == "mallory"


def test_a_cursor_of_anothers_list_leads_nowhere_but_in_ones_own(ask: Ask, upload_id: str) -> None:
    for who in ("alice", "mallory"):
        for model_id in ("one", "two", "three"):
            fields = [("user_id", who), ("model_id", model_id), ("name", "N"), ("file", "a.pkl", b"1")]
            body, headers = form_body(fields)
            assert ask(who, "POST", "/ai-models/upload/single", content=body, headers=headers).status_code == 200
    for path in ("/ai-models/{}", "/ai-models/search/{}"):
        first = ask("alice", "GET", path.format("alice"), params={"limit": 1})
        link = first.headers["link"].split(">")[0][1:]
        assert ask("mallory", "GET", link).json() == []
        followed = ask("mallory", "GET", link.replace("alice", "mallory"))
        if followed.status_code == 200:
            assert {each["user_id"] for each in followed.json()} <= {"mallory"}
        assert "alice" not in json.dumps(followed.json())


def test_the_documentation_is_open_and_nothing_below_it(ask: Ask) -> None:
    assert ask(None, "GET", "/docs").status_code == 200
    assert ask(None, "GET", "/openapi.json").status_code == 200
    for path in ("/docs/", "/docs/x", "/openapi.json/", "/", "/ai-models", "/health"):
        assert_unauthenticated(ask(None, "GET", path))
