"""A worker that is out of time starts its successor: as often as it takes while each gets something done, and no more
than a few times while none does. Lambda's own stop after 16 is switched off."""

from __future__ import annotations

import pytest

from tests.functional.kit import deliver, event_of, make_zip, objects, ok, refused, send
from tests.lives import lives_of


def run(started, *, most: int) -> int:
    """Runs what was started, one after another; how many."""
    count = 0
    while started:
        name, event = started.pop(0)
        assert name == "receive_upload"
        count += 1
        assert count <= most, "this would go on for ever"
        deliver(event)
    return count


@pytest.mark.parametrize("kind", ["archive", "files"])
def test_workers_that_get_nothing_done_end_the_upload(api, started, no_time, kind):
    data = make_zip({"a.bin": b"x"})
    if kind == "archive":
        upload = ok(api.start(version="v1", archive={"size": len(data)}), 201)
        event = event_of(send(upload["archive"], data))
    else:
        upload = ok(api.start(version="v1", files=[{"path": "a.bin", "size": 1}]), 201)
        event = event_of(send(upload["files"][0], b"x"))
    with no_time():
        deliver(event)
        assert run(started, most=10) == 4  # and the first: five in a row
    now = ok(api.upload(upload["upload_id"]))
    assert (now["status"], now["code"]) == ("failed", "no_progress")
    assert now["detail"]
    assert objects() == {}
    refused(api.get(), 404)
    ok(api.single(version="v1"))


def test_workers_that_each_get_something_done_go_on_beyond_lambdas_bound(api, started, monkeypatch):
    from registry import deadlines
    from registry.uploads import members as member_files
    from registry.uploads import unpacking

    members = {f"{number:02d}.bin": b"x" for number in range(20)}
    data = make_zip(members)
    upload = ok(api.start(archive={"size": len(data)}), 201)
    event = event_of(send(upload["archive"], data))
    monkeypatch.setattr(deadlines, "Deadline", lives_of(1, seconds_left=None))  # time enough for one member
    monkeypatch.setattr(unpacking, "_AT_ONCE", 1)
    monkeypatch.setattr(member_files, "plan_runs", lambda members: [[member] for member in members])
    deliver(event)
    assert run(started, most=25) >= 18
    assert ok(api.get())["file_count"] == 20
