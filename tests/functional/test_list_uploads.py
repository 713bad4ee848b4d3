"""list_uploads: a user's open uploads."""

from __future__ import annotations

from tests.functional.kit import deliver, event_of, ok, refused, send


def test_open_uploads_are_listed_newest_first_and_ended_ones_are_not(api):
    started = [ok(api.start(f"m{n}", files=[{"path": "a", "size": 1}]), 201) for n in range(4)]
    assert [each["model_id"] for each in ok(api.uploads())] == ["m3", "m2", "m1", "m0"]
    ok(api.abort(started[1]["upload_id"]))
    deliver(event_of(send(started[2]["files"][0], b"x")))
    assert [each["upload_id"] for each in ok(api.uploads())] == [started[3]["upload_id"], started[0]["upload_id"]]


def test_an_entry_is_the_upload_without_its_files(api):
    upload = ok(api.start(files=[{"path": "a", "size": 7}]), 201)
    (entry,) = ok(api.uploads())
    assert (entry["files"], entry["file_count"], entry["bytes_total"]) == ([], 1, 7)
    assert {**entry, "files": 0, "urls_expire_at": 0} == {**upload, "files": 0, "urls_expire_at": 0}


def test_other_users_uploads_are_not_listed(api):
    ok(api.start(files=[{"path": "a", "size": 1}]), 201)
    api.user_id = "bob"
    assert ok(api.uploads()) == []


def test_the_user_has_to_be_named(api):
    assert "user_id" in refused(api.call("list_uploads"), 400)
    refused(api.call("list_uploads", query={"user_id": "a/b"}), 400, "bad_user_id")
