"""Every route of the composed app, behind the gateway of `make run`, as its owner, as another user, as nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from registry import naming
from registry.web import apps

from local.app import find_routers, sort_routers
from local.gateway import Gateway
from tests.asgi import call
from tests.functional.kit import form_body, make_zip, nothing_written
from tests.issuer import Issuer

Ask = Callable[..., Any]
Request = dict[str, Any]

META = [("user_id", "alice"), ("model_id", "new"), ("name", "New")]
TOKEN_ID = "tok_" + "0" * 32  # of alice's token
MODEL, UPLOAD = "/ai-models/{user_id}/{model_id}", "/ai-models/upload/{upload_id}"
PART = {"path": "big", "parts": [{"number": 1, "sha256": "0" * 64}]}


def form(*file: Any) -> Request:
    body, headers = form_body([*META, file])
    return {"content": body, "headers": headers}


# Every route: what is sent for alice's model `m` or open upload, and the status that she gets.
ROUTES: dict[tuple[str, str], tuple[Request, int]] = {
    ("POST", "/ai-models/upload/single"): (form("file", "model.pkl", b"1"), 200),
    ("POST", "/ai-models/upload/folder"): (form("zip_file", "a.zip", make_zip({"a": b"1"})), 200),
    ("POST", "/ai-models/upload/direct"): (
        {"json": {"user_id": "alice", "model_id": "new", "name": "New", "archive": {"size": 1}}},
        201,
    ),
    ("GET", "/ai-models/upload"): ({"params": {"user_id": "alice"}}, 200),
    ("GET", UPLOAD): ({"params": {"urls": "true"}}, 200),
    ("POST", f"{UPLOAD}/files"): ({"json": {"files": [{"path": "b", "size": 1}]}}, 200),
    ("POST", f"{UPLOAD}/parts"): ({"json": PART}, 200),
    ("POST", f"{UPLOAD}/complete"): ({}, 400),  # upload_incomplete
    ("DELETE", UPLOAD): ({}, 200),
    ("GET", "/ai-models/{user_id}"): ({"params": {"latest": "true"}}, 200),
    ("GET", "/ai-models/search/{user_id}"): ({"params": {"query": "m"}}, 200),
    ("GET", MODEL): ({}, 200),
    ("PUT", MODEL): ({"json": {"name": "x"}}, 200),
    ("DELETE", MODEL): ({"params": {"all": "true"}}, 200),
    ("GET", f"{MODEL}/download"): ({"params": {"filename": "model.pkl"}}, 200),
    ("GET", f"{MODEL}/files"): ({"params": {"urls": "true"}}, 200),
    ("GET", f"{MODEL}/versions"): ({}, 200),
    ("POST", "/ai-models/tokens"): ({"json": {"name": "New"}}, 201),
    ("GET", "/ai-models/tokens"): ({}, 200),
    ("DELETE", "/ai-models/tokens/{token_id}"): ({}, 200),
}
OWN = {("POST", "/ai-models/tokens"), ("GET", "/ai-models/tokens")}  # which can name nothing of another's
EMPTY = {("GET", "/ai-models/{user_id}"), ("GET", "/ai-models/search/{user_id}")}  # another's is an empty list
EACH = pytest.mark.parametrize("route", ROUTES, ids=lambda route: " ".join(route))


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer(algorithm="EdDSA") as issuer:
        yield issuer


@pytest.fixture
def ask(on_moto: None, issuer: Issuer, setting: Callable[..., None]) -> Ask:
    """Sends a request as somebody: a user, or None for nobody."""
    setting(authentication="authorizer", issuer=issuer.url, audience=issuer.audience)
    gateway = Gateway(apps.create_app(sort_routers(find_routers()), docs=True))

    def send(who: str | None, method: str, path: str, *, token: str | None = None, **request: Any) -> httpx.Response:
        token = issuer.token(who) if who else token
        headers = {**request.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        return call(gateway, method, path, headers=headers, **request)

    return send


@pytest.fixture
def upload_id(ask: Ask) -> str:
    """alice has a version of `m`, a token and an open upload; its id."""
    body, headers = form_body([("user_id", "alice"), ("model_id", "m"), ("name", "M"), ("file", "model.pkl", b"1")])
    assert ask("alice", "POST", "/ai-models/upload/single", content=body, headers=headers).status_code == 200
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naming, "new_token_id", lambda: TOKEN_ID)
        assert ask("alice", "POST", "/ai-models/tokens", json={"name": "First"}).status_code == 201
    files = [{"path": "a", "size": 1}, {"path": "big", "size": 40 * 2**20}]
    request = {"user_id": "alice", "model_id": "open", "version": "v1", "name": "Open", "files": files}
    begun = ask("alice", "POST", "/ai-models/upload/direct", json=request, params={"urls": "false"})
    assert begun.status_code == 201
    return begun.json()["upload_id"]


def send(ask: Ask, who: str | None, route: tuple[str, str], upload_id: str, **more: Any) -> Any:
    method, path = route
    return ask(who, method, path_of(path, upload_id), **ROUTES[route][0], **more)


def path_of(path: str, upload_id: str) -> str:
    return path.format(user_id="alice", model_id="m", upload_id=upload_id, token_id=TOKEN_ID)


def assert_unauthenticated(answer: Any) -> None:
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"detail", "code"}
    assert answer.json()["code"] == "unauthenticated"


def test_the_table_names_every_route_of_the_app():
    routers = find_routers()
    found = {(method, route.path) for router in routers for route in router.routes for method in route.methods}
    assert found == set(ROUTES)
    app = apps.create_app(routers, docs=True)
    described = {(method.upper(), path) for path, item in app.openapi()["paths"].items() for method in item}
    assert described == set(ROUTES)
    own = {route.path for route in app.routes if getattr(route, "path", None)}
    assert own == {"/docs", "/openapi.json", "/docs/oauth2-redirect"}


@EACH
def test_nobody_gets_a_401_and_nothing_happens(ask: Ask, upload_id: str, route: tuple[str, str]) -> None:
    with nothing_written():
        assert_unauthenticated(send(ask, None, route, upload_id))


@EACH
def test_a_token_that_is_not_good_is_nobody(ask: Ask, upload_id: str, issuer: Issuer, route: tuple[str, str]) -> None:
    expired = issuer.token("alice", lifetime_seconds=-3600)
    with nothing_written():
        assert_unauthenticated(send(ask, None, route, upload_id, token=expired))
        assert_unauthenticated(send(ask, None, route, upload_id, token="alice"))


@pytest.mark.parametrize("route", sorted(ROUTES.keys() - OWN), ids=lambda route: " ".join(route))
def test_what_is_anothers_is_not_there_and_nothing_happens(ask: Ask, upload_id: str, route: tuple[str, str]) -> None:
    with nothing_written():
        answer = send(ask, "mallory", route, upload_id)
    if route in EMPTY:
        assert (answer.status_code, answer.json()) == (200, [])
        assert "link" not in answer.headers
    else:
        assert answer.status_code == 404
        assert set(answer.json()) == {"detail", "code"}


@EACH
def test_what_is_ones_own_works(ask: Ask, upload_id: str, route: tuple[str, str]) -> None:
    answer = send(ask, "alice", route, upload_id)
    assert answer.status_code == ROUTES[route][1], answer.text
    if route in EMPTY:
        assert [each["model_id"] for each in answer.json()] == ["m"]


def test_what_names_nobody_is_the_callers_own(ask: Ask, upload_id: str) -> None:
    assert ask("mallory", "GET", "/ai-models/tokens").json() == []
    made = ask("mallory", "POST", "/ai-models/tokens", json={"name": "Hers"}).json()
    (listed,) = ask("mallory", "GET", "/ai-models/tokens").json()
    assert listed == {name: value for name, value in made.items() if name != "token"}
    assert [each["token_id"] for each in ask("alice", "GET", "/ai-models/tokens").json()] == [TOKEN_ID]


def test_the_app_behind_the_gateway_lets_nobody_in_by_itself(ask: Ask, upload_id: str) -> None:
    app = apps.create_app(sort_routers(find_routers()))
    with nothing_written():
        for (method, path), (request, _) in ROUTES.items():
            assert_unauthenticated(call(app, method, path_of(path, upload_id), **request))


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
    ],
)
def test_no_other_spelling_or_method_leads_to_what_is_anothers(ask: Ask, upload_id: str, path: str) -> None:  # N16
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
