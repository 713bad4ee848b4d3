"""authenticate_request: events as AWS sends them; a policy, "Unauthorized" (401), or another error (503)."""

from __future__ import annotations

import copy
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from registry import authentication
from registry.errors import UnavailableError
from registry.settings import SettingsError, get_settings

from tests.issuer import Issuer

ROOT = Path(__file__).parents[2]
HANDLER = importlib.import_module("functions.authenticate_request.app").lambda_handler
EVENT = json.loads((ROOT / "tests/events/authenticate_request.json").read_text())
ARN = "arn:aws:execute-api:us-east-1:123456789012:abcdefghij/prod"


@pytest.fixture(scope="module")
def running() -> Iterator[Issuer]:
    with Issuer(algorithm="ES256") as issuer:
        yield issuer


def _forget() -> None:
    get_settings.cache_clear()
    authentication.keys_of.cache_clear()


@pytest.fixture
def issuer(running: Issuer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Issuer]:
    for name, value in {**running.environment(), "REGISTRY_BUCKET": "b", "REGISTRY_TABLE": "t"}.items():
        monkeypatch.setenv(name, value)
    _forget()
    yield running
    running.outage = False
    _forget()


def event(*authorization: str, name: str = "Authorization", **changes: Any) -> dict[str, Any]:
    """AWS's event with these headers instead of its own Authorization."""
    made = copy.deepcopy(EVENT) | changes
    for headers in (made["headers"], made["multiValueHeaders"]):
        del headers["Authorization"]
    if authorization:
        made["headers"][name] = authorization[-1]
        made["multiValueHeaders"][name] = list(authorization)
    return made


def assert_unauthorized(sent: dict[str, Any]) -> None:
    """API Gateway answers 401 to an exception of just this text, and never to any other."""
    with pytest.raises(Exception) as raised:
        HANDLER(sent, None)
    assert str(raised.value) == "Unauthorized"
    assert raised.value.__cause__ is None


