"""get_model: one version's metadata."""

from __future__ import annotations

import pytest

from tests.functional.kit import FILE_KEYS, METADATA_KEYS, nothing_written, ok, publish, refused


def test_get_model_of_nobody_is_a_404_in_the_contracts_json(on_moto, call):
    status, headers, body = call("get_model", path={"user_id": "alice", "model_id": "none"})
    assert status == 404
    assert body["code"] == "model_not_found"
    assert isinstance(body["detail"], str)
    assert headers["x-request-id"]


def test_a_version_is_got_by_its_name(api):
    first, second = ok(api.single(name="one")), ok(api.single(name="two", version="v2"))
    assert ok(api.get(version="v1")) == first
    assert ok(api.get(version="v2")) == second
    assert set(first) == METADATA_KEYS and set(first["files"][0]) == FILE_KEYS


def test_no_version_or_latest_is_the_newest(api):
    ok(api.single(version="v9"))
    newest = ok(api.single(version="v1"))  # newest by the time of publication, not by its name
    assert ok(api.get()) == ok(api.get(version="latest")) == ok(api.get(version="")) == newest


def test_newest_is_the_latest_created_among_active_ones_whatever_was_updated_since(api):
    for version in ("v1", "v2", "v3"):
        ok(api.single(version=version))
    ok(api.update(changes={"description": "touched"}, version="v1"))
    assert ok(api.get())["version"] == "v3"
    ok(api.update(changes={"is_active": False}, version="v3"))
    assert ok(api.get())["version"] == "v2"
    assert ok(api.get(version="v3"))["is_active"] is False  # by its name it is still there
    ok(api.update(changes={"is_active": True}, version="v3"))
    assert ok(api.get())["version"] == "v3"


def test_a_model_with_inactive_versions_only_has_no_newest(api):
    ok(api.single())
    ok(api.update(changes={"is_active": False}))
    refused(api.get(), 404, "model_not_found")
    assert ok(api.get(version="v1"))["version"] == "v1"


def test_the_etag_changes_with_every_update_and_only_then(api):
    ok(api.single())
    first = api.get()
    assert first.headers["etag"].startswith('"') and first.headers["etag"].endswith('"')
    assert api.get().headers["etag"] == api.get(version="latest").headers["etag"] == first.headers["etag"]
    changed = api.update(changes={"description": "x"})
    assert changed.headers["etag"] != first.headers["etag"]
    assert api.get().headers["etag"] == changed.headers["etag"]


def test_what_is_not_there_is_a_404(api):
    ok(api.single())
    with nothing_written():
        refused(api.get("other"), 404, "model_not_found")
        refused(api.get(version="v2"), 404, "version_not_found")
        refused(api.get(version="V1"), 404)
        refused(api.get("M"), 404)
        api.user_id = "bob"
        refused(api.get(), 404)


@pytest.mark.case("A5")
def test_ids_beyond_the_alphabet_are_a_400_or_404_and_reach_nothing(api):
    ok(api.single())
    with nothing_written():
        for bad in ["..", ".", "%2e%2e%2f", "%252e", "a;../b", "a#b", "a?b", "a\\b", "x" * 2049, "m\0", "../m"]:
            answer = api.get(bad)
            assert answer.status in (400, 404), bad
            refused(answer, answer.status)
            answer = api.get(version=bad)
            assert answer.status in (400, 404), bad
            refused(answer, answer.status)
        for reserved in ("upload", "search", "_x"):
            api.user_id = reserved
            assert api.get().status in (400, 404)


@pytest.mark.case("A5")
def test_a_version_longer_than_any_key_is_a_404_or_400_everywhere(api):
    ok(api.single())
    with nothing_written():
        for version in ("v" * 129, "v" * 1023, "v" * 2049):
            for answer in (
                api.get(version=version),
                api.files(version=version),
                api.download(version=version),
                api.download(version=version, filename="model.pkl"),
                api.update(changes={"name": "x"}, version=version),
                api.delete(version=version),
            ):
                assert answer.status in (400, 404), len(version)
                refused(answer, answer.status)


def test_only_the_first_1000_files_are_shown_and_file_count_tells_all(api):
    from registry.files import StoredFile

    files = [StoredFile(f"part-{number:05d}.bin", number, "0" * 64, "e", 0) for number in range(1_050)]
    publish("alice", "big", "v1", files)
    body = ok(api.get("big"))
    assert body["file_count"] == 1_050
    assert [file["filename"] for file in body["files"]] == [file.path for file in files[:1_000]]
    assert body["total_size"] == sum(range(1_050))
