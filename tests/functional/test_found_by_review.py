"""What a review found that no other test shows: each was a fault once."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pynamodb.exceptions import UpdateError
from registry import deleting, exports, naming, records, search, versions
from registry.auth import ANYBODY
from registry.catalog import changing, publishing, reading
from registry.deadlines import Deadline
from registry.errors import UnavailableError
from registry.records import PostingRow, UploadRow, VersionRow
from registry.schemas.direct import AddFiles
from registry.schemas.starting import StartUpload
from registry.storage import multiparts, objects
from registry.uploads import completing, ending, receiving, starting, sweeping, waking, working

from tests.functional import kit

DAY = 86_400


def start(files: dict[str, bytes]) -> UploadRow:
    announced = [{"path": path, "size": len(data)} for path, data in files.items()]
    request = StartUpload(user_id="alice", model_id="m", version="v1", files=announced)  # type: ignore[arg-type]
    return starting.start_upload(principal=ANYBODY, request=request, idempotency_key=None)


def arrive(upload: UploadRow, files: dict[str, bytes], *, first: int = 0) -> None:
    for number, data in enumerate(files.values(), first):
        objects.put_object(naming.inbox_key("alice", upload.upload_id, number), data)


def work(upload: UploadRow) -> None:
    waking.wake(upload.upload_id)
    working.work(upload.upload_id, Deadline(None))


def test_files_added_while_their_upload_is_published_leave_no_second_manifest(
    on_moto: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {f"f{number:03d}": b"x%d" % number for number in range(150)}
    more = {f"f{number + 60:03d}b": b"y%d" % number for number in range(70)}
    upload = start(first)
    arrive(upload, first)
    add_first, calls = publishing.search.add_first, []

    def add_files_meanwhile(*arguments: Any, **named: Any) -> None:
        add_first(*arguments, **named)
        if not calls:
            calls.append(1)
            request = AddFiles(files=[{"path": path, "size": len(data)} for path, data in more.items()])  # type: ignore[list-item]
            starting.add_files(principal=ANYBODY, upload_id=upload.upload_id, request=request)

    monkeypatch.setattr(publishing.search, "add_first", add_files_meanwhile)
    work(upload)
    arrive(upload, more, first=200)
    work(upload)
    row = reading.get_version("alice", "m", "v1")
    assert [file.path for file in reading.iter_files(row)] == sorted({**first, **more})
    assert {reading.find_file(row, path).path for path in more} == set(more)
    assert len(exports.plan_version(row, filename="x").objects) == 220


def test_work_left_undone_beyond_the_tombstone_takes_nothing_of_the_next_attempt(
    on_moto: None, move_clock: Any
) -> None:
    old = start({"a": b"1"})
    completing.abort_upload(principal=ANYBODY, upload_id=old.upload_id)  # its purge is due in about an hour
    move_clock(8 * DAY)
    new = start({"a": b"new"})
    assert new.prefix == old.prefix  # the tombstone has expired
    arrive(new, {"a": b"new"})
    work(new)
    sweeping.sweep(Deadline(None))
    assert reading.get_version("alice", "m", "v1").status == "ready"
    assert [entry.key for entry in objects.list_objects("models/alice/")] == ["models/alice/m/v1/a"]


def test_an_end_left_undone_beyond_the_tombstone_leaves_no_bytes_in_the_inbox(
    on_moto: None, move_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = start({"a": b"1", "large.bin": bytes(40 * 2**20)})
    arrive(old, {"a": b"1"})
    multipart = multiparts.create_multipart(naming.inbox_key("alice", old.upload_id, 1))
    with monkeypatch.context() as dying, pytest.raises(EndedError):
        dying.setattr(ending, "clean_up", end_here)
        completing.abort_upload(principal=ANYBODY, upload_id=old.upload_id)
    move_clock(8 * DAY)
    new = start({"a": b"new"})
    assert new.prefix == old.prefix  # the tombstone has expired
    arrive(new, {"a": b"new"})
    begun = multiparts.create_multipart(naming.file_key(new.prefix, "b"))
    sweeping.sweep(Deadline(None))
    assert list(kit.objects()) == [naming.inbox_key("alice", new.upload_id, 0)]
    assert begun != multipart and kit.multiparts() == [naming.file_key(new.prefix, "b")]
    arrive(old, {"a": b"late"})  # by a URL that is still valid
    work(new)
    move_clock(DAY)
    sweeping.sweep(Deadline(None))
    assert list(kit.objects()) == ["models/alice/m/v1/a"]


def test_an_archive_left_undone_whose_version_is_being_deleted_goes_from_the_inbox(
    on_moto: None, move_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = kit.make_zip({"a": b"1"})
    request = StartUpload(user_id="alice", model_id="m", version="v1", archive={"size": len(archive)})  # type: ignore[arg-type]
    upload = starting.start_upload(principal=ANYBODY, request=request, idempotency_key=None)
    key = naming.inbox_key("alice", upload.upload_id, naming.ARCHIVE_SLOT)
    objects.put_object(key, archive)
    with monkeypatch.context() as dying:
        dying.setattr(ending, "finish", end_here)
        dying.setattr(deleting, "finish_delete", end_here)
        with pytest.raises(EndedError):
            work(upload)
        assert list(kit.objects()) == [key, "models/alice/m/v1/a"]
        with pytest.raises(EndedError):
            deleting.delete_model(principal=ANYBODY, user_id="alice", model_id="m", version="v1", every=False)
        move_clock(DAY)
        sweeping.sweep(Deadline(None))  # of the upload's row; the delete cannot be finished yet
    move_clock(DAY)
    sweeping.sweep(Deadline(None))
    assert kit.objects() == {}


def test_the_work_of_a_delete_is_not_taken_for_that_of_its_upload(on_moto: None, move_clock: Any) -> None:
    upload = start({"a": b"1"})
    arrive(upload, {"a": b"1"})
    before = UploadRow.find(upload.pk)
    assert before is not None and before.due is not None
    work(upload)
    changing.begin_delete(reading.get_version("alice", "m", "v1"), due=float(before.due.split("#")[0]))
    ending.drop_work(before)  # due in the same second
    move_clock(DAY)
    sweeping.sweep(Deadline(None))
    row = VersionRow.find(*records.version_key("alice", "m", "v1"))
    assert row is not None and row.status == "gone"
    assert kit.objects() == {}


class EndedError(Exception):
    """A function died here."""


def end_here(*_: Any, **__: Any) -> None:
    raise EndedError


def test_a_search_that_opens_more_lists_than_a_page_may_read_still_finds_all(
    on_moto: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, count = [f"{letter}x" for letter in "abcdefghijklmnop"], 4
    rows: list[records.Row] = []
    fields = {"framework": "other", "model_type": "other", "description": " ".join(words)}
    for number in range(count):
        created = records.time_text(1_700_000_000 + number)
        key = search.posting_sk(created, "m", f"v{number}")
        for word in words:
            rows.append(PostingRow(search.posting_pk("alice", f"w:{word}"), key, upload_id="0" * 32, rev=0, token="t"))
        version = VersionRow(*records.version_key("alice", "m", f"v{number}"), status="ready", user_id="alice")
        version.model_id, version.version, version.upload_id, version.prefix = "m", f"v{number}", "0" * 32, "p/"
        version.created = version.updated = created
        version.fields, version.files = fields, []
        rows.append(version)
    records.save_all(rows)
    monkeypatch.setattr(search, "MAX_POSTINGS", 10)  # and 16 lists to open
    found: list[str] = []
    cursor = None
    for _ in range(2 * count):
        page, cursor = versions.list_models(
            principal=ANYBODY,
            user_id="alice",
            filters=versions.Filters(),
            paging=versions.Paging(limit=4, cursor=cursor),
            query=" ".join(words),
        )
        found += [version.version for version in page]
        if cursor is None:
            break
    assert found == ["v3", "v2", "v1", "v0"]
    assert cursor is None


@pytest.mark.parametrize("conflicts", [1, 100])
def test_an_event_that_meets_a_transaction_on_its_upload_takes_no_bytes_away(
    on_moto: None, monkeypatch: pytest.MonkeyPatch, conflicts: int
) -> None:
    upload = start({"a": b"1", "b": b"2"})
    arrive(upload, {"a": b"1"})
    update, refused = UploadRow.update, []

    def conflict(row: UploadRow, actions: Any = (), **named: Any) -> Any:
        if len(refused) < conflicts:
            refused.append(row.pk)
            raise UpdateError("conflict", cause=_conflict())
        return update(row, actions=actions, **named)

    key = naming.inbox_key("alice", upload.upload_id, 0)
    event = {"Records": [{"s3": {"bucket": {"name": "modelkeep"}, "object": {"key": key}}}]}
    with monkeypatch.context() as patch:
        patch.setattr(UploadRow, "update", conflict)
        with suppress(UnavailableError):  # then the event comes again
            receiving.receive(event, Deadline(None))
    assert refused
    arrive(upload, {"b": b"2"}, first=1)
    work(upload)
    assert reading.get_version("alice", "m", "v1").file_count == 2


def _conflict() -> ClientError:
    return ClientError({"Error": {"Code": "TransactionConflictException", "Message": "ongoing"}}, "UpdateItem")
