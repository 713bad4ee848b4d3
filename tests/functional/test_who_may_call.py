"""Every route of the app and of the template, by its owner, by those let to some of it, by others, by nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from registry.web import apps

from local.app import find_routers, sort_routers
from tests.asgi import call
from tests.functional.kit import nothing_written
from tests.functional.routes import CALLERS, NONE, OK, ROUTES, TOKEN_ID, VERDICTS, Key, path_of, verdict
from tests.issuer import Issuer
from tests.template import translating
from tests.template.loading import resolve, resources_of

Ask = Callable[..., Any]
EACH = pytest.mark.parametrize("route", ROUTES, ids=lambda route: " ".join(route))
# What the template lets in without a token, each for a reason: browsers send none with a preflight.
OPEN_METHODS = {"OPTIONS"}


NO_WORD_OF_THEIRS = {"X-User-Id": "alice", "X-Amzn-Principal": "alice"}  # no header says who calls


def send(ask: Ask, who: str | None, route: Key, upload_id: str, **more: Any) -> Any:
    method, path = route
    request = {**ROUTES[route].request, **more}
    request["headers"] = {**ROUTES[route].request.get("headers", {}), **more.get("headers", {})}
    return ask(who, method, path_of(path, upload_id), **request)


def assert_unauthenticated(answer: Any) -> None:
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"detail", "code"}
    assert answer.json()["code"] == "unauthenticated"


@pytest.mark.case("N2")
def test_the_table_names_every_route_of_the_app_and_no_other():
    routers = find_routers()
    found = {(method, route.path) for router in routers for route in router.routes for method in route.methods}
    assert found == set(ROUTES)
    app = apps.create_app(routers, docs=True)
    described = {(method.upper(), path) for path, item in app.openapi()["paths"].items() for method in item}
    assert described == {(method, path.replace(":path}", "}")) for method, path in ROUTES}
    own = {route.path for route in app.routes if getattr(route, "path", None)}
    assert own == {"/docs", "/openapi.json", "/docs/oauth2-redirect"}
    assert {route.kind for route in ROUTES.values()} == set(VERDICTS)
    assert {len(verdicts) for verdicts in VERDICTS.values()} == {len(CALLERS)}


@pytest.mark.case("N2")
def test_the_template_has_these_routes_and_each_asks_the_authorizer_but_for_those_that_are_named():
    (api,) = resources_of(resolve(translating.translate()), "AWS::ApiGateway::RestApi").values()
    paths = api["Properties"]["Body"]["paths"]
    security = {
        (method.upper(), path): each["security"] for path, listed in paths.items() for method, each in listed.items()
    }
    written = {(method, path.replace(":path}", "+}")) for method, path in ROUTES}
    preflights = {("OPTIONS", path) for _, path in written}
    assert set(security) == written | preflights
    without = {route for route, asked in security.items() if asked != [{"Bearer": []}]}
    assert {method for method, _ in without} == OPEN_METHODS  # neither more than these, nor fewer
    assert without == {(method, path) for method, path in security if method in OPEN_METHODS}
    schemes = api["Properties"]["Body"]["components"]["securitySchemes"]
    assert schemes["Bearer"]["x-amazon-apigateway-authorizer"]["type"] == "request"


@pytest.fixture
def credentials(ask: Ask, issuer: Issuer, upload_id: str) -> dict[str, str]:
    """A token of each caller, after alice has let some of them to what she has."""
    granted = (
        ("reader", "read"),
        ("writer", "write"),
        ("chief", "admin"),
        ("@team", "read"),
        ("other/elsewhere", "write"),
    )
    for grant, role in granted:
        assert ask("alice", "PUT", f"/ai-models/grants/alice/{grant}", json={"role": role}).status_code == 200
    people = {who: issuer.token(who) for who in ("mallory", "reader", "writer", "chief", "elsewhere")}
    tokens = {
        "read token": make_token(ask, scope="read"),
        "other token": make_token(ask, scope="write", models="other*"),
    }
    for token in tokens.values():  # its first use is noted
        assert ask(None, "GET", "/ai-models/alice", token=token).status_code == 200
    return {**people, "member": issuer.token("member", groups=["team"]), **tokens}


def make_token(ask: Ask, **bounds: str) -> str:
    made = ask("alice", "POST", "/ai-models/tokens", json={"name": "T", **bounds})
    assert made.status_code == 201, made.text
    token: str = made.json()["token"]
    return token


@pytest.mark.case("N1", "N2", "N5")
@EACH
def test_who_may_not_is_refused_and_nothing_happens(
    ask: Ask, credentials: dict[str, str], upload_id: str, route: Key
) -> None:
    for caller in CALLERS:
        expected = verdict(route, caller)
        if expected == OK:
            continue
        with nothing_written():
            answer = send(ask, None, route, upload_id, token=credentials[caller])
        if expected == NONE:
            assert (answer.status_code, answer.json()) == (200, []), caller
            assert "link" not in answer.headers
        else:
            assert answer.status_code == expected, (caller, answer.text)
            assert set(answer.json()) == {"detail", "code"}


@pytest.mark.case("N1", "N2")
@EACH
def test_who_may_is_answered_as_the_owner_is(ask: Ask, credentials: dict[str, str], upload_id: str, route: Key) -> None:
    allowed = [caller for caller in CALLERS if verdict(route, caller) == OK]
    for caller in allowed if route[0] == "GET" else allowed[:1]:  # after the first, things are not as they were
        answer = send(ask, None, route, upload_id, token=credentials[caller])
        assert answer.status_code == ROUTES[route].status, (caller, answer.text)


@EACH
def test_what_is_ones_own_works(ask: Ask, upload_id: str, route: Key) -> None:
    answer = send(ask, "alice", route, upload_id)
    assert answer.status_code == ROUTES[route].status, answer.text
    if ROUTES[route].kind == "list":
        assert [each["model_id"] for each in answer.json()] == ["m"]


@pytest.mark.case("N1", "N2", "N15")
def test_nobody_and_whoever_has_no_good_token_gets_a_401_and_nothing_happens(
    ask: Ask, upload_id: str, issuer: Issuer, move_clock: Callable[[float], None]
) -> None:
    made = ask("alice", "POST", "/ai-models/tokens", json={"name": "T"}).json()
    assert ask("alice", "DELETE", f"/ai-models/tokens/{made['token_id']}").status_code == 200
    in_an_hour = datetime.fromtimestamp(time.time() + 3_600, UTC).isoformat()
    overdue = make_token(ask, expires_at=in_an_hour)
    move_clock(7_200)
    bad = {
        "none": None,
        "expired": issuer.token("alice", lifetime_seconds=-3_600),
        "for another audience": issuer.token("alice", aud="another"),
        "of another issuer": issuer.token("alice", iss="https://another.example"),
        "a name": "alice",
        "revoked": made["token"],
        "overdue": overdue,
        "never made": "mk_" + "A" * 43,
    }
    with nothing_written():
        for route in ROUTES:
            for token in bad.values():
                assert_unauthenticated(send(ask, None, route, upload_id, token=token, headers=NO_WORD_OF_THEIRS))


@pytest.mark.case("N15")
def test_the_app_behind_the_gateway_lets_nobody_in_by_itself(ask: Ask, upload_id: str) -> None:
    app = apps.create_app(sort_routers(find_routers()))
    with nothing_written():
        for (method, path), route in ROUTES.items():
            assert_unauthenticated(call(app, method, path_of(path, upload_id), **route.request))


def test_what_names_nobody_is_the_callers_own(ask: Ask, upload_id: str) -> None:
    assert ask("mallory", "GET", "/ai-models/tokens").json() == []
    made = ask("mallory", "POST", "/ai-models/tokens", json={"name": "Hers"}).json()
    (listed,) = ask("mallory", "GET", "/ai-models/tokens").json()
    assert listed == {name: value for name, value in made.items() if name != "token"}
    assert [each["token_id"] for each in ask("alice", "GET", "/ai-models/tokens").json()] == [TOKEN_ID]
