"""abort_upload: an upload ends and leaves nothing."""

from __future__ import annotations

import pytest

from tests.functional.kit import deliver, event_of, items, multiparts, nothing_written, objects, ok, refused, send


def test_abort_takes_parts_and_inbox_away_and_frees_the_version(api):
    files = [{"path": "a", "size": 1}, {"path": "b", "size": 2}, {"path": "c", "size": 40 * 2**20}]
    upload = ok(api.start(version="v1", files=files), 201)
    deliver(event_of(send(upload["files"][0], b"x")))  # promoted already
    send(upload["files"][1], b"yy")
    assert len(multiparts()) == 1 and len(objects()) == 2
    body = ok(api.abort(upload["upload_id"]))
    assert body["status"] == "aborted" and body["code"] == "aborted" and body["detail"]
    assert objects() == {} and multiparts() == []
    assert ok(api.uploads()) == []
    assert ok(api.upload(upload["upload_id"]))["status"] == "aborted"
    assert ok(api.single(version="v1"))["version"] == "v1"
    assert not [key for key in items() if key[0] == f"A#{upload['upload_id']}" and key[1] != "#"]


def test_abort_may_be_repeated(api):
    upload_id = ok(api.start(archive={"size": 5}), 201)["upload_id"]
    ok(api.abort(upload_id))
    with nothing_written():
        assert ok(api.abort(upload_id))["status"] == "aborted"


def test_once_ready_it_is_a_409_and_the_version_stays(api):
    upload = ok(api.start(files=[{"path": "a", "size": 1}]), 201)
    deliver(event_of(send(upload["files"][0], b"x")))
    with nothing_written():
        refused(api.abort(upload["upload_id"]), 409)
    assert ok(api.download(filename="a")) == b"x"


def test_what_is_not_there_is_a_404(api):
    with nothing_written():
        refused(api.abort("0" * 32), 404, "upload_not_found")
        refused(api.abort("nonsense"), 400, "bad_upload_id")


@pytest.mark.parametrize("late", [True, False])
def test_an_event_after_the_abort_publishes_nothing_and_its_object_goes(api, late):
    upload = ok(api.start(version="v1", files=[{"path": "a", "size": 1}]), 201)
    ok(api.abort(upload["upload_id"]))
    if late:
        ok(api.single(version="v1", content=b"winner"))
    kept = objects()
    deliver(event_of(send(upload["files"][0], b"x")))
    assert objects() == kept
    assert api.get().status == (200 if late else 404)
    assert ok(api.upload(upload["upload_id"]))["status"] == "aborted"
