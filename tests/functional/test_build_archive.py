"""build_archive: the ZIP of a version, built in the store."""

from __future__ import annotations

import importlib

from tests.functional.kit import multiparts, nothing_written, objects, ok, read_object, sweep, unzip

FILES = {"a.pkl": b"a" * 5000, "w/b.bin": b"b", "empty": b""}


def build(**event: str) -> None:
    importlib.import_module("functions.build_archive.app").lambda_handler(event, None)


def archives() -> list[str]:
    return list(objects("modelkeep/archives/"))


def test_the_archive_holds_every_file_of_the_version(api):
    ok(api.folder(FILES))
    build(user_id="alice", model_id="m", version="v1")
    (key,) = archives()
    assert unzip(read_object(key)) == FILES
    assert multiparts() == []


def test_building_twice_changes_nothing(api):
    ok(api.folder(FILES))
    build(user_id="alice", model_id="m", version="v1")
    before = objects()
    build(user_id="alice", model_id="m", version="v1")
    assert objects() == before


def test_nothing_is_built_of_what_is_not_there(api):
    ok(api.folder(FILES))
    with nothing_written():
        build(user_id="alice", model_id="m", version="v2")
        build(user_id="bob", model_id="m", version="v1")


def test_deleting_the_version_deletes_its_archive(api):
    ok(api.folder(FILES))
    build(user_id="alice", model_id="m", version="v1")
    ok(api.delete())
    assert objects() == {}


def test_an_archive_is_dropped_when_it_has_expired_and_built_again_when_asked_for(api, move_clock):
    ok(api.folder(FILES))
    build(user_id="alice", model_id="m", version="v1")
    move_clock(6 * 86_400)
    sweep()
    assert len(archives()) == 1
    move_clock(2 * 86_400)
    sweep()
    assert archives() == []
    build(user_id="alice", model_id="m", version="v1")
    assert unzip(read_object(*archives())) == FILES


def test_a_version_deleted_while_it_is_built_leaves_no_archive(api, monkeypatch):
    from registry import exports

    ok(api.folder(FILES))
    plan = exports.plan_version

    def plan_then_delete(row, **arguments):
        planned = plan(row, **arguments)
        content = b"".join(planned.read(0, planned.size - 1))
        monkeypatch.setattr(type(planned), "read", lambda self, first, last: iter([content]))
        ok(api.delete())
        return planned

    monkeypatch.setattr(exports, "plan_version", plan_then_delete)
    build(user_id="alice", model_id="m", version="v1")
    assert objects() == {}
