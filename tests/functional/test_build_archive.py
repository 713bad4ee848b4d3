"""build_archive: the ZIP of a version, built in the store."""

from __future__ import annotations

import asyncio
import importlib
import secrets
import zipfile
from collections import Counter
from collections.abc import Callable

import botocore.client
import pytest
from botocore.exceptions import ClientError

from tests.functional.kit import make_zip, multiparts, nothing_written, objects, ok, read_object, sweep, unzip

FILES = {"a.pkl": b"a" * 5000, "w/b.bin": b"b", "empty": b""}


def build(**event: object) -> None:
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


def large(*sizes: int) -> dict[str, bytes]:
    return {f"w/{number}.bin": secrets.token_bytes(size) for number, size in enumerate(sizes)}


MIB = 2**20
LARGE = large(6 * MIB, 12 * MIB, 17, 5 * MIB, 5 * MIB, 1000)


@pytest.fixture
def large_version(api, setting):
    setting(request_limit_bytes=0)
    ok(api.folder(make_zip(LARGE, method=zipfile.ZIP_STORED)))
    return api


class Calls(Counter):
    """How often S3 was asked what, by operation; `refuse` raises instead of some."""

    def __init__(self, monkeypatch) -> None:
        super().__init__()
        self.refuse: dict[str, Callable[[dict], Exception | None]] = {}
        real = botocore.client.BaseClient._make_api_call

        def call(client, operation, arguments):
            self[operation] += 1
            error = self.refuse.get(operation, lambda arguments: None)(arguments)
            if error is not None:
                raise error
            return real(client, operation, arguments)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


@pytest.fixture
def calls(monkeypatch):
    return Calls(monkeypatch)


def refusal(status: int, code: str) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "UploadPartCopy")


@pytest.fixture
def one_part_each(monkeypatch):
    """Every builder has time for one part."""
    from registry.storage import assembling

    run = assembling._Work.run

    def first(self, due):
        return run(self, dict(list(due.items())[:1]))

    monkeypatch.setattr(assembling._Work, "run", first)


def test_large_files_are_copied_and_the_zip_is_the_one_that_is_answered_here(large_version, setting, calls):
    setting(request_limit_bytes=0, inline_limit_bytes=0)
    answered = ok(large_version.download())
    calls.clear()
    build(user_id="alice", model_id="m", version="v1")
    (key,) = archives()  # and nothing of what it was made of
    assert read_object(key) == answered
    assert unzip(answered) == LARGE
    assert multiparts() == []
    assert calls["UploadPartCopy"] > 4
    # Sent: the first, as it is less than twice 5 MiB; what ends a part that is made; the end.
    assert calls["UploadPart"] == 4


def test_one_who_runs_out_of_time_leaves_the_rest_to_a_successor_and_no_part_is_made_twice(
    large_version, started, calls, one_part_each
):
    build(user_id="alice", model_id="m", version="v1")
    hops = 0
    while started:
        assert archives() == []
        hops += 1
        name, event = started.pop()
        assert name == "build_archive"
        build(**event)
    (key,) = archives()
    assert unzip(read_object(key)) == LARGE
    assert multiparts() == []
    made = calls["CreateMultipartUpload"]
    assert hops > 3
    assert calls["CompleteMultipartUpload"] == made  # none was begun and given up


def test_a_successor_comes_once_and_nobody_else_builds_meanwhile(large_version, started, calls, one_part_each):
    build(user_id="alice", model_id="m", version="v1")
    (_, event) = started.pop()
    calls.clear()
    build(user_id="alice", model_id="m", version="v1")  # Lambda's retry of the first
    assert calls["UploadPart"] + calls["UploadPartCopy"] == 0
    build(**event)
    (_, second) = started.pop()
    calls.clear()
    build(**event)
    assert calls["UploadPart"] + calls["UploadPartCopy"] == 0
    assert started == []
    assert second["after"] > event["after"]


def test_a_successor_that_is_lost_is_replaced_when_the_lease_has_run_out(
    large_version, started, one_part_each, move_clock
):
    build(user_id="alice", model_id="m", version="v1")
    started.clear()
    move_clock(61)
    build(user_id="alice", model_id="m", version="v1")
    while started:
        started.run()
    assert unzip(read_object(*archives())) == LARGE


def test_builders_that_get_nothing_done_are_not_started_for_ever(large_version, started, monkeypatch):
    from registry.storage import assembling

    monkeypatch.setattr(assembling._Work, "run", lambda self, due: {})
    build(user_id="alice", model_id="m", version="v1")
    hops = 0
    with pytest.raises(RuntimeError, match="longer than a function may run"):
        while started:
            hops += 1
            build(**started.pop()[1])
    assert hops == 5
    assert archives() == multiparts() == []


