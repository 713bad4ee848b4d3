"""The registry's own tokens: made and revoked by their user, known by the authorizer, bounded in every endpoint."""

from __future__ import annotations

import copy
import importlib
import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.functional.kit import Answer, Api, items, moto_table, nothing_written, ok, refused
from tests.issuer import Issuer

ROOT = Path(__file__).parents[2]
HANDLER = importlib.import_module("functions.authenticate_request.app").lambda_handler
EVENT = json.loads((ROOT / "tests/events/authenticate_request.json").read_text())
NOBODYS = "mk_" + "A" * 43
DAY = 86_400


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer(algorithm="EdDSA") as issuer:
        yield issuer


class Front:
    """API Gateway's part: the authorizer's answer for a token, handed on to a function."""

    def __init__(self, call: Callable[..., tuple[int, dict[str, str], Any]], issuer: Issuer) -> None:
        self._call, self.issuer = call, issuer

    def policy(self, *authorization: str, **headers: str) -> dict[str, Any]:
        """What the authorizer answers to AWS's event with these headers."""
        event = copy.deepcopy(EVENT)
        for name, values in {"Authorization": list(authorization), **{k: [v] for k, v in headers.items()}}.items():
            event["headers"].pop(name, None)
            event["multiValueHeaders"].pop(name, None)
            if values:
                event["headers"][name], event["multiValueHeaders"][name] = values[-1], values
        answer: dict[str, Any] = HANDLER(event, None)
        return answer

    def ask(self, token: str, function: str, **request: Any) -> Answer:
        """A request with a token: of the registry's, or of the issuer's for whom it names."""
        bearer = token if token.startswith("mk_") else self.issuer.token(token)
        return self.ask_as(self.policy(f"Bearer {bearer}"), function, **request)

    def ask_as(self, policy: dict[str, Any], function: str, **request: Any) -> Answer:
        """A request under an answer of the authorizer's, new or kept."""
        handed_on = {"principal": policy["principalId"], "context": {**policy["context"], "integrationLatency": 12}}
        return Answer(*self._call(function, **handed_on, **request))

    def make(self, who: str = "alice", **asked: Any) -> dict[str, Any]:
        made: dict[str, Any] = ok(self.ask(who, "create_token", json_body={"name": "ci", **asked}), 201)
        return made

    def revoke(self, who: str, token_id: str) -> Answer:
        return self.ask(who, "revoke_token", path={"token_id": token_id})


@pytest.fixture
def front(on_moto: None, issuer: Issuer, call: Callable[..., Any], setting: Callable[..., None]) -> Front:
    setting(authentication="authorizer", issuer=issuer.url, audience=issuer.audience, groups_claim="groups")
    return Front(call, issuer)


