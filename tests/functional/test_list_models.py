"""list_models: a user's versions, newest first."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urljoin, urlsplit

import pytest

from tests.functional.kit import METADATA_KEYS, link_in, nothing_written, ok, publish, refused


def names(answer) -> list[str]:
    return [f"{each['model_id']}/{each['version']}" for each in ok(answer)]


def fill(api, *names: str, **fields) -> None:
    for name in names:
        model_id, version = name.split("/")
        publish(api.user_id, model_id, version, [], **fields)


def test_a_user_who_does_not_exist_has_an_empty_list(api):
    assert ok(api.list()) == []


def test_versions_are_listed_newest_first_one_entry_each_with_every_key(api):
    first = ok(api.single("a"))
    second = ok(api.single("b"))
    third = ok(api.single("a", version="v2"))
    assert ok(api.list()) == [third, second, first]
    assert all(set(entry) == METADATA_KEYS for entry in ok(api.list()))


def test_a_user_sees_only_its_own_namespace(api):
    fill(api, "a/v1")
    api.user_id = "alic"
    fill(api, "b/v1")
    assert names(api.list()) == ["b/v1"]
    api.user_id = "alice#a#*"
    refused(api.list(), 400, "bad_user_id")


def test_skip_and_limit_cut_a_page_out(api):
    fill(api, *[f"m/v{n}" for n in range(1, 8)])
    every = [f"m/v{n}" for n in range(7, 0, -1)]
    assert names(api.list()) == every
    for skip in (0, 1, 6, 7, 100):
        for limit in (1, 3, 7, 1000):
            assert names(api.list(skip=skip, limit=limit)) == every[skip : skip + limit]


def test_the_link_leads_through_all_pages_and_ends(api):
    fill(api, *[f"m/v{n}" for n in range(1, 8)])
    seen, query = [], {"limit": "3", "skip": "1"}
    for _ in range(10):
        answer = api.list(**query)
        seen += names(answer)
        link = link_in(answer)
        if link is None:
            break
        query = {key: values[-1] for key, values in parse_qs(urlsplit(link).query).items()}
        assert query["limit"] == "3" and "skip" not in query
    assert seen == [f"m/v{n}" for n in range(6, 0, -1)]


@pytest.mark.parametrize("most_bytes", [1, 2_500, 5_000])
def test_a_page_that_ends_for_its_size_leaves_nothing_out(api, monkeypatch, most_bytes):
    monkeypatch.setattr("registry.catalog.reading.MAX_PAGE_BYTES", most_bytes)
    fill(api, *[f"m/v{n}" for n in range(1, 8)])
    seen, query, pages = [], {}, 0
    while query is not None:
        answer = api.list(**query)
        found, pages = names(answer), pages + 1
        assert found, "no page is empty"
        seen += found
        link = link_in(answer)
        query = {key: values[-1] for key, values in parse_qs(urlsplit(link).query).items()} if link else None
    assert seen == [f"m/v{n}" for n in range(7, 0, -1)]
    assert pages > 1


def test_a_page_that_holds_the_last_version_has_no_link(api):
    fill(api, "m/v1", "m/v2")
    assert link_in(api.list(limit=2)) is None
    assert link_in(api.list()) is None
    assert link_in(api.list(limit=1)) is not None
    assert link_in(api.list(limit=1, skip=1)) is None


def test_the_link_keeps_the_filters(api):
    fill(api, "m/v1", "n/v1", "m/v2", tags=["a b&c", "é"], framework="onnx")
    answer = api.list(limit=1, tags="a b&c,é", framework="onnx")
    link = link_in(answer)
    assert link is not None
    query = {key: values[-1] for key, values in parse_qs(urlsplit(link).query).items()}
    assert (query["tags"], query["framework"]) == ("a b&c,é", "onnx")
    assert names(api.list(**query)) == ["n/v1"]


def test_the_link_leads_back_to_the_same_route_also_behind_a_stage(api, monkeypatch):
    import functions.list_models.app as app

    fill(api, "m/v1", "m/v2")
    handler = app.lambda_handler

    def staged(event, context):
        event["requestContext"]["path"] = "/prod" + event["path"]
        return handler(event, context)

    for handle, asked in ((handler, "https://api.example.com"), (staged, "https://api.example.com/prod")):
        monkeypatch.setattr(app, "lambda_handler", handle)
        link = link_in(api.list(limit=1))
        assert link is not None
        leads_to = urljoin(f"{asked}/ai-models/alice?limit=1", link)
        assert leads_to.partition("?")[0] == f"{asked}/ai-models/alice"


def test_the_link_escapes_the_user(api):
    api.user_id = "a|b+c@d"
    fill(api, "m/v1", "m/v2")
    link = link_in(api.list(limit=1))
    assert link is not None
    assert unquote(urlsplit(link).path).endswith("/ai-models/a|b+c@d")
    assert "|" not in link


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "ten", "1.5", "", "9" * 5000])
def test_a_limit_outside_1_to_1000_is_a_400(api, limit):
    for answer in (api.list(limit=limit), api.search(limit=limit), api.versions(limit=limit), api.files(limit=limit)):
        assert "limit" in refused(answer, 400)


def test_a_bad_skip_or_cursor_is_a_400(api):
    fill(api, "m/v1", "m/v2")
    for skip in ("-1", "x", "9" * 5000):
        assert "skip" in refused(api.list(skip=skip), 400)
    for cursor in ("not base64!", "é", "%00", "a"):
        refused(api.list(cursor=cursor), 400, "bad_cursor")


def test_a_cursor_too_long_for_a_key_is_a_400(api):
    from registry.catalog import reading

    fill(api, "m/v1", "m/v2")
    refused(api.list(cursor=reading.make_cursor("2" * 1500)), 400)


def test_framework_model_type_and_readiness_filter(api):
    fill(api, "a/v1", framework="onnx", model_type="nlp")
    fill(api, "b/v1", framework="onnx", model_type="clustering", is_production_ready=True)
    fill(api, "c/v1", framework="keras", model_type="nlp", is_production_ready=True)
    assert names(api.list(framework="onnx")) == ["b/v1", "a/v1"]
    assert names(api.list(model_type="nlp")) == ["c/v1", "a/v1"]
    assert names(api.list(framework="onnx", model_type="nlp")) == ["a/v1"]
    assert names(api.list(is_production_ready="true")) == ["c/v1", "b/v1"]
    assert names(api.list(is_production_ready="false")) == ["a/v1"]
    assert names(api.list(framework="pytorch")) == []
    refused(api.list(framework="caffe"), 400)
    refused(api.list(model_type="vision"), 400)
    refused(api.list(is_production_ready="perhaps"), 400)


def test_all_tags_must_match_whatever_their_case(api):
    fill(api, "a/v1", tags=["Demo", "straße", "x#y"])
    fill(api, "b/v1", tags=["demo"])
    fill(api, "c/v1", tags=["demonstration"])
    assert names(api.list(tags="DEMO")) == ["b/v1", "a/v1"]
    assert names(api.list(tags=" demo , STRASSE ")) == ["a/v1"]
    assert names(api.list(tags="X#Y")) == ["a/v1"]
    assert names(api.list(tags="demo,other")) == []
    assert names(api.list(tags="dem")) == []
    assert names(api.list(tags=" , ")) == ["c/v1", "b/v1", "a/v1"]


def test_inactive_versions_are_listed_only_where_they_are_asked_for(api):
    fill(api, "a/v1", "b/v1", "c/v1")
    ok(api.update("b", {"is_active": False}))
    assert names(api.list()) == names(api.list(is_active="true")) == ["c/v1", "a/v1"]
    assert names(api.list(is_active="false")) == ["b/v1"]
    ok(api.update("b", {"is_active": True}, version="v1"))
    assert names(api.list()) == ["c/v1", "b/v1", "a/v1"]
    assert names(api.list(is_active="false")) == []


def test_latest_lists_each_models_newest_only(api):
    fill(api, "a/v1", "b/v1", "a/v2", "b/v2", "a/v3", "c/v1")
    assert names(api.list(latest="true")) == ["c/v1", "a/v3", "b/v2"]
    ok(api.update("a", {"is_active": False}, version="v3"))
    assert names(api.list(latest="true")) == ["c/v1", "b/v2", "a/v2"]
    ok(api.delete("b", version="v2"))
    assert names(api.list(latest="true")) == ["c/v1", "a/v2", "b/v1"]
    ok(api.update("a", {"is_active": True}, version="v3"))
    assert names(api.list(latest="true")) == ["c/v1", "a/v3", "b/v1"]
    ok(api.delete("c"))
    assert names(api.list(latest="true")) == ["a/v3", "b/v1"]
    assert names(api.list(latest="true", limit=1)) == ["a/v3"]


def test_an_update_is_seen_at_once(api):
    fill(api, "a/v1", "b/v1", framework="onnx", tags=["old"])
    ok(api.update("a", {"framework": "keras", "tags": ["new"], "is_production_ready": True}))
    assert names(api.list(framework="onnx")) == ["b/v1"]
    assert names(api.list(framework="keras")) == ["a/v1"]
    assert names(api.list(tags="old")) == ["b/v1"]
    assert names(api.list(tags="new")) == ["a/v1"]
    assert names(api.list(is_production_ready="true")) == ["a/v1"]
    assert names(api.list(is_production_ready="false")) == ["b/v1"]
    assert names(api.list()) == ["b/v1", "a/v1"]  # by creation, not by update


def test_a_deleted_version_is_listed_nowhere(api):
    fill(api, "a/v1", "a/v2", tags=["t"])
    ok(api.delete("a", version="v2"))
    assert names(api.list()) == names(api.list(tags="t")) == names(api.list(latest="true")) == ["a/v1"]


def test_listing_writes_nothing(api):
    fill(api, "a/v1", "a/v2", tags=["t"])
    ok(api.update("a", {"tags": ["u"]}))
    with nothing_written():
        ok(api.list(tags="t", latest="true"))


def test_entries_hold_the_files_that_are_kept_inline_and_tell_how_many_there_are(api):
    from registry.files import StoredFile

    files = [StoredFile(f"part-{number:05d}.bin", 1, "0" * 64, "e", 0) for number in range(1_000)]
    publish("alice", "big", "v1", files)
    (entry,) = ok(api.list())
    assert entry["file_count"] == 1_000
    shown = [file["filename"] for file in entry["files"]]
    assert 10 < len(shown) < 200 and shown == [file.path for file in files[: len(shown)]]


def test_names_that_hold_each_other_are_told_apart(api):
    fill(api, "a/v1", "a.b/v1", "a-b/v1", "a/v10")
    assert names(api.versions("a")) == ["a/v10", "a/v1"]
    assert len(names(api.list())) == 4