def test_what_a_dead_builder_left_is_taken_up_by_the_next(large_version, calls, move_clock):
    count = 0

    def die(arguments):
        nonlocal count
        count += 1
        return KeyboardInterrupt() if count == 4 else None

    calls.refuse["UploadPartCopy"] = die
    with pytest.raises(KeyboardInterrupt):
        build(user_id="alice", model_id="m", version="v1")
    calls.refuse.clear()
    before = calls["UploadPart"] + calls["UploadPartCopy"]
    calls.clear()
    build(user_id="alice", model_id="m", version="v1")
    assert unzip(read_object(*archives())) == LARGE
    assert multiparts() == []
    assert 0 < calls["UploadPart"] + calls["UploadPartCopy"] < before + 6


def test_what_a_dead_builder_left_goes_when_it_has_expired(large_version, started, one_part_each, move_clock):
    build(user_id="alice", model_id="m", version="v1")
    started.clear()
    assert len(multiparts()) == 1
    move_clock(8 * 86_400)
    sweep()
    assert archives() == multiparts() == []


def test_a_store_that_copies_no_ranges_has_the_zip_streamed(large_version, calls):
    calls.refuse["UploadPartCopy"] = lambda arguments: refusal(501, "NotImplemented")
    build(user_id="alice", model_id="m", version="v1")
    assert unzip(read_object(*archives())) == LARGE
    assert multiparts() == []


def test_a_store_that_is_busy_is_asked_again_later(large_version, calls):
    calls.refuse["UploadPartCopy"] = lambda arguments: refusal(503, "SlowDown")
    with pytest.raises(ClientError, match="SlowDown"):
        build(user_id="alice", model_id="m", version="v1")
    assert archives() == []
    assert len(multiparts()) == 1
    calls.refuse.clear()
    build(user_id="alice", model_id="m", version="v1")
    assert unzip(read_object(*archives())) == LARGE
    assert multiparts() == []


def test_a_plan_of_another_release_is_begun_anew(large_version, started, one_part_each, monkeypatch):
    from registry.archives import assembling

    build(user_id="alice", model_id="m", version="v1")
    monkeypatch.setattr(assembling, "_COPIED_BYTES", 10 * MIB)
    while started:
        started.run()
    assert unzip(read_object(*archives())) == LARGE
    assert multiparts() == []


def test_a_version_deleted_while_it_is_built_leaves_no_archive(large_version, calls):
    def delete(arguments):
        calls.refuse.clear()
        asyncio.set_event_loop(asyncio.new_event_loop())  # Mangum's, in a thread of the builder's
        ok(large_version.delete())

    calls.refuse["UploadPart"] = delete
    build(user_id="alice", model_id="m", version="v1")
    assert objects() == {}
    assert multiparts() == []


def test_a_version_deleted_just_before_its_archive_is_complete_leaves_none(large_version, monkeypatch):
    from registry.storage import assembling

    complete = assembling.complete

    def delete_then_complete(*arguments, **named):
        ok(large_version.delete())
        complete(*arguments, **named)

    monkeypatch.setattr(assembling, "complete", delete_then_complete)
    build(user_id="alice", model_id="m", version="v1")
    assert objects() == {}
    assert multiparts() == []


def test_a_small_version_deleted_while_it_is_built_leaves_no_archive(api, monkeypatch):
    from registry.exports import building

    ok(api.folder(FILES))
    plan = building.plan_version

    def plan_then_delete(row, **arguments):
        planned = plan(row, **arguments)
        content = planned.read_at_once(0, planned.size - 1)
        monkeypatch.setattr(type(planned), "read_at_once", lambda self, first, last: content)
        ok(api.delete())
        return planned

    monkeypatch.setattr(building, "plan_version", plan_then_delete)
    build(user_id="alice", model_id="m", version="v1")
    assert objects() == {}


def test_a_version_deleted_between_two_builders_leaves_nothing(large_version, started, one_part_each):
    build(user_id="alice", model_id="m", version="v1")
    (_, event) = started.pop()
    ok(large_version.delete())
    ok(large_version.folder(FILES))  # another one of the same name
    build(**event)
    assert started == archives() == multiparts() == []


def test_a_zip_that_is_done_between_two_looks_is_no_failure(api, monkeypatch):
    from registry import exports, tasks
    from registry.catalog import reading
    from registry.records import ArchiveRow

    ok(api.folder(FILES))
    asked = []
    find = ArchiveRow.find.__func__

    def build_then_find(cls, *key):
        if asked:
            build(**asked[0])
        return find(cls, *key)

    monkeypatch.setattr(tasks, "start_function", lambda name, event: asked.append(event))
    monkeypatch.setattr(ArchiveRow, "find", classmethod(build_then_find))
    assert exports.find_or_build(reading.get_version("alice", "m", "v1")) == archives()[0]
