"""put_grant, get_grant, delete_grant and list_grants: what users let others do. What it does is test_granted.py's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from registry import grants
from registry.auth import Principal
from registry.errors import ForbiddenError

from tests.functional.kit import items, link_in, nothing_written, ok, refused


@pytest.fixture(autouse=True)
def authenticated(setting: Callable[..., None]) -> None:
    setting(authentication="authorizer")


def of(grantee: str, role: str, model_id: str | None = None) -> dict[str, Any]:
    return {"user_id": "alice", "model_id": model_id, "grantee": grantee, "role": role}


def test_a_grant_is_there_until_it_is_revoked_and_nothing_is_left_of_it(api):
    before = items()
    assert ok(api.grant("bob", "read", principal="alice")) == of("bob", "read")
    assert ok(api.granted("bob", principal="alice")) == of("bob", "read")
    revoked = {"user_id": "alice", "model_id": None, "grantee": "bob", "status": "revoked"}
    assert ok(api.revoke("bob", principal="alice")) == revoked
    refused(api.granted("bob", principal="alice"), 404, "grant_not_found")
    refused(api.revoke("bob", principal="alice"), 404, "grant_not_found")
    assert items() == before


@pytest.mark.parametrize("model_id", ["self", "_user_instantiated", "attributes", "default", "as_dict", "a.b"])
def test_a_model_may_be_called_as_an_argument_is(api, model_id):
    for place in ("m/bob", f"{model_id}/bob", f"{model_id}/carol"):
        ok(api.grant(place, "read", principal="alice"))
    ok(api.single(model_id, principal="alice"))
    for who in ("bob", "carol"):
        assert ok(api.get(model_id, principal=who))["model_id"] == model_id
        ok(api.revoke(f"{model_id}/{who}", principal="alice"))
        refused(api.get(model_id, principal=who), 404)
    assert ok(api.grants(principal="alice")) == [of("bob", "read", "m")]


def test_a_grant_that_is_given_again_replaces_the_role_and_no_other(api):
    for place, role in (("bob", "read"), ("m/bob", "write"), ("m.2/bob", "admin"), ("m/@team", "read")):
        ok(api.grant(place, role, principal="alice"))
    with nothing_written():
        ok(api.grant("m/bob", "write", principal="alice"))  # idempotent
    ok(api.grant("m/bob", "read", principal="alice"))
    assert ok(api.grants(principal="alice")) == [
        of("@team", "read", "m"),
        of("bob", "read"),
        of("bob", "read", "m"),
        of("bob", "admin", "m.2"),
    ]
    ok(api.revoke("m/bob", principal="alice"))
    refused(api.granted("m/bob", principal="alice"), 404, "grant_not_found")
    assert ok(api.granted("bob", principal="alice"))["role"] == "read"
    assert ok(api.granted("m.2/bob", principal="alice"))["role"] == "admin"


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("alice", "grant_to_owner"),
        ("m/alice", "grant_to_owner"),
        ("grants", "bad_user_id"),
        ("_bob", "bad_user_id"),
        ("b b", "bad_user_id"),
        ("b#b", "bad_user_id"),
        ("*", "bad_user_id"),
        ("bob/", "bad_user_id"),
        ("/bob", "bad_model_id"),
        ("a/b/bob", "bad_model_id"),
        ("*/bob", "bad_model_id"),
        ("../bob", "bad_model_id"),
        ("x" * 129, "bad_user_id"),
        ("@", "bad_grantee"),
        ("@a b", "bad_grantee"),
        ("@" + "g" * 129, "bad_grantee"),
        ("m" * 129 + "/bob", "bad_model_id"),
    ],
)
def test_a_place_that_can_be_nobodys_is_refused_and_nothing_is_written(api, place, code):
    with nothing_written():
        refused(api.grant(place, principal="alice"), 400, code)
    if code != "grant_to_owner":
        refused(api.granted(place, principal="alice"), 400, code)
        refused(api.revoke(place, principal="alice"), 400, code)


@pytest.mark.parametrize(
    "body", [{}, {"role": "owner"}, {"role": None}, {"role": "read", "user_id": "bob"}, {"role": 1}]
)
def test_a_role_that_there_is_not_is_refused(api, body):
    path = {"user_id": "alice", "grant": "bob"}
    with nothing_written():
        refused(api.call("put_grant", path=path, json_body=body, principal="alice"), 400)


def test_who_may_administer_may_grant_there_and_nowhere_else(api):
    ok(api.grant("root", "admin", principal="alice"))
    ok(api.grant("m/chief", "admin", principal="alice"))
    ok(api.grant("m/dave", "read", principal="root"))
    ok(api.grant("erin", "read", principal="root"))
    ok(api.grant("m/erin", "write", principal="chief"))
    ok(api.grant("m/@team", "admin", principal="chief"))
    assert ok(api.granted("m/dave", principal="chief"))["role"] == "read"
    assert [(each["model_id"], each["grantee"]) for each in ok(api.grants(principal="chief"))] == [
        ("m", "@team"),
        ("m", "chief"),
        ("m", "dave"),
        ("m", "erin"),
    ]
    assert len(ok(api.grants(principal="root"))) == 6
    with nothing_written():
        refused(api.grant("chief", "admin", principal="chief"), 403, "no_admin_grant")
        refused(api.grant("n/chief", "read", principal="chief"), 404)
        refused(api.granted("erin", principal="chief"), 403, "no_admin_grant")
        refused(api.revoke("root", principal="chief"), 403, "no_admin_grant")
    ok(api.revoke("m/chief", principal="root"))
    refused(api.grants(principal="chief"), 404)


@pytest.mark.case("N1")
def test_readers_and_writers_may_not_administer_and_others_see_nothing(api):
    ok(api.grant("reader", "read", principal="alice"))
    ok(api.grant("writer", "write", principal="alice"))
    ok(api.grant("m/helper", "write", principal="alice"))
    for place in ("bob", "m/bob", "reader", "m/helper"):
        for who, status in (("reader", 403), ("writer", 403), ("helper", 403), ("mallory", 404)):
            with nothing_written():
                refused(api.grant(place, "admin", principal=who), status)
                refused(api.granted(place, principal=who), status)
                refused(api.revoke(place, principal=who), status)
    for who, status in (("reader", 403), ("writer", 403), ("helper", 403), ("mallory", 404)):
        detail = refused(api.grants(principal=who), status)
        assert "bob" not in detail


def test_a_list_is_paged_and_no_grant_comes_twice_or_is_left_out(api, monkeypatch):
    expected = []
    for number in range(7):
        for model_id in (None, "a", "b"):
            ok(api.grant(f"{model_id}/u{number}" if model_id else f"u{number}", principal="alice"))
            expected.append((f"u{number}", model_id))
    for rows in (200, 3):
        monkeypatch.setattr(grants, "_ROWS_A_CALL", rows)
        for limit in (1, 2, 3, 20, 21, 100):
            found, query = [], {"limit": limit}
            while True:
                answer = api.grants(principal="alice", **query)
                page = ok(answer)
                assert len(page) <= limit
                found += [(each["grantee"], each["model_id"]) for each in page]
                link = link_in(answer)
                if link is None:
                    break
                query = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
            assert found == expected
    for cursor in ("x", "Ym9i", "L2E", "\u00e9"):
        refused(api.grants(principal="alice", cursor=cursor), 400, "bad_cursor")
    refused(api.grants(principal="alice", limit=0), 400)
    refused(api.grants(principal="alice", limit=1001), 400)


def test_a_grantee_has_only_so_many_grants_and_may_change_those(api, monkeypatch):
    monkeypatch.setattr(grants, "MAX_GRANTS", 2)
    ok(api.grant("a/bob", principal="alice"))
    ok(api.grant("b/bob", principal="alice"))
    with nothing_written():
        detail = refused(api.grant("c/bob", principal="alice"), 409, "too_many_grants")
    assert "2 grants" in detail
    ok(api.grant("b/bob", "write", principal="alice"))
    ok(api.grant("c/carol", principal="alice"))
    ok(api.revoke("a/bob", principal="alice"))
    ok(api.grant("c/bob", principal="alice"))


def test_a_row_without_roles_that_a_dead_function_left_grants_nothing_and_is_used_again(api, monkeypatch):
    from registry import records

    ok(api.grant("bob", principal="alice"))
    with monkeypatch.context() as patch:
        patch.setattr(records, "delete_if", lambda *_: False)  # it dies before the row goes
        ok(api.revoke("bob", principal="alice"))
    assert ok(api.grants(principal="alice")) == []
    refused(api.grants(principal="bob"), 404)
    ok(api.grant("m/bob", principal="alice"))
    assert ok(api.grants(principal="alice")) == [of("bob", "read", "m")]


@pytest.mark.case("N5")
def test_a_registry_token_shows_grants_and_gives_and_revokes_none_whatever_it_allows(api):
    ok(api.grant("bob", principal="alice"))
    token = Principal("alice", scope="write", token_id="tok_" + "0" * 32)
    where = {"principal": token, "user_id": "alice", "place": "bob"}
    assert grants.get_grant(**where).role == "read"
    with nothing_written():
        for change in (lambda: grants.put_grant(role="admin", **where), lambda: grants.delete_grant(**where)):
            with pytest.raises(ForbiddenError) as refusal:
                change()
            assert refusal.value.code == "token_not_allowed"


def test_without_authentication_grants_are_kept_and_change_nothing(api, setting):
    setting(authentication="off")
    ok(api.grant("bob", "read"))
    assert ok(api.grants()) == [of("bob", "read")]
    api.user_id = "bob"
    ok(api.grant("alice", "read"))
    setting(authentication="authorizer")
    assert ok(api.granted("alice", principal="bob"))["role"] == "read"