def assert_unauthorized(front: Front, *authorization: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """API Gateway answers 401 to an exception of just this text; the reason is in the log."""
    caplog.clear()
    with pytest.raises(Exception) as raised:
        front.policy(*authorization)
    assert str(raised.value) == "Unauthorized"
    assert [vars(record)["code"] for record in caplog.records if record.message == "refused"] == [reason]


@pytest.mark.case("N11")
def test_a_token_is_shown_once_and_kept_as_its_hash_alone(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, logger="botocore")  # below, it shows the signatures of its own requests
    made = front.ask("alice", "create_token", json_body={"name": "ci", "scope": "write", "models": "bert*"})
    body = ok(made, 201)
    token = body.pop("token")
    assert re.fullmatch(r"mk_[A-Za-z0-9_-]{43}", token)  # 256 bits
    assert made.headers["cache-control"] == "no-store"
    assert re.fullmatch("tok_[0-9a-f]{32}", body["token_id"])
    assert body == {
        **{"token_id": body["token_id"], "name": "ci", "scope": "write", "models": "bert*", "last_used_at": None},
        **{"created_at": body["created_at"], "expires_at": body["expires_at"]},
    }
    listed = front.ask("alice", "list_tokens")
    assert ok(listed) == [body]
    front.policy(f"Bearer {token}")
    front.revoke("alice", front.make()["token_id"])
    dump = json.dumps(sorted(items().items()), default=str)
    assert body["token_id"] in dump
    said = "".join(str(vars(record)) for record in caplog.records)
    assert {"token_made", "token_revoked"} <= {record.message for record in caplog.records}
    for place in (dump, said, str(listed)):
        assert token not in place and token[3:] not in place


@pytest.mark.case("N11")
def test_no_two_tokens_are_alike_and_their_randomness_is_the_systems(front: Front) -> None:
    asked: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        real = secrets.token_urlsafe
        patch.setattr(secrets, "token_urlsafe", lambda size: asked.append(size) or real(size))
        made = [front.make() for _ in range(3)]
    assert asked == [32, 32, 32]
    assert len({each["token"] for each in made}) == len({each["token_id"] for each in made}) == 3


def test_what_is_not_said_is_little(front: Front) -> None:
    made = front.make()
    assert (made["scope"], made["models"]) == ("read", None)
    assert _days(made) == 90


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"name": ""}, "invalid"),
        ({"name": "n" * 257}, "invalid"),
        ({"name": "\u202ereversed"}, "invalid"),
        ({"name": None}, "invalid"),
        ({"scope": "admin"}, "invalid"),
        ({"scope": None}, "invalid"),
        ({"scope": ["read"]}, "invalid"),
        ({"models": ""}, "bad_models"),
        ({"models": "a/b"}, "bad_models"),
        ({"models": "bert?"}, "bad_models"),
        ({"models": "[a-z]"}, "bad_models"),
        ({"models": "m" * 129}, "bad_models"),
        ({"models": ["bert"]}, "invalid"),
        ({"expires_at": "tomorrow"}, "invalid"),
        ({"expires_at": "2099-01-01"}, "invalid"),
        ({"expires_at": "2099-01-01T00:00:00"}, "invalid"),
        ({"expires_at": 4_000_000_000}, "invalid"),
        ({"expires_at": "2000-01-01T00:00:00Z"}, "bad_expires_at"),
        ({"expires_at": "2099-01-01T00:00:00Z"}, "bad_expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, "bad_expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "bad_expires_at"),
        ({"user_id": "bob"}, "unknown_field"),
        ({"token": "mk_mine"}, "unknown_field"),
        ({"groups": ["admins"]}, "unknown_field"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_no_token_can_be_is_refused(front: Front, asked: dict[str, Any], code: str) -> None:
    with nothing_written():
        refused(front.ask("alice", "create_token", json_body={"name": "ci", **asked}), 400, code)
        refused(front.ask("alice", "create_token", json_body={}), 400, "invalid")


def test_an_end_is_taken_to_the_second_whatever_its_offset(front: Front) -> None:
    said = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    for offset in (timedelta(0), timedelta(hours=5, minutes=30), timedelta(hours=-8)):
        asked = said.astimezone(timezone(offset)).isoformat()
        assert datetime.fromisoformat(front.make(expires_at=asked)["expires_at"]) == said


def test_a_token_is_its_owner_within_its_bounds_and_in_no_group(front: Front) -> None:
    made = front.make(scope="write", models="bert*")
    answer = front.policy(f"Bearer {made['token']}")
    assert answer["principalId"] == "alice"
    assert answer["context"] == {"token_id": made["token_id"], "scope": "write", "models": "bert*"}
    assert front.policy(f"Bearer {front.make()['token']}")["context"]["models"] == "*"
    by_issuer = front.policy(f"Bearer {front.issuer.token('alice', groups=['ops', 'a/b', 'research'])}")
    assert by_issuer["context"] == {"groups": "ops research"}
    assert front.policy(f"Bearer {front.issuer.token('alice')}")["context"] == {}


@pytest.mark.case("N5", "N13")
def test_one_kept_answer_serves_every_route_and_each_asks_what_the_token_allows(front: Front, api: Api) -> None:
    ok(api.single("bert", principal="alice"))
    ok(api.single("other", principal="alice"))
    kept = front.policy(f"Bearer {front.make(scope='read', models='bert')['token']}")
    (statement,) = kept["policyDocument"]["Statement"]
    assert statement["Resource"].endswith("/*/*")

    def ask(function: str, model_id: str) -> Answer:
        request = {"json_body": {"name": "x"}} if function == "update_model" else {}
        return front.ask_as(kept, function, path={"user_id": "alice", "model_id": model_id}, **request)

    for order in (("get_model", "delete_model"), ("delete_model", "get_model"), ("get_model", "update_model")):
        for function in order:
            if function == "get_model":
                ok(ask(function, "bert"))
                refused(ask(function, "other"), 403)
            else:
                with nothing_written():
                    refused(ask(function, "bert"), 403)
                    refused(ask(function, "other"), 403)
    kept = front.policy(f"Bearer {front.make(scope='write', models='bert')['token']}")
    with nothing_written():
        refused(ask("delete_model", "other"), 403)
    ok(ask("get_model", "bert"))
    ok(ask("delete_model", "bert"))


@pytest.mark.case("N12")
def test_what_is_revoked_is_nobody_at_once(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    first, second = front.make(), front.make()
    assert front.policy(f"Bearer {first['token']}")["principalId"] == "alice"
    gone = front.revoke("alice", first["token_id"])
    assert ok(gone) == {"token_id": first["token_id"], "status": "revoked"}
    assert_unauthorized(front, f"Bearer {first['token']}", reason="token_unknown", caplog=caplog)
    assert [each["token_id"] for each in ok(front.ask("alice", "list_tokens"))] == [second["token_id"]]
    assert first["token_id"] not in json.dumps(sorted(items().items()), default=str)
    with nothing_written():
        refused(front.revoke("alice", first["token_id"]), 404, "token_not_found")
    assert front.policy(f"Bearer {second['token']}")["principalId"] == "alice"


@pytest.mark.case("N12")
def test_the_gateway_keeps_an_answer_for_a_minute_at_most() -> None:
    from local.gateway import CACHE_SECONDS
    from tests.template.loading import load_template

    (authorizer,) = load_template()["Resources"]["Api"]["Properties"]["Auth"]["Authorizers"].values()
    assert authorizer["Identity"]["ReauthorizeEvery"] <= 60
    assert CACHE_SECONDS <= 60


def test_anothers_token_is_not_there(front: Front) -> None:
    alices = front.make("alice")
    front.make("bob")
    with nothing_written():
        for token_id in (alices["token_id"], alices["token"], "tok_" + "0" * 32, "000", "x", ".."):
            refused(front.revoke("bob", token_id), 404, "token_not_found")
    assert alices["token_id"] not in json.dumps(ok(front.ask("bob", "list_tokens")))
    assert front.policy(f"Bearer {alices['token']}")["principalId"] == "alice"


def test_an_expired_token_is_nobody_whether_or_not_its_rows_are_gone(
    front: Front, move_clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    made = front.make(expires_at=_time(3600))
    move_clock(1800)
    assert front.policy(f"Bearer {made['token']}")["principalId"] == "alice"
    move_clock(1801)
    assert_unauthorized(front, f"Bearer {made['token']}", reason="token_expired", caplog=caplog)
    assert ok(front.ask_as({"principalId": "alice", "context": {}}, "list_tokens")) == []
    moto_table().items.clear()
    assert_unauthorized(front, f"Bearer {made['token']}", reason="token_unknown", caplog=caplog)


def test_the_setting_bounds_what_is_made_and_ends_what_was(
    front: Front, setting: Callable[..., None], move_clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    old = front.make(expires_at=_time(365 * DAY))
    setting(own_token_days=10)
    assert _days(front.make()) == 10
    with nothing_written():
        late = {"name": "ci", "expires_at": _time(11 * DAY)}
        refused(front.ask("alice", "create_token", json_body=late), 400, "bad_expires_at")
    assert front.policy(f"Bearer {old['token']}")["principalId"] == "alice"
    move_clock(10 * DAY + 1)
    assert_unauthorized(front, f"Bearer {old['token']}", reason="token_expired", caplog=caplog)
    setting(own_token_days=366)
    assert front.policy(f"Bearer {old['token']}")["principalId"] == "alice"
    setting(own_token_days=0)
    assert_unauthorized(front, f"Bearer {old['token']}", reason="token_expired", caplog=caplog)
    signed_in = {"principalId": "alice", "context": {}}
    with nothing_written():
        answer = front.ask_as(signed_in, "create_token", json_body={"name": "ci"})
        refused(answer, 403, "tokens_not_made")
    listed = ok(front.ask_as(signed_in, "list_tokens"))  # what is no longer good can still be seen, and taken away
    assert old["token_id"] in {each["token_id"] for each in listed}
    ok(front.ask_as(signed_in, "revoke_token", path={"token_id": old["token_id"]}))


@pytest.mark.parametrize("scope", ["read", "write"])
def test_a_token_makes_shows_and_revokes_no_token(front: Front, scope: str) -> None:
    mine, other = front.make(scope=scope), front.make()
    front.policy(f"Bearer {mine['token']}")
    with nothing_written():
        kept = front.policy(f"Bearer {mine['token']}")
        asked = {"name": "more", "scope": "write"}
        refused(front.ask_as(kept, "create_token", json_body=asked), 403, "token_not_allowed")
        refused(front.ask_as(kept, "list_tokens"), 403, "token_not_allowed")
        for token_id in (mine["token_id"], other["token_id"], "tok_" + "0" * 32):
            path = {"token_id": token_id}
            refused(front.ask_as(kept, "revoke_token", path=path), 403, "token_not_allowed")


def test_with_authentication_off_the_answer_says_that_none_is_needed(api: Api) -> None:
    with nothing_written():
        for function, request in (
            ("create_token", {"json_body": {"name": "ci"}}),
            ("list_tokens", {}),
            ("revoke_token", {"path": {"token_id": "tok_" + "0" * 32}}),
        ):
            assert "no token is needed" in refused(api.call(function, **request), 409, "authentication_off")


@pytest.mark.case("N14")
@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        ((), "no_token"),
        (("Bearer",), "no_token"),
        (("Bearer ",), "no_token"),
        (("mk_token",), "no_token"),
        (("Basic mk_token",), "no_token"),
        (("Bearer mk_token", "Bearer mk_token"), "no_token"),
        (("Bearer mk_token, Bearer mk_token",), "no_token"),
        (("Bearer mk_",), "token_malformed"),
        ((f"Bearer {NOBODYS[:-1]}",), "token_malformed"),
        ((f"Bearer {NOBODYS}A",), "token_malformed"),
        ((f"Bearer {NOBODYS[:-1]}=",), "token_malformed"),
        ((f"Bearer {NOBODYS[:-1]}\u0141",), "token_malformed"),
        (("Bearer mk_" + "A" * 9_000,), "token_malformed"),
        (("Bearer " + "A" * 9_000,), "token_too_long"),
        ((f"Bearer MK_{NOBODYS[3:]}",), "token_malformed"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_token_is_a_401_before_the_table_is_asked(
    front: Front,
    authorization: tuple[str, ...],
    reason: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from registry.records import TokenRow

    token = front.make()["token"]
    monkeypatch.setattr(TokenRow, "find", None)
    sent = [value.replace("mk_token", token) for value in authorization]
    assert_unauthorized(front, *sent, reason=reason, caplog=caplog)


def test_a_token_that_was_never_made_is_nobody(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    made = front.make()
    for token in (NOBODYS, made["token"][:-1] + ("A" if made["token"][-1] != "A" else "B"), made["token"].swapcase()):
        reason = "token_malformed" if token.startswith("MK_") else "token_unknown"
        assert_unauthorized(front, f"Bearer {token}", reason=reason, caplog=caplog)
    for known in (made["token_id"], "T#" + made["token_id"]):
        assert_unauthorized(front, f"Bearer {known}", reason="token_malformed", caplog=caplog)


@pytest.mark.case("N14")
def test_a_table_that_does_not_answer_is_no_401_and_lets_nobody_in(
    front: Front, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from registry.records import TokenRow

    token = front.make()["token"]

    def fail(*_: Any, **__: Any) -> None:
        raise TimeoutError("the table is away")

    monkeypatch.setattr(TokenRow, "find", fail)
    with pytest.raises(TimeoutError):
        front.policy(f"Bearer {token}")
    assert "nobody_gets_in" in caplog.text
    assert token not in caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert front.policy(f"Bearer {front.issuer.token('alice')}")["principalId"] == "alice"  # which needs no table


@pytest.mark.case("N15")
def test_no_header_says_who_a_token_is(front: Front) -> None:
    token = front.make("alice")["token"]
    claims = {"X-User-Id": "bob", "X-Amzn-Principal": "bob", "X-Forwarded-User": "bob", "Scope": "write"}
    answer = front.policy(f"Bearer {token}", **claims)
    assert (answer["principalId"], answer["context"]["scope"]) == ("alice", "read")
    front.make("bob")
    sent = {name.lower(): value for name, value in claims.items()}
    signed_in = {"principalId": "alice", "context": {}}
    assert len(ok(front.ask_as(signed_in, "list_tokens", headers=sent))) == 1


@pytest.mark.case("N15")
@pytest.mark.parametrize("context", [{"scope": "write"}, {"token_id": "tok_" + "0" * 32}, {"groups": "a/b"}, None])
def test_without_a_context_that_can_be_understood_it_is_a_401(front: Front, call: Any, context: Any) -> None:
    principal = "alice" if context else None
    with nothing_written():
        for function, request in (
            ("create_token", {"json_body": {"name": "ci"}}),
            ("list_tokens", {}),
            ("revoke_token", {"path": {"token_id": "tok_" + "0" * 32}}),
            ("get_model", {"path": {"user_id": "alice", "model_id": "m"}}),
        ):
            answer = Answer(*call(function, principal=principal, context=context, **request))
            refused(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"


def test_the_last_use_is_noted_once_an_hour(front: Front, move_clock: Callable[[float], None]) -> None:
    token = front.make()["token"]
    signed_in = {"principalId": "alice", "context": {}}

    def noted() -> str | None:
        (each,) = ok(front.ask_as(signed_in, "list_tokens"))
        return each["last_used_at"]

    assert noted() is None
    front.policy(f"Bearer {token}")
    first = noted()
    assert first is not None
    move_clock(1_800)
    with nothing_written():
        front.policy(f"Bearer {token}")
    move_clock(1_801)
    front.policy(f"Bearer {token}")
    assert noted() > first


def test_a_use_that_cannot_be_noted_refuses_nobody(
    front: Front, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from registry import records

    made = front.make()

    def fail(*_: Any) -> None:
        raise TimeoutError("throttled")

    monkeypatch.setattr(records, "update_if", fail)
    assert front.policy(f"Bearer {made['token']}")["principalId"] == "alice"
    assert [vars(each)["token_id"] for each in caplog.records if each.message == "token_use_not_noted"] == [
        made["token_id"]
    ]


def test_a_use_whose_note_hangs_keeps_nobody_waiting(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry import records, tokens

    token, go_on, ended = front.make()["token"], threading.Event(), list[bool]()
    monkeypatch.setattr(records, "update_if", lambda *_: ended.append(go_on.wait(60)))
    monkeypatch.setattr(tokens, "_NOTING_SECONDS", 0.01)
    assert front.policy(f"Bearer {token}")["principalId"] == "alice"
    assert not ended
    go_on.set()


@pytest.mark.case("N12")
def test_a_use_of_what_is_revoked_meanwhile_brings_nothing_back(front: Front) -> None:
    from registry import records, tokens
    from registry.records import TokenRow

    made = front.make()
    row = TokenRow.find(records.token_pk(made["token"]))
    assert row is not None
    ok(front.revoke("alice", made["token_id"]))
    with nothing_written():
        tokens._note_use(row, time.time())


def test_nobody_has_more_tokens_than_a_hundred_and_who_revokes_one_may_make_one(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry import tokens

    assert tokens.MAX_TOKENS == 100
    monkeypatch.setattr(tokens, "MAX_TOKENS", 3)
    made = [front.make() for _ in range(3)]
    front.make("bob")
    with nothing_written():
        answer = front.ask("alice", "create_token", json_body={"name": "one more"})
        assert "3" in refused(answer, 409, "too_many_tokens")
    ok(front.revoke("alice", made[1]["token_id"]))
    front.make()
    listed = [each["token_id"] for each in ok(front.ask("alice", "list_tokens"))]
    assert listed == sorted(listed, reverse=True) and len(listed) == 3


def test_a_look_that_is_old_makes_no_token_too_many(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where two are made at the same moment, both of which saw the last place free."""
    from registry import tokens

    monkeypatch.setattr(tokens, "MAX_TOKENS", 1)
    front.make()
    monkeypatch.setattr(tokens, "_places", lambda user_id: [])
    with nothing_written():
        refused(front.ask("alice", "create_token", json_body={"name": "second"}), 503, "busy")


def test_the_place_of_an_expired_token_is_taken_and_nothing_of_it_is_left(
    front: Front, monkeypatch: pytest.MonkeyPatch, move_clock: Callable[[float], None]
) -> None:
    from registry import tokens

    monkeypatch.setattr(tokens, "MAX_TOKENS", 1)
    old = front.make(expires_at=_time(3600))
    with nothing_written():
        refused(front.ask("alice", "create_token", json_body={"name": "early"}), 409, "too_many_tokens")
    move_clock(3601)
    signed_in = {"principalId": "alice", "context": {}}
    new = ok(front.ask_as(signed_in, "create_token", json_body={"name": "new"}), 201)
    assert len(items()) == 2
    assert old["token_id"] not in json.dumps(sorted(items().items()), default=str)
    assert front.policy(f"Bearer {new['token']}")["context"]["token_id"] == new["token_id"]


def test_a_revocation_that_meets_a_use_tries_again(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.records import Transaction

    made = front.make()
    real, tries = Transaction.commit, []

    def commit(transaction: Transaction) -> bool:
        tries.append(transaction)
        return len(tries) > 2 and real(transaction)

    monkeypatch.setattr(Transaction, "commit", commit)
    ok(front.revoke("alice", made["token_id"]))
    assert len(tries) == 3
    assert items() == {}


def _days(made: dict[str, Any]) -> float:
    return (datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])) / timedelta(days=1)


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