def test_a_known_user_is_let_into_the_whole_stage_and_no_further(issuer: Issuer) -> None:
    answer = HANDLER(event(f"Bearer {issuer.token('alice@example.com')}"), None)
    assert answer == {
        "principalId": "alice@example.com",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": f"{ARN}/*/*"}],
        },
        "context": {},
    }
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.case("N13")
@pytest.mark.parametrize(
    ("partition", "stage", "rest"),
    [
        ("aws", "prod", "GET/"),
        ("aws", "prod", "DELETE/ai-models/auth0|x/m:1/a/b"),
        ("aws-cn", "v1", "POST/ai-models/upload/single"),
        ("aws-us-gov", "test-invoke-stage", "OPTIONS/ai-models"),
    ],
)
def test_the_cached_policy_fits_every_route_of_the_stage(issuer: Issuer, partition: str, stage: str, rest: str) -> None:
    base = f"arn:{partition}:execute-api:us-east-1:123456789012:abcdefghij"
    token = issuer.token("alice")
    answer = HANDLER(event(f"Bearer {token}", methodArn=f"{base}/{stage}/{rest}"), None)
    resource = answer["policyDocument"]["Statement"][0]["Resource"]
    for method in ("GET/ai-models/alice/m", "DELETE/ai-models/alice/m", "POST/ai-models/upload/direct", rest):
        assert fnmatchcase(f"{base}/{stage}/{method}", resource)
    assert not fnmatchcase(f"{base}/other/GET/ai-models/alice", resource)
    assert not fnmatchcase(f"{base[:-1]}x/{stage}/GET/ai-models/alice", resource)


def test_the_groups_of_the_claim_are_handed_on_as_a_text(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    token = f"Bearer {issuer.token('alice', groups=['research', 'two words', 'ops', 7])}"
    assert HANDLER(event(token), None)["context"] == {}
    monkeypatch.setenv("REGISTRY_GROUPS_CLAIM", "groups")
    get_settings.cache_clear()
    assert HANDLER(event(token), None)["context"] == {"groups": "ops research"}


@pytest.mark.parametrize("name", ["authorization", "AUTHORIZATION", "Authorization"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_names_of_headers_and_schemes_have_no_case(issuer: Issuer, name: str, scheme: str) -> None:
    assert HANDLER(event(f"{scheme} {issuer.token('alice')}", name=name), None)["principalId"] == "alice"


@pytest.mark.parametrize("missing", ["headers", "multiValueHeaders"])
def test_either_form_of_the_headers_will_do(issuer: Issuer, missing: str) -> None:
    sent = event(f"Bearer {issuer.token('alice')}")
    for none in ({**sent, missing: None}, {key: value for key, value in sent.items() if key != missing}):
        assert HANDLER(none, None)["principalId"] == "alice"


@pytest.mark.case("N14")
@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Basic YTpi", "bearertoken", "Bearer a b", "Bearer a, Bearer b", ""]
)
def test_what_is_no_bearer_token_is_a_401(issuer: Issuer, value: str) -> None:
    assert_unauthorized(event(value))


def test_without_the_header_or_any_headers_it_is_a_401(issuer: Issuer) -> None:
    assert_unauthorized(event())
    assert_unauthorized({**EVENT, "headers": None, "multiValueHeaders": None})
    assert_unauthorized({"type": "REQUEST", "methodArn": f"{ARN}/GET/"})
    assert_unauthorized({})


@pytest.mark.case("N14")
def test_two_tokens_are_a_401_even_if_both_are_good(issuer: Issuer) -> None:
    good = f"Bearer {issuer.token('alice')}"
    assert_unauthorized(event(good, good))
    assert_unauthorized(event("Bearer x", good))
    sent = event(good)
    sent["multiValueHeaders"]["authorization"] = [f"Bearer {issuer.token('bob')}"]
    assert_unauthorized(sent)


def test_a_bad_token_is_a_401(issuer: Issuer) -> None:
    for token in (
        issuer.token("alice", lifetime_seconds=-60),
        issuer.token("alice", exp=None),
        issuer.token("alice", aud="other"),
        issuer.token("admin"),
        issuer.token("alice", headers={"kid": "unknown"}),
        "mk_secret",
        "x" * 9_000,
    ):
        assert_unauthorized(event(f"Bearer {token}"))


@pytest.mark.case("N15")
def test_no_header_of_the_client_says_who_it_is(issuer: Issuer) -> None:
    sent = event(f"Bearer {issuer.token('alice')}")
    for name in ("x-user-id", "x-amzn-principal", "principalId", "x-forwarded-user"):
        sent["headers"][name], sent["multiValueHeaders"][name] = "bob", ["bob"]
    assert HANDLER(sent, None)["principalId"] == "alice"
    del sent["headers"]["Authorization"], sent["multiValueHeaders"]["Authorization"]
    assert_unauthorized(sent)


@pytest.mark.case("N14")
def test_an_issuer_that_does_not_answer_is_no_401_and_lets_nobody_in(issuer: Issuer) -> None:
    issuer.outage = True
    with pytest.raises(UnavailableError) as raised:
        HANDLER(event(f"Bearer {issuer.token('alice')}"), None)
    assert "Unauthorized" not in str(raised.value)
    assert_unauthorized(event("Bearer nonsense"))


def test_without_an_issuer_it_is_no_401_and_the_log_says_what_to_set(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("REGISTRY_ISSUER")
    monkeypatch.delenv("REGISTRY_AUDIENCE")
    get_settings.cache_clear()
    with pytest.raises(SettingsError):
        HANDLER(event(f"Bearer {issuer.token('alice')}"), None)
    assert "REGISTRY_ISSUER" in caplog.text
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    monkeypatch.setenv("REGISTRY_ISSUER", issuer.url)
    with pytest.raises(SettingsError, match="REGISTRY_AUDIENCE"):
        HANDLER(event(f"Bearer {issuer.token('alice')}"), None)


def test_logs_say_who_and_why_and_never_a_token_or_a_claim(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    good = issuer.token("alice", email="alice@private.example")
    bad = issuer.token("alice", aud="other", email="alice@private.example")
    worse = issuer.token("two words", headers={"kid": "key-1"})
    HANDLER(event(f"Bearer {good}"), None)
    for token in (bad, worse, "mk_secret"):
        assert_unauthorized(event(f"Bearer {token}"))
    issuer.outage = True
    authentication.keys_of.cache_clear()
    with pytest.raises(UnavailableError):
        HANDLER(event(f"Bearer {good}"), None)
    records = [vars(record) for record in caplog.records]
    assert [(each["message"], each.get("user_id"), each.get("code")) for each in records] == [
        ("authenticated", "alice", None),
        ("refused", None, "wrong_audience"),
        ("refused", None, "bad_user_id"),
        ("refused", None, "token_malformed"),
        ("issuer_unreachable", None, None),
        ("nobody_gets_in", None, None),
    ]
    everything = caplog.text + str(records)
    assert not re.search(r"ey[A-Za-z0-9_-]{20}", everything)
    for secret in ("private.example", "two words", "mk_secret", *good.split("."), *bad.split(".")):
        assert secret not in everything


def test_it_starts_without_the_api_and_without_aws() -> None:
    code = (
        "import sys, functions.authenticate_request.app\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'layers/registry'}", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert {"jwt", "registry"} <= loaded
    assert not loaded & {"fastapi", "starlette", "mangum", "pydantic", "pynamodb", "boto3", "isal", "multipart"}
