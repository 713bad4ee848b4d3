"""Whose token it is: all but good tokens of the one issuer are refused, each with its reason for the log."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import Any, Self

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry import authentication
from registry.errors import UnauthenticatedError, UnavailableError
from registry.principals import Principal
from registry.settings import SettingsError, get_settings

from tests.issuer import Issuer, SigningKey

HOUR, DAY = 3_600, 86_400


@pytest.fixture(scope="module")
def running() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(running: Issuer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Issuer]:
    """An issuer that the registry is told to believe."""
    for name, value in {**running.environment(), "REGISTRY_BUCKET": "b", "REGISTRY_TABLE": "t"}.items():
        monkeypatch.setenv(name, value)
    running.requests.clear()
    _forget()
    yield running
    running.outage = False
    _forget()


def _forget() -> None:
    get_settings.cache_clear()
    authentication.keys_of.cache_clear()


def setting(monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"REGISTRY_{name.upper()}", str(value))
    get_settings.cache_clear()


def refusal(token: str) -> str:
    """The reason for which a token is refused; the error must not quote it."""
    with pytest.raises(UnauthenticatedError) as raised:
        authentication.authenticate(token)
    for part in token.split("."):
        assert len(part) < 8 or part not in str(raised.value)
    return raised.value.code


def forge(header: dict[str, Any], claims: Any, signature: bytes = b"signature") -> str:
    parts = [json.dumps(header).encode(), claims if isinstance(claims, bytes) else json.dumps(claims).encode()]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in [*parts, signature])


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


@pytest.mark.parametrize("user_id", ["alice", "alice@example.com", "auth0|5f7c8ec7", "0oa+x-y.z", "a" * 128])
def test_the_subject_is_the_user(issuer: Issuer, user_id: str) -> None:
    assert authentication.authenticate(issuer.token(user_id)).id == user_id


@pytest.mark.parametrize("algorithm", authentication.ALGORITHMS)
def test_every_algorithm_of_the_list_is_accepted(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    with Issuer(algorithm=algorithm) as other:
        setting(monkeypatch, issuer=other.url)
        assert authentication.authenticate(other.token("alice")).id == "alice"


def test_another_claim_can_be_the_user(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    setting(monkeypatch, user_claim="https://example.com/user")
    assert authentication.authenticate(issuer.token("x", **{"https://example.com/user": "bob"})).id == "bob"
    assert refusal(issuer.token("alice")) == "claim_missing"


@pytest.mark.parametrize(
    ("claim", "groups"),
    [
        (None, set()),
        ([], set()),
        (["research", "ops@example.com", "0b6c"], {"research", "ops@example.com", "0b6c"}),
        ("research", {"research"}),
        (["research", "research"], {"research"}),
        (["/team/research", "two words", "", "ä", "a\n", "g" * 129, "g" * 128], {"g" * 128}),
        ([7, None, True, ["nested"], {"name": "research"}, "ok"], {"ok"}),
        ({"research": 1}, set()),
        (7, set()),
        ("", set()),
        ("research ops", set()),  # one name, which none can be: nothing says that blanks separate
        ([f"{number:03}" for number in range(300)], {f"{number:03}" for number in range(99)}),
    ],
    ids=lambda value: (str(sorted(value)) if isinstance(value, set) else str(value))[:30],
)
def test_the_groups_are_those_of_a_claim_that_can_be_names(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, claim: Any, groups: set[str]
) -> None:
    setting(monkeypatch, groups_claim="https://example.com/groups")
    token = issuer.token("alice", **{"https://example.com/groups": claim})
    assert authentication.authenticate(token) == Principal("alice", groups=frozenset(groups))


def test_nobody_is_in_a_group_where_no_claim_is_named(issuer: Issuer) -> None:
    token = issuer.token("alice", groups=["research"], **{"": ["research"]})
    assert authentication.authenticate(token) == Principal("alice")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": None}, "claim_missing"),
        ({"exp": 10**30}, "token_lives_too_long"),
        ({"exp": 10**400}, "token_lives_too_long"),
        ({"exp": "9" * 300}, "token_lives_too_long"),
        ({"exp": "soon"}, "token_malformed"),
        ({"exp": [1]}, "token_malformed"),
        ({"exp": True}, "token_expired"),
        ({"exp": -1}, "token_expired"),
        ({"exp": float("nan")}, "token_malformed"),
        ({"exp": float("inf")}, "token_malformed"),
        ({"aud": None}, "claim_missing"),
        ({"aud": ""}, "claim_missing"),
        ({"aud": "another-service"}, "wrong_audience"),
        ({"aud": "modelkeep2"}, "wrong_audience"),
        ({"aud": "Modelkeep"}, "wrong_audience"),
        ({"aud": ["modelkeep", "another-service"]}, "wrong_audience"),
        ({"aud": ["modelkeep"]}, "wrong_audience"),
        ({"aud": {"modelkeep": 1}}, "wrong_audience"),
        ({"iss": None}, "claim_missing"),
        ({"iss": "https://evil.example"}, "wrong_issuer"),
        ({"iss": ["x"]}, "wrong_issuer"),
        ({"sub": None}, "claim_missing"),
        ({"sub": 7}, "token_malformed"),
        ({"sub": ""}, "bad_user_id"),
        ({"sub": "two words"}, "bad_user_id"),
        ({"sub": "../bob"}, "bad_user_id"),
        ({"sub": "bob/models"}, "bad_user_id"),
        ({"sub": ".."}, "bad_user_id"),
        ({"sub": "älice"}, "bad_user_id"),
        ({"sub": "alice\n"}, "bad_user_id"),
        ({"sub": "a" * 129}, "bad_user_id"),
        ({"sub": "upload"}, "bad_user_id"),
        ({"sub": "admin"}, "bad_user_id"),
        ({"sub": "_system"}, "bad_user_id"),
        ({"iat": "yesterday"}, "token_malformed"),
        ({"nbf": "yesterday"}, "token_malformed"),
    ],
    ids=lambda value: str(value)[:50],
)
@pytest.mark.case("N8", "N9")
def test_a_claim_that_is_wrong_is_refused(issuer: Issuer, claims: dict[str, Any], reason: str) -> None:
    assert refusal(issuer.token("alice", **{"sub": "alice", **claims})) == reason


@pytest.mark.case("N9")
def test_an_issuer_that_only_begins_alike_is_another(issuer: Issuer) -> None:
    for other in (issuer.url + "/", issuer.url[:-1], issuer.url + ".evil.example", issuer.url.upper()):
        assert refusal(issuer.token("alice", iss=other)) == "wrong_issuer"


@pytest.mark.case("N9")
def test_times_may_differ_by_half_a_minute_and_no_more(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = int(time.time())

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(now, tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Stopped)
    near, far = authentication.LEEWAY_SECONDS - 5, authentication.LEEWAY_SECONDS + 5
    for good in ({"exp": now - near}, {"nbf": now + near}, {"iat": now + near}, {"nbf": None}, {"iat": None}):
        assert authentication.authenticate(issuer.token("alice", **good)).id == "alice"
    assert refusal(issuer.token("alice", exp=now - far)) == "token_expired"
    assert refusal(issuer.token("alice", nbf=now + far)) == "token_too_early"
    assert refusal(issuer.token("alice", iat=now + far)) == "token_too_early"


@pytest.mark.case("N8")
def test_a_token_lives_no_longer_than_the_setting_says(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert authentication.authenticate(issuer.token("alice", lifetime_seconds=DAY)).id == "alice"
    assert refusal(issuer.token("alice", lifetime_seconds=DAY + HOUR)) == "token_lives_too_long"
    setting(monkeypatch, token_lifetime_seconds=HOUR)
    assert authentication.authenticate(issuer.token("alice", lifetime_seconds=HOUR)).id == "alice"
    assert refusal(issuer.token("alice", lifetime_seconds=2 * HOUR)) == "token_lives_too_long"


@pytest.mark.case("N6")
def test_what_is_signed_by_a_secret_that_everybody_knows_is_refused(issuer: Issuer) -> None:
    key = issuer.keys[0]
    good = issuer.token("alice")
    der = base64.b64decode(b"".join(key.public_pem().splitlines()[1:-1]))
    for secret in (key.public_pem(), key.public_pem().strip(), der, json.dumps(key.jwk()).encode(), b""):
        for algorithm, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
            unsigned = forge({"alg": algorithm, "typ": "JWT", "kid": key.key_id}, claims_of(good)).rsplit(".", 1)[0]
            made = forge(
                {"alg": algorithm, "typ": "JWT", "kid": key.key_id},
                claims_of(good),
                hmac.new(secret, unsigned.encode(), digest).digest(),
            )
            assert refusal(made) == "wrong_algorithm"
    assert not issuer.requests  # nobody is asked for a key


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, "RS1", "ES256K", ["RS256"], {"RS256": 1}, 7])
@pytest.mark.case("N6")
def test_an_algorithm_that_is_none_is_refused(issuer: Issuer, algorithm: Any) -> None:
    header = {"alg": algorithm, "kid": "key-1"}
    assert refusal(forge(header, claims_of(issuer.token("alice")))) == "wrong_algorithm"
    assert not issuer.requests


@pytest.mark.case("N6")
def test_an_unsigned_token_is_no_token(issuer: Issuer) -> None:
    assert refusal(issuer.token("alice").rsplit(".", 1)[0] + ".") == "token_malformed"
    assert refusal(issuer.token("alice").rsplit(".", 1)[0]) == "token_malformed"


@pytest.mark.case("N6")
def test_a_key_is_for_its_own_algorithm_alone(issuer: Issuer) -> None:
    key = issuer.keys[0]
    for algorithm in ("RS512", "PS256"):
        made = jwt.encode(claims_of(issuer.token("alice")), key.private, algorithm, headers={"kid": key.key_id})
        assert refusal(made) == "wrong_algorithm"
    curve = SigningKey("ES256", key.key_id)
    assert refusal(issuer.token("alice", key=curve)) == "wrong_algorithm"


def test_a_signature_of_another_key_is_refused(issuer: Issuer) -> None:
    assert refusal(issuer.token("alice", key=SigningKey("RS256", "key-1"))) == "wrong_signature"
    assert refusal(forge({"alg": "RS256", "kid": "key-1"}, claims_of(issuer.token("alice")))) == "wrong_signature"


def test_changed_claims_are_refused(issuer: Issuer) -> None:
    head, _, signature = issuer.token("alice").split(".")
    body = forge({}, {**claims_of(issuer.token("alice")), "sub": "bob"}).split(".")[1]
    assert refusal(f"{head}.{body}.{signature}") == "wrong_signature"


def test_a_weak_key_is_refused_even_if_the_issuer_publishes_it(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    with Issuer() as weak:
        weak.keys[0].private = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        setting(monkeypatch, issuer=weak.url)
        with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
            token = weak.token("alice")
        assert refusal(token) == "weak_key"


@pytest.mark.parametrize("key_id", [None, "", "unknown", "../../dev/null", "http://127.0.0.1/jwks.json", "k" * 5_000])
@pytest.mark.case("N7")
def test_a_key_that_is_not_named_or_not_known_is_refused(issuer: Issuer, key_id: str | None) -> None:
    assert refusal(issuer.token("alice", headers={"kid": key_id})) == "unknown_key"
    assert sum(issuer.requests.values()) <= 2


@pytest.mark.parametrize("key_id", [7, ["key-1"], {"key-1": 1}, True])
@pytest.mark.case("N7")
def test_a_key_id_that_is_no_text_is_refused(issuer: Issuer, key_id: Any) -> None:
    header = {"alg": "RS256", "kid": key_id}
    assert refusal(forge(header, claims_of(issuer.token("alice")))) == "token_malformed"


@pytest.mark.case("N7")
def test_a_key_that_the_token_brings_itself_is_never_fetched_nor_used(issuer: Issuer) -> None:
    with Issuer() as evil:
        evil.keys[0].key_id = "evil"
        own = {"jku": evil.jwks_url, "x5u": evil.jwks_url, "jwk": evil.keys[0].jwk(), "x5c": ["AAAA"]}
        made = evil.token("alice", iss=issuer.url, headers=own)
        assert refusal(made) == "unknown_key"
        made = evil.token("alice", iss=issuer.url, headers={**own, "kid": "key-1"})
        assert refusal(made) == "wrong_signature"
        assert not evil.requests


def test_an_extension_that_we_do_not_know_is_not_ignored(issuer: Issuer) -> None:
    assert refusal(issuer.token("alice", headers={"crit": ["exp"], "exp": 1})) == "token_malformed"
    assert refusal(issuer.token("alice", headers={"b64": True, "crit": "b64"})) == "token_malformed"


def test_a_token_has_a_length_that_headers_can_have(issuer: Issuer) -> None:
    assert authentication.authenticate(issuer.token("alice", groups=["g" * 20] * 200)).id == "alice"
    assert refusal(issuer.token("alice", groups=["g" * 20] * 400)) == "token_too_long"
    assert refusal("x" * 9_000) == "token_too_long"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "a.b",
        "a.b.c.d",
        "mk_secret",
        "ey J.x.y",
        "ä.b.c",
        "a.b.c\n",
        "\x00.b.c",
        "\ud800.b.c",
    ],
)
def test_garbage_is_refused(issuer: Issuer, token: str) -> None:
    assert refusal(token) == "token_malformed"
    assert not issuer.requests


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"7", b'"x"', b"{", b"\xff", b"[" * 2_000, b'{"exp":' + b"9" * 5_000]
)
def test_claims_that_are_no_json_object_are_refused(issuer: Issuer, body: bytes) -> None:
    key = issuer.keys[0]
    head = forge({"alg": "RS256", "kid": "key-1"}, body).rsplit(".", 1)[0]
    signature = jwt.get_algorithm_by_name("RS256").sign(head.encode(), key.private)
    token = head + "." + base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    assert refusal(token) == "token_malformed"


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_no_damage_makes_a_token_good_or_breaks_us(issuer: Issuer, data: st.DataObject) -> None:
    token = issuer.token("alice")
    start = data.draw(st.integers(0, len(token) - 1))
    end = data.draw(st.integers(start, min(start + 20, len(token))))
    damaged = token[:start] + data.draw(st.text(max_size=20)) + token[end:]
    if damaged != token:
        refusal(damaged)


def test_a_rotated_key_is_followed(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    with Issuer() as other:
        setting(monkeypatch, issuer=other.url)
        old = other.token("alice")
        assert authentication.authenticate(old).id == "alice"
        other.rotate()
        assert refusal(other.token("alice")) == "unknown_key"  # we asked just now
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 61)
        assert authentication.authenticate(other.token("alice", iat=None, nbf=None)).id == "alice"
        assert refusal(old) == "unknown_key"


def test_an_issuer_that_does_not_answer_is_no_refusal(issuer: Issuer) -> None:
    issuer.outage = True
    with pytest.raises(UnavailableError):
        authentication.authenticate(issuer.token("alice"))


def test_without_an_issuer_nobody_is_known_and_the_error_says_what_to_set(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer.token("alice")
    for name in ("REGISTRY_ISSUER", "REGISTRY_AUDIENCE"):
        monkeypatch.delenv(name)
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match=r"REGISTRY_ISSUER.*REGISTRY_AUDIENCE"):
        authentication.authenticate(token)


def test_with_authentication_off_a_token_is_still_checked(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    setting(monkeypatch, authentication="off")
    assert refusal(issuer.token("alice", aud="x")) == "wrong_audience"
