"""What a grant, a group or a token's bounds let somebody do with models and in lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from registry import deleting, downloads, search, versions
from registry.auth import Principal, rights_of
from registry.catalog import reading
from registry.errors import ForbiddenError, NotFoundError
from registry.schemas.requests import VersionFields
from registry.versions import Filters, Paging

from tests.functional.kit import link_in, nothing_written, ok, refused


@pytest.fixture(autouse=True)
def models(api: Any, setting: Callable[..., None]) -> None:
    """alice has `open`, which others are let to, and `secret`, which they are not."""
    setting(authentication="authorizer")
    ok(api.single("open", principal="alice"))
    ok(api.single("secret", principal="alice"))


def ids(listed: list[dict[str, Any]]) -> list[str]:
    return [each["model_id"] for each in listed]


READS: list[tuple[str, Callable[[Any, str, str], Any]]] = [
    ("get", lambda api, who, model: api.get(model, principal=who)),
    ("versions", lambda api, who, model: api.versions(model, principal=who)),
    ("files", lambda api, who, model: api.files(model, urls="true", principal=who)),
    ("download", lambda api, who, model: api.download(model, filename="model.pkl", principal=who)),
    ("download all", lambda api, who, model: api.download(model, principal=who)),
]
WRITES: list[tuple[str, Callable[[Any, str, str], Any], int]] = [
    ("update", lambda api, who, model: api.update(model, {"name": "x"}, principal=who), 200),
    ("single", lambda api, who, model: api.single(model, version="n1", principal=who), 200),
    ("folder", lambda api, who, model: api.folder({"a": b"1"}, model, version="n2", principal=who), 200),
    ("start", lambda api, who, model: api.start(model, version="n3", archive={"size": 1}, principal=who), 201),
    ("purge", lambda api, who, model: api.delete(model, version="v1", purge="true", principal=who), 200),
    ("delete", lambda api, who, model: api.delete(model, all="true", principal=who), 200),
]


@pytest.mark.case("N1")
@pytest.mark.parametrize("place", ["bob", "open/bob"])
def test_a_reader_reads_what_was_granted_and_changes_nothing(api, place):
    ok(api.grant(place, "read", principal="alice"))
    with nothing_written():
        for _, call in READS:
            assert call(api, "bob", "open").status == 200
            expected = 200 if place == "bob" else 404
            assert call(api, "bob", "secret").status == expected
        for _, call, _ in WRITES:
            assert "may not change" in refused(call(api, "bob", "open"), 403, "no_write_grant")
            refused(call(api, "bob", "secret"), 403 if place == "bob" else 404)


@pytest.mark.case("N1")
@pytest.mark.parametrize("role", ["write", "admin"])
def test_a_writer_does_what_the_owner_does_with_that_model_and_sees_no_other(api, role):
    ok(api.grant("open/bob", role, principal="alice"))
    for name, call in READS:
        assert call(api, "bob", "open").status == 200, name
        refused(call(api, "bob", "secret"), 404)
    for name, call, status in WRITES:
        with nothing_written():
            refused(call(api, "bob", "secret"), 404)
        assert call(api, "bob", "open").status == status, name
    refused(api.get("open", principal="alice"), 404)  # it is deleted


def test_what_one_may_not_see_and_what_is_not_there_are_answered_alike(api):
    ok(api.grant("open/bob", "write", principal="alice"))
    for call in [each[1] for each in (*READS, *WRITES)]:
        secret, nothing = call(api, "bob", "secret"), call(api, "bob", "nothin")
        assert secret.body["code"] == nothing.body["code"]
        assert secret.body["detail"].replace("'secret'", "'nothin'") == nothing.body["detail"]


def test_a_revoked_or_lowered_grant_counts_from_the_next_request_on(api):
    ok(api.grant("bob", "write", principal="alice"))
    ok(api.update("open", {"name": "Mine"}, principal="bob"))
    ok(api.grant("bob", "read", principal="alice"))
    refused(api.update("open", {"name": "Other"}, principal="bob"), 403)
    ok(api.get("open", principal="bob"))
    ok(api.revoke("bob", principal="alice"))
    refused(api.get("open", principal="bob"), 404)
    assert ok(api.list(principal="bob")) == []


def get(model_id: str, user_id: str, **bounds: Any) -> Any:
    """A model of alice's, as a principal with groups or bounds gets it."""
    principal = Principal(user_id, **bounds)
    return versions.get_model(principal=principal, user_id="alice", model_id=model_id, version=None)


def test_a_group_is_granted_to_and_a_user_of_its_name_is_not_in_it(api):
    ok(api.grant("open/@team", "read", principal="alice"))
    ok(api.grant("@chiefs", "read", principal="alice"))
    get("open", "bob", groups=frozenset({"x", "team"}))
    with pytest.raises(NotFoundError):
        get("secret", "bob", groups=frozenset({"x", "team"}))
    get("secret", "carol", groups=frozenset({"team", "chiefs"}))
    for impostor in ("@team", "team", "@chiefs", "chiefs"):
        with pytest.raises(NotFoundError):
            get("open", impostor)
    ok(api.grant("bob", "read", principal="alice"))
    for group in ("bob", "@bob", "", "a#b", "g" * 2000):
        with pytest.raises(NotFoundError):
            get("open", "mallory", groups=frozenset({group}))


