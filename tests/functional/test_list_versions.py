"""list_versions: the versions of one model."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from tests.functional.kit import METADATA_KEYS, link_in, ok, publish


def test_all_versions_of_the_model_are_listed_newest_first_active_or_not(api):
    for version in ("v2", "v1", "v3"):
        publish("alice", "m", version, [])
    publish("alice", "other", "v1", [])
    ok(api.update(changes={"is_active": False}, version="v1"))
    entries = ok(api.versions())
    assert [(each["version"], each["is_active"]) for each in entries] == [("v3", True), ("v1", False), ("v2", True)]
    assert all(set(each) == METADATA_KEYS for each in entries)


def test_a_model_that_does_not_exist_has_no_versions(api):
    assert ok(api.versions("none")) == []


def test_the_link_leads_through_active_and_inactive_ones_in_order(api):
    for number in range(1, 10):
        publish("alice", "m", f"v{number}", [])
    for number in (1, 4, 5, 9):
        ok(api.update(changes={"is_active": False}, version=f"v{number}"))
    for limit in ("1", "2", "4", "8", "9"):
        seen, query = [], {"limit": limit}
        for _ in range(12):
            answer = api.versions(**query)
            page = [each["version"] for each in ok(answer)]
            assert len(page) <= int(limit)
            seen += page
            link = link_in(answer)
            if link is None:
                break
            query = {key: values[-1] for key, values in parse_qs(urlsplit(link).query).items()}
        assert seen == [f"v{number}" for number in range(9, 0, -1)], limit
