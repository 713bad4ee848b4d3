"""The gateway of `make run`: it asks the authorizer as AWS does, remembers a minute, and answers 401 in our JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from local import __main__ as command
from local import gateway
from local.gateway import Gateway, authentication
from local.service import Service
from tests.asgi import call, run

AWS_EVENT = json.loads((Path(__file__).parents[1] / "events/authenticate_request.json").read_text())


class Authorizer:
    """Knows whoever's token is a name; counts."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.effect = "Allow"

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        self.events.append(event)
        token = event["headers"].get("authorization", "").removeprefix("Bearer ")
        if token == "lists":
            return {"principalId": "alice", "policyDocument": {"Statement": []}, "context": {"groups": ["research"]}}
        if token == "broken":
            raise RuntimeError("secret cause")
        if not token.isalpha():
            raise Exception("Unauthorized")
        statement = {"Action": "execute-api:Invoke", "Effect": self.effect, "Resource": event["methodArn"]}
        said = {"context": {"groups": f"friends-of-{token}", "principalId": "another"}} if token == "carol" else {}
        return {"principalId": token, "policyDocument": {"Statement": [statement]}, **said}


class App:
    """Says who it was told calls; keeps the scopes."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] != "http":
            return
        context = scope.get("aws.event", {}).get("requestContext", {}).get("authorizer", {})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(context.get("principalId")).encode()})


@pytest.fixture
def authorizer() -> Authorizer:
    return Authorizer()


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def front(app: App, authorizer: Authorizer) -> Gateway:
    return Gateway(app, authorizer)


def ask(front: Gateway, token: str | None, method: str = "GET", path: str = "/ai-models/alice", **more: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return call(front, method, path, headers=headers, **more)


def test_the_app_is_told_who_calls_where_aws_tells_it(front: Gateway, app: App) -> None:
    assert ask(front, "alice").text == "alice"
    (scope,) = app.scopes
    assert scope["aws.event"] == {"requestContext": {"authorizer": {"principalId": "alice"}}}


def test_what_the_authorizer_says_beside_is_handed_on_and_kept_with_its_token(front: Gateway, app: App) -> None:
    for who in ("carol", "alice", "carol", "alice"):
        ask(front, who)
    told = [scope["aws.event"]["requestContext"]["authorizer"] for scope in app.scopes]
    carol, alice = {"groups": "friends-of-carol", "principalId": "carol"}, {"principalId": "alice"}
    assert told == [carol, alice, carol, alice]


def test_a_context_of_more_than_texts_lets_nobody_in_as_api_gateway_takes_none(front: Gateway, app: App) -> None:
    assert ask(front, "lists").status_code == 503
    assert not app.scopes


def test_the_authorizer_gets_an_event_as_aws_sends_it(front: Gateway, authorizer: Authorizer) -> None:
    ask(front, "alice", "PUT", "/ai-models/alice/m?version=v1&tags=a&tags=b")
    (event,) = authorizer.events
    assert set(event) == set(AWS_EVENT)
    assert (event["type"], event["httpMethod"], event["path"]) == ("REQUEST", "PUT", "/ai-models/alice/m")
    assert event["methodArn"].split(":")[:3] == ["arn", "aws", "execute-api"]
    assert event["methodArn"].endswith("/local/PUT/ai-models/alice/m")
    assert event["headers"]["authorization"] == "Bearer alice"
    assert event["multiValueHeaders"]["authorization"] == ["Bearer alice"]
    assert event["multiValueQueryStringParameters"] == {"version": ["v1"], "tags": ["a", "b"]}
    assert "body" not in event
    assert json.loads(json.dumps(event)) == event


def test_without_a_good_token_it_is_a_401_and_the_app_is_not_asked(front: Gateway, app: App) -> None:
    for token in (None, "not-good", ""):
        answer = ask(front, token, "POST", content=b"x" * 1_000)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json()) == {"detail", "code"}
        assert answer.json()["code"] == "unauthenticated"
    assert not app.scopes


def test_an_authorizer_that_fails_is_a_503_that_tells_no_cause(front: Gateway, app: App) -> None:
    answer = ask(front, "broken")
    assert answer.status_code == 503
    assert answer.json()["code"] == "unavailable"
    assert answer.headers["retry-after"] == "5"
    assert "secret" not in answer.text
    assert not app.scopes


def test_a_policy_that_denies_lets_nobody_in(front: Gateway, app: App, authorizer: Authorizer) -> None:
    authorizer.effect = "Deny"
    assert ask(front, "alice").status_code == 503
    assert not app.scopes


def test_a_token_is_remembered_for_a_minute_and_a_refusal_never(
    front: Gateway, authorizer: Authorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ahead = time.monotonic, [0.0]
    monkeypatch.setattr("local.gateway.time.monotonic", lambda: real() + ahead[0])
    for _ in range(3):
        assert ask(front, "alice").text == "alice"
        assert ask(front, "bob").text == "bob"
        assert ask(front, "not-good").status_code == 401
        assert ask(front, None).status_code == 401
    asked = [event["headers"].get("authorization") for event in authorizer.events]
    assert asked.count("Bearer alice") == asked.count("Bearer bob") == 1
    assert asked.count("Bearer not-good") == asked.count(None) == 3
    assert gateway.CACHE_SECONDS <= 60
    ahead[0] = gateway.CACHE_SECONDS
    assert ask(front, "alice").text == "alice"
    assert len(authorizer.events) == len(asked) + 1


def test_no_more_tokens_are_remembered_than_fit(
    front: Gateway, authorizer: Authorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "_CACHED_TOKENS", 2)
    for name in ("a", "b", "c", "c", "b", "a"):
        assert ask(front, name).text == name
    assert len(authorizer.events) == 4


@pytest.mark.parametrize(("method", "path"), [("GET", "/docs"), ("GET", "/openapi.json"), ("OPTIONS", "/ai-models/a")])
def test_documentation_and_options_need_no_token(
    front: Gateway, authorizer: Authorizer, method: str, path: str
) -> None:
    assert ask(front, None, method, path).text == "None"
    assert ask(front, "alice", method, path).text == "None"
    assert not authorizer.events


def test_what_is_no_request_passes(front: Gateway, app: App) -> None:
    run(front({"type": "lifespan"}, None, None))
    assert app.scopes == [{"type": "lifespan"}]


def test_a_body_that_nobody_wants_is_read_to_its_end_unless_the_client_asks_first(front: Gateway) -> None:
    def refuse(headers: list[tuple[bytes, bytes]]) -> list[str]:
        done: list[str] = []
        parts = [{"more_body": True}, {"more_body": True}, {"more_body": False}]

        async def receive() -> dict[str, Any]:
            done.append("receive")
            return parts.pop(0)

        async def send(message: dict[str, Any]) -> None:
            done.append(message["type"])

        scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "headers": headers}
        run(front(scope, receive, send))
        return done

    answer = ["http.response.start", "http.response.body"]
    assert refuse([]) == ["receive"] * 3 + answer
    assert refuse([(b"expect", b"100-continue")]) == answer


def test_an_issuer_is_given_by_its_settings_names() -> None:
    given = {"issuer": "https://login.example.com", "audience": "modelkeep", "jwks_url": None, "user_claim": ""}
    assert authentication(given) == {
        "REGISTRY_AUTHENTICATION": "authorizer",
        "REGISTRY_ISSUER": "https://login.example.com",
        "REGISTRY_AUDIENCE": "modelkeep",
    }
    assert authentication({"issuer": "", "audience": None}) == {}
    with pytest.raises(ValueError, match="MODELKEEP_AUDIENCE is not set, and MODELKEEP_ISSUER is"):
        authentication({"issuer": "https://login.example.com"})
    with pytest.raises(ValueError, match="MODELKEEP_ISSUER is not set"):
        authentication({"audience": "modelkeep"})
    with pytest.raises(ValueError, match="MODELKEEP_ISSUER must be an https URL"):
        authentication({"issuer": "http://login.example.com", "audience": "modelkeep"})


def arguments(monkeypatch: pytest.MonkeyPatch, *given: str, **environment: str) -> dict[str, str]:
    for name in gateway.SETTINGS:
        monkeypatch.delenv(f"MODELKEEP_{name.upper()}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["local", *given])
    return command._arguments()[-1]


def test_options_come_before_variables_and_off_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert arguments(monkeypatch) == {}
    said = {
        "MODELKEEP_ISSUER": "https://a.example",
        "MODELKEEP_AUDIENCE": "a",
        "MODELKEEP_TOKEN_LIFETIME_SECONDS": "60",
    }
    by_variable = arguments(monkeypatch, **said)
    assert by_variable["REGISTRY_ISSUER"] == "https://a.example"
    assert by_variable["REGISTRY_TOKEN_LIFETIME_SECONDS"] == "60"
    by_option = arguments(monkeypatch, "--issuer", "https://b.example", "--user-claim", "email", **said)
    assert (by_option["REGISTRY_ISSUER"], by_option["REGISTRY_AUDIENCE"]) == ("https://b.example", "a")
    assert by_option["REGISTRY_USER_CLAIM"] == "email"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--issuer", "https://a.example"], "MODELKEEP_AUDIENCE"),
        (["--issuer", "http://a.example", "--audience", "a"], "MODELKEEP_ISSUER"),
        (["--issuer", "https://a.example", "--audience", "a", "--host", "0.0.0.0"], "no TLS"),
    ],
)
def test_half_an_issuer_or_an_open_address_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    with pytest.raises(SystemExit):
        arguments(monkeypatch, *given)
    assert said in capsys.readouterr().err


def test_the_banner_says_whose_tokens_are_needed_or_that_none_is(tmp_path: Path) -> None:
    said = authentication({"issuer": "https://a.example", "audience": "models"})
    banner = command._banner(Service(tmp_path / "on", authentication=said), 1.0)
    assert "https://a.example" in banner and "'models'" in banner and "$TOKEN" in banner
    assert "Authentication is off" not in banner
    banner = command._banner(Service(tmp_path / "off"), 1.0)
    assert "Authentication is off" in banner and "TOKEN" not in banner