def test_of_several_grants_the_highest_counts(api):
    ok(api.grant("@team", "read", principal="alice"))
    ok(api.grant("open/bob", "write", principal="alice"))
    ok(api.grant("open/@team", "read", principal="alice"))
    rights = rights_of(Principal("bob", groups=frozenset({"team"})), "alice")
    assert (rights.everywhere, rights.by_model) == ("read", {"open": "write"})
    assert rights.may("write", "open") and rights.may("read", "secret") and not rights.may("write", "secret")


BOUNDS = [
    ({"scope": "read"}, "open", "write", "token_reads_only"),
    ({"models": "secret"}, "open", "read", "token_other_models"),
    ({"models": "op"}, "open", "read", "token_other_models"),
    ({"models": "*x"}, "open", "read", "token_other_models"),
    ({"models": "o.en"}, "open", "read", "token_other_models"),
    ({"models": "*e" * 60 + "*x"}, "e" * 128, "read", "token_other_models"),  # which no way of trying takes for ever
    ({"models": "secret*", "scope": "read"}, "open", "write", "token_reads_only"),
    ({"models": "open"}, "open", "write", None),
    ({"models": "o*n"}, "open", "write", None),
    ({"models": "*"}, "open", "write", None),
    ({"models": "*e*"}, "secret", "write", None),
    ({"scope": "read", "models": "op*"}, "open", "read", None),
]


@pytest.mark.case("N5")
@pytest.mark.parametrize("user_id", ["alice", "bob"])
@pytest.mark.parametrize(("bounds", "model_id", "action", "code"), BOUNDS)
def test_a_token_does_no_more_than_it_is_for_whatever_its_owner_may(api, user_id, bounds, model_id, action, code):
    ok(api.grant("bob", "admin", principal="alice"))
    principal = Principal(user_id, **bounds)

    def change() -> None:
        versions.update_model(
            principal=principal,
            user_id="alice",
            model_id=model_id,
            version="v1",
            changes=VersionFields(name="x"),
            if_match=None,
        )
        deleting.delete_model(principal=principal, user_id="alice", model_id=model_id, version="v1", every=False)

    def look() -> None:
        downloads.download_model(
            principal=principal, user_id="alice", model_id=model_id, version=None, filename="model.pkl", redirect=True
        )

    call = change if action == "write" else look
    if code is None:
        call()
        return
    with nothing_written(), pytest.raises(ForbiddenError) as refusal:
        call()
    assert refusal.value.code == code


@pytest.mark.case("N5")
def test_a_token_does_not_widen_what_its_owner_may(api):
    ok(api.grant("open/bob", "read", principal="alice"))
    with pytest.raises(NotFoundError):
        get("secret", "bob", models="*")
    with pytest.raises(NotFoundError):
        get("secret", "mallory", models="secret")


# -- lists and searches --------------------------------------------------------------------------------------------


def test_lists_and_searches_show_what_may_be_read_and_nothing_else(api):
    ok(api.single("open", version="v2", principal="alice"))
    for who, place, expected in (
        ("all", "all", ["open", "secret", "open"]),
        ("one", "open/one", ["open", "open"]),
        ("other", "gone/other", []),
        ("mallory", None, []),
    ):
        if place:
            ok(api.grant(place, "read", principal="alice"))
        assert ids(ok(api.list(principal=who))) == expected
        assert ids(ok(api.search("model", principal=who))) == expected
        assert ids(ok(api.list(latest="true", principal=who))) == expected[: len(set(expected))]
        assert ids(ok(api.search("secret", principal=who))) == [each for each in expected if each == "secret"]


def test_a_list_of_one_of_many_models_is_walked_in_bounded_steps_and_to_the_end(api, monkeypatch):
    for number in range(12):
        ok(api.single(f"other{number}", principal="alice"))
    ok(api.single("open", version="v2", principal="alice"))
    ok(api.grant("open/bob", "read", principal="alice"))
    monkeypatch.setattr(search, "MAX_POSTINGS", 3)
    found, query, pages = [], {"limit": 1}, 0
    while True:
        answer = api.list(principal="bob", **query)
        found += [(each["model_id"], each["version"]) for each in ok(answer)]
        pages += 1
        link = link_in(answer)
        if link is None:
            break
        query = {"limit": 1, "cursor": link.partition("cursor=")[2].partition("&")[0]}
        assert "other" not in reading.read_cursor(query["cursor"])  # nor does it tell of them
    assert found == [("open", "v2"), ("open", "v1")]
    assert 3 < pages < 16


def test_a_token_for_some_models_lists_those(api):
    def listed(user_id: str, **bounds: Any) -> list[str]:
        found, _ = versions.list_models(
            principal=Principal(user_id, **bounds), user_id="alice", filters=Filters(), paging=Paging()
        )
        return [each.model_id for each in found]

    assert listed("alice", models="s*") == ["secret"]
    assert listed("alice", scope="read") == ["secret", "open"]
    ok(api.grant("open/bob", "read", principal="alice"))
    assert listed("bob", models="s*") == []
    assert listed("bob", models="o*") == ["open"]
