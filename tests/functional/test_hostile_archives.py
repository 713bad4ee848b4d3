"""Hostile archives through the whole upload: each is refused for good by one run of a function, and nothing is left."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.functional.kit import deliver, event_of, multiparts, nothing_written, objects, ok, read_object, refused
from tests.unit import hostile
from tests.unit.hostile import Kind
from tests.unit.zip_builder import unpack

# One for each reason that each case is refused for; tests/unit/test_archives_hostile.py has all of them.
KINDS = list({(kind.case, kind.fault): kind for kind in hostile.kinds()}.values())


def send(api: Any, data: bytes) -> tuple[str, dict[str, Any]]:
    """A direct upload of this archive; its id, and the event that says that it has arrived."""
    from registry import naming
    from registry.storage.client import s3

    upload = ok(api.start(version="v1", name="A model", archive={"size": len(data)}), 201)
    key = naming.inbox_key(api.user_id, upload["upload_id"], naming.ARCHIVE_SLOT)
    s3().put_object(Bucket="modelkeep", Key=key, Body=data)
    return upload["upload_id"], event_of(key)


def nothing_left(api: Any) -> None:
    assert objects() == {}
    assert multiparts() == []
    refused(api.get(version="v1"), 404)
    assert ok(api.list()) == []


def is_refused(api: Any, started: Any, data: bytes, code: str) -> None:
    """One run of the worker, which returns as if all were well, so that nobody runs it again."""
    upload_id, event = send(api, data)
    deliver(event)
    assert list(started) == []
    upload = ok(api.upload(upload_id))
    assert (upload["status"], upload["code"]) == ("failed", code)
    assert upload["detail"]
    assert objects() == {}
    assert multiparts() == []
    refused(api.get(version="v1"), 404)


@pytest.mark.case(
    *("Z1", "Z2", "Z3", "Z4", "Z5", "Z6", "Z7", "Z8", "Z9", "Z10", "Z12", "Z13", "Z14", "Z15", "Z16", "Z17", "Z18"),
    *("Z19", "Z20", "Z21", "Z22", "Z23"),
)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.beyond], ids=str)  # nothing can't be announced
def test_each_kind_is_refused_in_one_run_and_leaves_nothing(api, started, kind: Kind):
    is_refused(api, started, kind.beyond, f"archive_{kind.fault}")


@pytest.mark.case(
    *("Z1", "Z2", "Z3", "Z4", "Z5", "Z6", "Z7", "Z8", "Z9", "Z10", "Z12", "Z13", "Z14", "Z15", "Z16", "Z17", "Z18"),
    *("Z19", "Z20", "Z21", "Z22", "Z23"),
)
@pytest.mark.parametrize("kind", {kind.case: kind for kind in KINDS}.values(), ids=str)
def test_a_form_is_a_400_beyond_the_limit_and_a_version_inside(api, kind: Kind):
    refused(api.folder(kind.beyond), 400, f"archive_{kind.fault}")
    nothing_left(api)
    wanted = unpack(kind.inside)
    shown = ok(api.folder(kind.inside))
    assert {file["filename"]: read_object(file["file_path"]) for file in shown["files"]} == wanted
    assert {file["filename"]: file["file_hash"] for file in shown["files"]} == {
        path: hashlib.sha256(data).hexdigest() for path, data in wanted.items()
    }
    assert set(objects()) == {file["file_path"] for file in shown["files"]}


@pytest.mark.case("Z14", "Z15")
@pytest.mark.parametrize("name", hostile.CONTENT_CASES)
def test_what_only_inflating_shows_takes_back_what_was_written(api, started, name: str):
    data, fault = hostile.CONTENT_CASES[name]
    is_refused(api, started, data, f"archive_{fault}")


@pytest.mark.case("Z15")
def test_the_event_of_an_archive_that_was_refused_does_nothing_more(api, started):
    data, _ = hostile.CONTENT_CASES["Z15 CRC deflated"]
    upload_id, event = send(api, data)
    deliver(event)
    assert ok(api.upload(upload_id))["code"] == "archive_bad_crc"
    assert (ok(api.versions()), ok(api.uploads())) == ([], [])
    with nothing_written():
        deliver(event)
    assert list(started) == []


@pytest.mark.case("Z11")
def test_an_archive_in_an_archive_is_kept_as_it_is(api):
    inner = hostile.nested(5)
    shown = ok(api.folder(hostile.nested(6)))
    assert [file["filename"] for file in shown["files"]] == ["inner.zip"]
    assert ok(api.download(filename="inner.zip")) == inner


@pytest.mark.case("Z17")
def test_a_member_too_many_is_refused_in_one_run(api, started):
    is_refused(api, started, hostile.empty_files(50_001), "archive_too_many_members")


@pytest.mark.case("Z18")
def test_a_key_of_1024_bytes_is_the_longest_that_a_member_may_have(api):
    api.user_id = "u" * 128
    longest = 1024 - len(f"models/{api.user_id}/{'m' * 128}/v1/")
    path = "/".join(["d" * 100] * 9)[:longest]
    (file,) = ok(api.folder({path: b"x"}, "m" * 128))["files"]
    assert len(file["file_path"]) == 1024
    refused(api.folder({path + "d": b"x"}, "n" * 128), 400, "path_too_long")
    assert list(objects()) == [file["file_path"]]
    refused(api.get("n" * 128), 404)


@pytest.mark.case("Z9")
def test_pypis_rule_can_be_set(api, setting, started):
    """64 MiB at any ratio, more at 50:1."""
    setting(max_ratio=50, ratio_from_bytes=64 * 2**20)
    is_refused(api, started, hostile.bomb(128 * 2**20), "archive_bomb")
    assert ok(api.folder(hostile.bomb(64 * 2**20)))["total_size"] == 64 * 2**20


NAME, DEEP = "n" * 41, "/".join("d" * 5)


@pytest.mark.parametrize(
    ("limit", "inside", "beyond", "code"),
    [
        ({"max_members": 2}, ["a", "b"], ["a", "b", "c"], "too_many_members"),
        ({"max_directory_bytes": 94}, ["a", "b"], ["a", "bc"], "too_large"),
        ({"max_member_bytes": 5}, ["a"], ["6 bytes"], "too_large"),
        ({"max_total_bytes": 10}, ["a", "b"], ["a", "6 bytes"], "too_large"),
        ({"max_path_bytes": 40}, [NAME[:40]], [NAME], "name_too_long"),
        ({"max_segment_bytes": 40}, [NAME[:40]], [NAME], "name_too_long"),
        ({"max_depth": 4}, [DEEP[2:]], [DEEP], "name_too_long"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_each_limit_of_archives_is_a_setting(api, started, setting, limit, inside, beyond, code):
    def make(names: list[str]) -> bytes:
        items = [hostile.Item(name=each.encode(), content=b"6" * (5 + (each == "6 bytes"))) for each in names]
        return hostile.build(*items)

    setting(**limit)
    is_refused(api, started, make(beyond), f"archive_{code}")
    assert ok(api.folder(make(inside)))["file_count"] == len(inside)


@pytest.mark.parametrize("limit", [{"max_path_bytes": 40}, {"max_segment_bytes": 40}, {"max_depth": 4}])
def test_the_limits_of_paths_hold_for_files_as_well(api, setting, limit):
    setting(**limit)
    long, short = (DEEP, DEEP[2:]) if "max_depth" in limit else (NAME, NAME[:40])
    with nothing_written():
        refused(api.start(version="v1", files=[{"path": long, "size": 1}]), 400, "path_name_too_long")
        if "/" not in long:
            refused(api.single(filename=long), 400, "path_name_too_long")
    upload = ok(api.start(version="v1", files=[{"path": short, "size": 1}]), 201)
    with nothing_written():
        refused(api.add(upload["upload_id"], [{"path": long, "size": 1}]), 400, "path_name_too_long")
    if "/" not in long:
        assert ok(api.single("other", filename=short))["file_count"] == 1
