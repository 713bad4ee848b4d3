"""sweep_uploads: what was lost, has died or is overdue."""

from __future__ import annotations

import pytest

from tests.functional.kit import (
    deliver,
    event_of,
    items,
    make_zip,
    multiparts,
    nothing_written,
    objects,
    ok,
    refused,
    send,
    sweep,
)

DAY = 86_400


def work_rows() -> list[tuple[str, str]]:
    return [key for key in items() if key[0].startswith("WK#")]


def test_nothing_to_do_changes_nothing(api, move_clock):
    ok(api.single())
    move_clock(30 * DAY)
    with nothing_written():
        sweep()
        sweep(everything=True)


def test_a_lost_event_is_found(api, started, move_clock):
    files = ok(api.start(files=[{"path": "a", "size": 1}]), 201)
    send(files["files"][0], b"x")
    data = make_zip({"z.pkl": b"z"})
    archive = ok(api.start("z", archive={"size": len(data)}), 201)
    send(archive["archive"], data)
    started.clear()
    move_clock(3600)
    sweep()
    started.run()
    assert ok(api.get())["file_count"] == 1
    assert ok(api.get("z"))["file_count"] == 1


def test_everything_looks_at_what_is_not_due_yet_as_after_a_crash(api, started):
    upload = ok(api.start(files=[{"path": "a", "size": 1}]), 201)
    send(upload["files"][0], b"x")
    sweep()
    assert started == []
    sweep(everything=True)
    started.run()
    assert ok(api.get())["file_count"] == 1


def test_an_open_upload_is_left_open_until_it_expires(api, started, move_clock):
    upload = ok(api.start(files=[{"path": "a", "size": 1}]), 201)
    for _ in range(6):
        move_clock(DAY)
        sweep()
        started.run()
    assert ok(api.upload(upload["upload_id"]))["status"] in ("uploading", "processing")
    deliver(event_of(send(ok(api.upload(upload["upload_id"], urls="true"))["files"][0], b"x")))
    assert ok(api.get())["file_count"] == 1


@pytest.mark.case("U17")
@pytest.mark.parametrize("kind", ["files", "archive"])
def test_an_upload_not_completed_in_seven_days_expires_and_leaves_nothing(api, started, move_clock, kind):
    ok(api.single("kept"))
    kept = objects()
    if kind == "files":
        files = [{"path": "a", "size": 1}, {"path": "b", "size": 1}, {"path": "c", "size": 40 * 2**20}]
        upload = ok(api.start(version="v1", files=files), 201)
        deliver(event_of(send(upload["files"][0], b"x")))
        send(upload["files"][1], b"x")
    else:
        upload = ok(api.start(version="v1", archive={"size": 40 * 2**20}), 201)
    assert len(multiparts()) == 1
    move_clock(7 * DAY + 60)
    sweep()
    started.run()
    assert objects() == kept and multiparts() == []
    now = ok(api.upload(upload["upload_id"]))
    assert now["status"] in ("failed", "aborted") and now["code"] == "expired" and now["detail"]
    assert ok(api.uploads()) == []
    refused(api.get(), 404)
    assert ok(api.single(version="v1"))["version"] == "v1"
    assert ok(api.download("kept", filename="model.pkl")) == b"bytes"


def test_what_a_late_client_still_writes_is_purged(api, move_clock):
    published = ok(api.start("p", files=[{"path": "a", "size": 1}]), 201)
    deliver(event_of(send(published["files"][0], b"x")))
    aborted = ok(api.start(files=[{"path": "a", "size": 1}]), 201)
    ok(api.abort(aborted["upload_id"]))
    send(published["files"][0], b"late")  # its URL is valid for an hour; say its event is lost
    send(aborted["files"][0], b"late")
    assert len(objects()) == 3
    move_clock(2 * 3600)
    sweep()
    assert list(objects()) == ["models/alice/p/v1/a"]
    assert work_rows() == []
    assert ok(api.download("p", filename="a")) == b"x"


def test_an_upload_by_form_whose_process_died_is_ended_and_its_version_free(api, move_clock, monkeypatch):
    from registry.uploads import ending, forms

    with monkeypatch.context() as patch:  # a process that is killed runs no handler of its own
        patch.setattr(forms, "_take_back", lambda *arguments: None)
        patch.setattr(forms.publishing, "publish", lambda *a, **k: (_ for _ in ()).throw(SystemError("killed")))
        refused(api.single(content=b"half"), 500)
    assert ending and len(objects()) == 1
    move_clock(3600)
    sweep()
    assert objects() == {}
    refused(api.get(), 404)
    assert ok(api.single(content=b"whole"))["version"] == "v1"


def test_a_worker_that_died_between_publication_and_tidying_up_is_finished(api, started, move_clock, monkeypatch):
    from registry.uploads import promoting

    upload = ok(api.start(files=[{"path": "a", "size": 1}]), 201)
    key = send(upload["files"][0], b"x")
    with monkeypatch.context() as patch:
        patch.setattr(promoting.ending, "finish", lambda *a: (_ for _ in ()).throw(ConnectionError("died")))
        with pytest.raises(ConnectionError):
            deliver(event_of(key))
    assert ok(api.get())["file_count"] == 1  # published is published
    for _ in range(3):
        move_clock(3 * 3600)
        sweep()
        started.run()
    assert list(objects()) == ["models/alice/m/v1/a"]
    assert work_rows() == []
    sha256 = ok(api.get())["files"][0]["file_hash"]
    again = ok(api.start("n", files=[{"path": "b", "size": 1, "sha256": sha256}]), 201)
    assert again["files"][0]["status"] == "stored"


@pytest.mark.case("U18")
def test_one_row_that_fails_does_not_keep_the_others_from_being_looked_at(api, move_clock, monkeypatch):
    from registry.uploads import sweeping

    uploads = [ok(api.start(f"m{n}", files=[{"path": "a", "size": 1}]), 201)["upload_id"] for n in range(6)]
    move_clock(8 * DAY)
    fail = sweeping.ending.fail

    def failing(upload, **arguments):
        if upload.upload_id == uploads[2]:
            raise ConnectionError("the table is away")
        return fail(upload, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sweeping.ending, "fail", failing)
        sweep()
    states = [ok(api.upload(upload_id))["status"] for upload_id in uploads]
    assert states[2] == "uploading" and states.count("uploading") == 1
    sweep()  # it stayed due
    assert ok(api.upload(uploads[2]))["code"] == "expired"


def test_a_sweep_twice_is_a_sweep_once(api, started, move_clock):
    ok(api.start(files=[{"path": "a", "size": 1}]), 201)
    move_clock(8 * DAY)
    sweep()
    with nothing_written():
        sweep()
