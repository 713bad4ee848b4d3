"""Push through everything that can go wrong on the way: what arrives in the end, and what had to be sent for it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelkeep import Client, ModelkeepError, Progress
from modelkeep.config import Config, Home, write_private
from modelkeep.errors import (
    ConflictError,
    IntegrityError,
    InvalidError,
    LocalFileError,
    UnavailableError,
    UnreachableError,
    UploadFailedError,
    UsageError,
)
from modelkeep.pushing import hashing, scanning, sending
from modelkeep.store import ExpiredError

from tests.modelkeep.push_registry import (
    PART,
    FakeRegistry,
    answers,
    breaks_off,
    damages,
    says_nothing,
    serving,
)

EXPIRED = answers(403, "<Error><Code>AccessDenied</Code></Error>")
BUSY = answers(503, {"detail": "busy", "code": "unavailable"})


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with serving() as registry:
        yield registry


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses and patience of seconds would only make the tests slow."""
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    monkeypatch.setattr(sending, "_PAUSE", 0.0)
    for module in ("sending", "uploading", "beginning"):
        monkeypatch.setattr(f"modelkeep.pushing.{module}.TRANSFER_PATIENCE", 20.0)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", tmp_path / "home/state", tmp_path / "home/cache")


@pytest.fixture
def client(registry: FakeRegistry, home: Home) -> Client:
    return Client(registry.url, config=Config(home))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "model")


def make_folder(folder: Path) -> Path:
    """Two small files, an empty one and one of four parts."""
    (folder / "weights").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "weights/größe 模型.bin").write_bytes(random.Random(1).randbytes(1000))
    (folder / "empty").touch()
    (folder / "large.bin").write_bytes(random.Random(2).randbytes(3 * PART + 5))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def journal_of(home: Home) -> list[Path]:
    return sorted((home.state / "uploads").glob("*.json"))


def size(folder: Path) -> int:
    return sum(map(len, content(folder).values()))


def test_a_folder_arrives_whole_each_byte_once_and_nothing_is_left_to_remember(
    client: Client, registry: FakeRegistry, folder: Path, home: Home
) -> None:
    told: list[Progress] = []
    seen = []
    version = client.push(folder, "alice/m", on_progress=told.append, on_upload=lambda upload: seen.append(upload))
    assert str(version) == "alice/m:v1"
    assert registry.files_of("m", "v1") == content(folder)
    assert registry.bytes_put == size(folder)
    assert [upload.version for upload in seen] == ["v1"]
    for phase in ("hash", "send", "process"):
        last = [each for each in told if each.phase == phase][-1]
        assert (last.done, last.total, last.skipped) == (size(folder), size(folder), 0)
    assert not journal_of(home)


def test_all_digests_are_announced_and_nothing_is_asked_for_file_by_file(
    client: Client, registry: FakeRegistry, tmp_path: Path
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(300):
        (many / f"{number}.txt").write_text(str(number))
    client.push(many, "alice/m")
    assert all(len(file["sha256"]) == 64 for file in registry.uploads[f"{0:032x}"].files)
    assert len([call for call in registry.calls if call != "put"]) < 12, registry.calls


def test_what_the_registry_has_is_not_sent_again(client: Client, registry: FakeRegistry, folder: Path) -> None:
    client.push(folder, "alice/m")
    registry.puts.clear()
    registry.calls.clear()
    told: list[Progress] = []
    assert client.push(folder, "alice/m", on_progress=told.append).version == "v2"
    assert registry.puts == []
    assert [each for each in told if each.phase == "send"][-1].skipped == size(folder)
    assert registry.calls == ["begin", "complete", "get"]


def test_a_version_that_has_just_these_files_is_up_to_date(
    client: Client, registry: FakeRegistry, folder: Path, home: Home
) -> None:
    said = {"tags": ["a", "b"], "test_accuracy": 1.0, "custom_metadata": {"epochs": 3}}
    made = client.push(folder, "alice/m:v1", metadata=said, primary="large.bin")
    registry.puts.clear()
    registry.calls.clear()
    for again in ({}, {"tags": [" b ", "a,A"], "test_accuracy": 1}, {**said, "primary_file_path": "large.bin"}):
        seen: list[Any] = []
        assert client.push(folder, "alice/m:v1", metadata=again, on_upload=seen.append) == made
        assert seen == []
    assert registry.calls == ["get"] * 3
    registry.inline = 3
    assert client.push(folder, "alice/m:v1") == client.get("alice/m:v1")
    assert registry.calls == ["get"] * 4 + ["files", "get"]
    assert registry.puts == registry.updates == []
    assert len(registry.uploads) == 1
    assert not list((home.state / "uploads").glob("*.json"))


@pytest.mark.parametrize(
    "again",
    [
        {"name": "Another"},
        {"tags": ["a"]},
        {"tags": ["A", "b"]},
        {"test_accuracy": 0.5},
        {"custom_metadata": {"epochs": True}},
        {"custom_metadata": {}},
        {"primary_file_path": "config.json"},
        {"colour": "red"},
    ],
)
def test_a_version_of_which_something_else_is_said_is_for_update(
    client: Client, registry: FakeRegistry, folder: Path, again: dict[str, Any]
) -> None:
    said = {"tags": ["a", "b"], "test_accuracy": 1.0, "custom_metadata": {"epochs": 1}}
    client.push(folder, "alice/m:v1", metadata=said, primary="large.bin")
    with pytest.raises(ConflictError) as told:
        client.push(folder, "alice/m:v1", metadata=again)
    assert told.value.code == "version_exists"
    assert f"another {next(iter(again))}: `modelkeep update alice/m:v1`" in (told.value.hint or "")
    assert len(registry.uploads) == 1
    assert registry.updates == []


@pytest.mark.parametrize("change", ["more", "less", "bytes", "name"])
def test_a_version_that_exists_with_other_files_is_left_alone(
    client: Client, registry: FakeRegistry, folder: Path, home: Home, change: str
) -> None:
    client.push(folder, "alice/m:v1")
    before = registry.files_of("m", "v1")
    if change == "more":
        (folder / "more").write_text("more")
    elif change == "less":
        (folder / "empty").unlink()
    elif change == "bytes":
        (folder / "config.json").write_text("[]")
    else:
        (folder / "config.json").rename(folder / "konfig.json")
    told: list[Progress] = []
    with pytest.raises(ConflictError) as other:
        client.push(folder, "alice/m:v1", restart=True, on_progress=told.append)
    assert other.value.code == "version_exists"
    assert "other files" in (other.value.hint or "")
    assert (told == []) == (change != "bytes")  # what paths and sizes tell is told before anything is read
    assert registry.files_of("m", "v1") == before
    assert len(registry.uploads) == 1
    assert not journal_of(home)


def test_a_version_that_another_push_makes_meanwhile_is_compared_too(
    client: Client, registry: FakeRegistry, folder: Path, home: Home
) -> None:
    client.push(folder, "alice/m:v1")
    absent = answers(404, {"detail": "no such version", "code": "version_not_found"})
    registry.fault("get", absent)  # as if it had been asked for a moment too early
    assert str(client.push(folder, "alice/m:v1")) == "alice/m:v1"
    assert not journal_of(home)
    (folder / "more").write_text("more")
    registry.fault("get", absent)
    with pytest.raises(ConflictError) as other:
        client.push(folder, "alice/m:v1")
    assert "other files" in (other.value.hint or "")
    assert len(registry.uploads) == 1
    assert not journal_of(home)


def test_a_version_that_goes_while_files_are_read_is_made_anew(
    client: Client, registry: FakeRegistry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.push(folder, "alice/m:v1")
    monkeypatch.setattr("modelkeep.pushing._FRESH", -1.0)
    registry.fault("get", lambda handler: False, lambda handler: bool(registry.versions.clear()))
    assert str(client.push(folder, "alice/m:v1")) == "alice/m:v1"
    assert len(registry.uploads) == 2
    assert registry.files_of("m", "v1") == content(folder)


def test_a_zip_is_never_compared(client: Client, registry: FakeRegistry, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", "a")
    client.push(tmp_path / "a.zip", "alice/m:v1")
    with pytest.raises(ConflictError) as told:
        client.push(tmp_path / "a.zip", "alice/m:v1")
    assert told.value.code == "version_exists"
    assert "Leave the version out" in (told.value.hint or "")


class Killed(BaseException):
    """As if the process ended here."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("ref", ["alice/m", "alice/m:v1"])
def test_killed_at_any_step_the_same_command_makes_one_version(
    tmp_path: Path, folder: Path, ref: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step: a request, a PUT, or something written to the disk."""
    monkeypatch.setattr(sending, "THREADS", 1)  # else other threads go on for a moment when one is killed
    for step in range(100):
        root = tmp_path / str(step)
        home = Home(root, root / "state", root / "cache")
        with serving() as registry:
            client = Client(registry.url, config=Config(home))
            try:
                with monkeypatch.context() as patched:
                    left = die_at(step, client, patched, after=after)
                    client.push(folder, ref)
                if left[0] >= 0:
                    break  # it has fewer steps
                continue  # what died was a thread that nobody needed any more
            except Killed:
                pass
            if registry.versions and not journal_of(home):
                continue  # it had heard that all is done
            sent = registry.bytes_put
            assert Client(registry.url, config=Config(home)).push(folder, ref).version == "v1"
            assert list(registry.versions) == [("m", "v1")]
            assert len(registry.uploads) == 1
            assert registry.files_of("m", "v1") == content(folder)
            assert sent <= registry.bytes_put <= size(folder) + 1005, step  # small files, which had no event yet
            assert not journal_of(home)
    assert step > 10


def die_at(step: int, client: Client, patched: pytest.MonkeyPatch, *, after: bool) -> list[int]:
    """Have a push end at its step of that number, before or after what the step does; how many are left till then."""
    left = [step]

    def dying(do: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == -1 and not after:
                raise Killed
            made = do(*arguments, **options)
            if left[0] == -1:
                raise Killed
            return made

        return call

    patched.setattr(client.api, "call", dying(client.api.call))
    patched.setattr(client.store, "put", dying(client.store.put))
    patched.setattr("modelkeep.pushing.journal.write_private", dying(write_private))
    patched.setattr("modelkeep.pushing.journal.Path.unlink", dying(Path.unlink))
    return left


@pytest.mark.parametrize(
    "faults",
    [
        {"put": [BUSY, EXPIRED, breaks_off(700), damages, says_nothing, damages, EXPIRED, breaks_off(0)]},
        {"parts": [BUSY, says_nothing]},
        {"begin": [says_nothing]},
        {"begin": [BUSY, breaks_off(10)]},
        {"look": [BUSY, says_nothing, BUSY]},
        {"complete": [BUSY, says_nothing]},
        {"complete": [says_nothing], "get": [says_nothing, BUSY]},
    ],
    ids=["put", "parts", "begin lost", "begin refused", "look", "complete", "end"],
)
def test_what_goes_wrong_on_the_way_is_mended_on_the_way(
    client: Client, registry: FakeRegistry, folder: Path, home: Home, faults: dict[str, Any]
) -> None:
    for kind, each in faults.items():
        registry.fault(kind, *each)
    assert client.push(folder, "alice/m").version == "v1"
    assert list(registry.versions) == [("m", "v1")]
    assert registry.files_of("m", "v1") == content(folder)
    assert not any(registry.faults.values())
    assert not journal_of(home)


def test_the_store_says_when_to_come_back(
    client: Client, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("a")
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    monkeypatch.setattr("modelkeep.pushing.uploading.TRANSFER_PATIENCE", 30.0)
    registry.fault("complete", answers(503, {"detail": "busy"}, Retry_After="7"))
    client.push(tmp_path / "a", "alice/m")
    assert max(slept) >= 7


def test_a_url_that_is_refused_again_and_again_ends_with_the_stores_words(
    client: Client, registry: FakeRegistry, folder: Path, home: Home
) -> None:
    registry.fault("put", *[EXPIRED] * 100)
    with pytest.raises(ExpiredError) as refused:
        client.push(folder, "alice/m")
    assert "403 AccessDenied" in refused.value.detail
    assert "doctor" in (refused.value.hint or "")
    assert "Signature" not in str(refused.value.detail)
    assert journal_of(home)
    registry.faults.clear()
    assert client.push(folder, "alice/m").version == "v1"
    assert registry.files_of("m", "v1") == content(folder)


def test_bytes_that_are_damaged_each_time_are_given_up(client: Client, registry: FakeRegistry, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a" * 100)
    registry.fault("put", *[damages] * 100)
    with pytest.raises(IntegrityError) as refused:
        client.push(tmp_path / "a", "alice/m")
    assert refused.value.code == "damaged_on_the_way"
    assert len(registry.puts) == 5
    assert not registry.versions


def test_only_the_parts_that_are_missing_are_sent_after_a_break(
    client: Client, registry: FakeRegistry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "THREADS", 1)
    put = client.store.put
    counted = []

    def dying(*arguments: Any) -> None:
        counted.append(1)
        if len(counted) > 5:  # three small files, two parts
            raise Killed
        put(*arguments)

    monkeypatch.setattr(client.store, "put", dying)
    with pytest.raises(Killed):
        client.push(folder, "alice/m")
    [upload] = registry.uploads.values()
    assert sorted(number for _, number in upload.parts) == [1, 2]
    registry.puts.clear()
    monkeypatch.setattr(client.store, "put", put)
    told: list[Progress] = []
    client.push(folder, "alice/m", on_progress=told.append)
    assert sorted(number for path, number, _ in registry.puts if path == "large.bin") == [3, 4]
    last = [each for each in told if each.phase == "send"][-1]
    assert (last.done, last.skipped) == (size(folder), 2 * PART)
    assert registry.files_of("m", "v1") == content(folder)


def spoils(registry: FakeRegistry) -> Any:
    """Before it is completed, bytes of the large file change in the store."""

    def fault(handler: Any) -> bool:
        for upload in registry.uploads.values():
            upload.parts["large.bin", 2] = b"x" * PART
        return False

    return fault


def test_a_file_that_the_registry_refuses_is_sent_again(client: Client, registry: FakeRegistry, folder: Path) -> None:
    registry.fault("complete", spoils(registry), spoils(registry))
    client.push(folder, "alice/m")
    assert registry.files_of("m", "v1") == content(folder)
    assert len([each for each in registry.puts if each[0] == "large.bin"]) == 3 * 4
    assert len([each for each in registry.puts if each[0] != "large.bin"]) == 3


def test_a_file_that_is_refused_each_time_is_given_up(client: Client, registry: FakeRegistry, folder: Path) -> None:
    registry.fault("complete", *[spoils(registry)] * 100)
    with pytest.raises(IntegrityError) as refused:
        client.push(folder, "alice/m")
    assert "large.bin" in refused.value.detail
    assert not registry.versions
    assert len([each for each in registry.puts if each[0] == "large.bin"]) == 4 * 4


# -- content that is not what it was -----------------------------------------------------------------------------------


def stop_at(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch, ref: str = "alice/m", **options: Any
) -> None:
    """Push as far as the first byte."""
    with monkeypatch.context() as patched:
        patched.setattr(client.store, "put", lambda *arguments: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            client.push(folder, ref, **options)


def test_changed_content_is_told_and_restart_begins_anew(
    client: Client, registry: FakeRegistry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(client, folder, monkeypatch)
    (folder / "config.json").write_text('{"changed": true}')
    with pytest.raises(ConflictError) as told:
        client.push(folder, "alice/m")
    assert told.value.code == "content_changed"
    assert "--restart" in (told.value.hint or "")
    assert [upload.status for upload in registry.uploads.values()] == ["uploading"]
    assert client.push(folder, "alice/m", restart=True).version == "v2"
    assert [upload.status for upload in registry.uploads.values()] == ["aborted", "ready"]
    assert registry.files_of("m", "v2") == content(folder)


@pytest.mark.parametrize("status", ["failed", "aborted"])
def test_an_upload_that_has_ended_is_begun_anew(
    client: Client, registry: FakeRegistry, folder: Path, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(client, folder, monkeypatch)
    next(iter(registry.uploads.values())).status = status
    assert client.push(folder, "alice/m").version == "v2"


def test_an_upload_that_fails_says_why_and_is_forgotten(
    client: Client, registry: FakeRegistry, tmp_path: Path, home: Home
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", "a")

    def fails(handler: Any) -> bool:
        [upload] = registry.uploads.values()
        upload.status, upload.code = "failed", "archive_bomb"
        return False

    registry.fault("complete", fails)
    with pytest.raises(UploadFailedError) as failed:
        client.push(tmp_path / "a.zip", "alice/m")
    assert failed.value.code == "archive_bomb"
    assert not journal_of(home)


def test_without_its_journal_a_named_version_is_gone_on_with(
    client: Client, registry: FakeRegistry, folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(client, folder, monkeypatch, "alice/m:v1")
    for path in journal_of(home):
        path.unlink()
    assert client.push(folder, "alice/m:v1", metadata={"description": "late"}).version == "v1"
    assert len(registry.uploads) == 1
    assert registry.updates == [{"description": "late"}]


def test_without_its_journal_other_content_is_refused_or_restarted(
    client: Client, registry: FakeRegistry, folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(client, folder, monkeypatch, "alice/m:v1")
    for path in journal_of(home):
        path.unlink()
    (folder / "config.json").write_text("[]")
    with pytest.raises(ConflictError) as told:
        client.push(folder, "alice/m:v1")
    assert "--restart" in (told.value.hint or "")
    assert told.value.extra["upload_id"] in registry.uploads
    assert [upload.status for upload in registry.uploads.values()] == ["uploading"]
    assert client.push(folder, "alice/m:v1", restart=True).version == "v1"
    assert registry.files_of("m", "v1") == content(folder)


def test_metadata_that_changed_meanwhile_is_set_in_the_end(
    client: Client, registry: FakeRegistry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(client, folder, monkeypatch, metadata={"name": "one", "framework": "onnx"})
    client.push(folder, "alice/m", metadata={"name": "two", "framework": "onnx"})
    assert len(registry.uploads) == 1
    assert registry.updates == [{"name": "two"}]


def test_a_push_that_was_never_answered_is_found_by_its_key_though_other_things_are_said_now(
    client: Client, registry: FakeRegistry, folder: Path
) -> None:
    registry.fault("begin", *[says_nothing] * 1000)
    with pytest.raises(UnavailableError):
        Client(registry.url, config=client.config, patience=0.0).push(folder, "alice/m", metadata={"name": "one"})
    registry.faults.clear()
    assert client.push(folder, "alice/m", metadata={"name": "two"}).version == "v1"
    assert len(registry.uploads) == 1
    assert registry.updates == [{"name": "two"}]


def test_what_was_refused_once_does_not_stand_in_the_way(client: Client, registry: FakeRegistry, folder: Path) -> None:
    refuses = answers(400, {"detail": "unknown fields: colour", "code": "unknown_field"})
    registry.fault("begin", says_nothing, refuses)  # not even where a lost answer was the refusal
    with pytest.raises(InvalidError):
        client.push(folder, "alice/m", metadata={"colour": "red"})
    assert client.push(folder, "alice/n", metadata={"name": "one"}).version == "v1"


def test_resume_takes_just_the_same_content(
    client: Client, registry: FakeRegistry, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(client, folder, monkeypatch)
    [upload_id] = registry.uploads
    elsewhere = Client(registry.url, config=Config(Home(tmp_path / "b", tmp_path / "b/s", tmp_path / "b/c")))
    other = make_folder(tmp_path / "other")
    for spoil in ("config.json", "new file"):
        before = (other / spoil).read_bytes() if (other / spoil).exists() else None
        (other / spoil).write_text("[]")
        with pytest.raises(UsageError) as refused:
            elsewhere.resume(upload_id, other)
        assert refused.value.code == "other_content"
        (other / spoil).write_bytes(before) if before is not None else (other / spoil).unlink()
    (other / "empty").unlink()
    with pytest.raises(UsageError):
        elsewhere.resume(upload_id, other)
    assert registry.puts == []
    (other / "empty").touch()
    assert elsewhere.resume(upload_id, other).version == "v1"
    assert registry.files_of("m", "v1") == content(folder)


def test_resume_leaves_out_and_follows_what_the_push_did(
    client: Client, registry: FakeRegistry, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "train.log").write_text("...")
    (tmp_path / "blob").write_text("blob")
    (folder / "link").symlink_to(tmp_path / "blob")
    stop_at(client, folder, monkeypatch, ignore=["*.log"], follow_links=True)
    [upload_id] = registry.uploads
    with pytest.raises(UsageError) as refused:
        client.resume(upload_id, folder, follow_links=True)
    assert refused.value.code == "other_content"
    assert client.resume(upload_id, folder, ignore=["*.log"], follow_links=True).version == "v1"
    assert registry.files_of("m", "v1")["link"] == b"blob"
    assert "train.log" not in registry.files_of("m", "v1")


def test_an_uploads_id_is_no_path(client: Client, registry: FakeRegistry, folder: Path) -> None:
    for odd in ("../alice?x=1", "a/complete", ""):
        with pytest.raises(ModelkeepError) as refused:
            client.resume(odd, folder)
        assert refused.value.code in ("upload_not_found", "bad_upload_id")
    assert set(registry.calls) <= {"look"}


def test_a_file_that_changes_while_it_is_sent_stops_the_push(
    client: Client, registry: FakeRegistry, folder: Path
) -> None:
    def changes(handler: Any) -> bool:
        with (folder / "large.bin").open("r+b") as file:
            file.write(b"other")
        os.utime(folder / "large.bin", ns=(1, 1))
        return False

    registry.fault("parts", changes)
    with pytest.raises(LocalFileError) as told:
        client.push(folder, "alice/m")
    assert told.value.code == "file_changed"
    assert "large.bin" in told.value.detail
    assert not registry.versions


def test_a_digest_that_is_out_of_date_is_found_out_and_read_anew(
    client: Client, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other bytes under the same size and times: a restored backup, a failing disk."""
    monkeypatch.setattr(hashing, "_RACY_NS", -(10**12))
    file = tmp_path / "a"
    file.write_bytes(b"one")
    client.push(file, "alice/other")
    stamp = scanning.Stamp.of(file.stat())
    file.write_bytes(b"two")
    monkeypatch.setattr(scanning.Stamp, "of", classmethod(lambda cls, found: stamp))
    registry.versions.clear()
    with pytest.raises(LocalFileError):
        client.push(file, "alice/m:v1")
    assert not registry.versions
    assert client.push(file, "alice/m:v1", restart=True).version == "v1"
    assert registry.files_of("m", "v1") == {"a": b"two"}


# -- side by side ------------------------------------------------------------------------------------------------------


def test_a_second_push_of_the_same_is_told_of_the_first(client: Client, registry: FakeRegistry, folder: Path) -> None:
    told = []

    def also(upload: Any) -> None:
        with pytest.raises(ConflictError) as refused:
            client.push(folder, "alice/m")
        told.append(refused.value.code)

    client.push(folder, "alice/m", on_upload=also)
    assert told == ["push_running"]
    assert len(registry.uploads) == 1


def test_ctrl_c_stops_all_threads_and_the_push_goes_on_later(
    client: Client, registry: FakeRegistry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(progress: Progress) -> None:
        if progress.phase == "send" and progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.push(folder, "alice/m", on_progress=pressed)
    for thread in threading.enumerate():
        if thread.name.startswith("modelkeep-"):
            thread.join(120)
            assert not thread.is_alive()
    assert client.push(folder, "alice/m").version == "v1"
    assert registry.files_of("m", "v1") == content(folder)


def test_ctrl_c_ends_a_process_whose_connections_hang(registry: FakeRegistry, folder: Path, tmp_path: Path) -> None:
    arrived, release = threading.Event(), threading.Event()

    def hangs(handler: Any) -> bool:
        arrived.set()
        release.wait(600)
        handler.reset()
        return True

    registry.fault("put", *[hangs] * 100)
    script = "import sys; from modelkeep import Client; Client().push(sys.argv[1], 'alice/m')"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "MODELKEEP_URL": registry.url,
            "MODELKEEP_HOME": str(tmp_path / "home"),
        },
        stderr=subprocess.PIPE,
    )
    try:
        assert arrived.wait(120)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=90)  # a PUT may hang for 120 s
    finally:
        process.kill()
        release.set()
    assert process.returncode in (-signal.SIGINT, 130)
    assert b"KeyboardInterrupt" in said
    assert b"Signature" not in said


def test_nobody_answers(home: Home, folder: Path) -> None:
    with pytest.raises(UnreachableError):
        Client("http://127.0.0.1:9", config=Config(home), patience=0.0).push(folder, "alice/m")


def test_memory_does_not_grow_with_the_file(
    client: Client, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read and not yet handed on, counted in the client."""
    (tmp_path / "large").write_bytes(random.Random(3).randbytes(40 * PART))
    monkeypatch.setattr(hashing, "CHUNK", 4096)
    lock, now, most = threading.Lock(), [0], [0]
    put = client.store.put

    def counting(put_to: Any, chunks: Iterator[bytes], length: int) -> None:
        def counted() -> Iterator[bytes]:
            for chunk in chunks:
                with lock:
                    now[0] += len(chunk)
                    most[0] = max(most[0], now[0])
                yield chunk
                with lock:
                    now[0] -= len(chunk)

        put(put_to, counted(), length)

    monkeypatch.setattr(client.store, "put", counting)
    client.push(tmp_path / "large", "alice/m")
    assert registry.bytes_put == 40 * PART
    assert most[0] <= sending.THREADS * 4096


# -- many files --------------------------------------------------------------------------------------------------------


def test_many_files_are_announced_before_a_byte_is_sent_and_one_without_its_digest(
    client: Client, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no event can publish the first of them before the rest is known, even where all bytes are there."""
    monkeypatch.setattr("modelkeep.pushing.contents._MAX_FILES", 10)
    many = tmp_path / "many"
    many.mkdir()
    for number in range(25):
        (many / f"{number}.txt").write_text("x" * number)
    registry.fault("add", says_nothing)
    client.push(many, "alice/m")
    assert registry.calls.index("put") > max(at for at, call in enumerate(registry.calls) if call == "add")
    assert registry.files_of("m", "v1") == content(many)
    [upload] = registry.uploads.values()
    assert [file["path"] for file in upload.files if "sha256" not in file] == ["0.txt"]
    registry.puts.clear()
    client.push(many, "alice/m")
    assert registry.puts == [("0.txt", 0, 0)]


def test_the_file_without_its_digest_is_looked_at_in_the_end(
    client: Client, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelkeep.pushing.contents._MAX_FILES", 10)
    monkeypatch.setattr(sending, "THREADS", 1)
    many = tmp_path / "many"
    many.mkdir()
    for number in range(12):
        (many / f"{number}.txt").write_text("x" * (number + 1))
    registry.fault("put", damages)
    with pytest.raises(IntegrityError) as told:
        client.push(many, "alice/m")
    assert "'0.txt'" in told.value.detail
    assert "modelkeep rm alice/m:v1" in (told.value.hint or "")


def test_a_push_that_died_between_two_announcements_goes_on(
    client: Client, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelkeep.pushing.contents._MAX_FILES", 10)
    many = tmp_path / "many"
    many.mkdir()
    for number in range(25):
        (many / f"{number}.txt").write_text("x" * number)
    registry.fault("add", answers(400, {"detail": "no", "code": "no"}))
    with pytest.raises(ModelkeepError):
        client.push(many, "alice/m")
    client.push(many, "alice/m")
    assert len(registry.uploads) == 1
    assert registry.files_of("m", "v1") == content(many)


# -- what is said of it ------------------------------------------------------------------------------------------------


def test_options_win_over_the_file_and_the_file_over_the_folders(
    client: Client, registry: FakeRegistry, folder: Path, tmp_path: Path
) -> None:
    (folder / "modelkeep.yaml").write_text("name: folder\ndescription: folder\nframework: onnx\ntags: [a]\n")
    (tmp_path / "m.yaml").write_text("name: file\ndescription: file\ncustom_metadata: {trained: 2024-05-01}\n")
    client.push(
        folder,
        "alice/m",
        metadata={"name": "option", "tags": None},
        metadata_file=tmp_path / "m.yaml",
        primary="large.bin",
    )
    [upload] = registry.uploads.values()
    said = {name: value for name, value in upload.body.items() if name != "files"}
    assert said == {
        "user_id": "alice",
        "model_id": "m",
        "name": "option",
        "description": "file",
        "framework": "onnx",
        "tags": ["a"],
        "custom_metadata": {"trained": "2024-05-01"},
        "primary_file_path": "large.bin",
    }
    assert "modelkeep.yaml" not in registry.files_of("m", "v1")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("- a\n- b\n", "bad_metadata"),
        ("a: [", "bad_metadata"),
        ("version: v3\n", "bad_metadata"),
        ("test_accuracy: .nan\n", "bad_metadata"),
        ("name: !!python/object/apply:os.system [exit]\n", "bad_metadata"),
        ("primary_file_path: nothing.bin\n", "bad_primary"),
        ("custom_metadata: {trained: 2024-02-30}\n", "bad_metadata"),
        (f"num_parameters: {'9' * 5000}\n", "bad_metadata"),
        (f"custom_metadata: {'[' * 5000}\n", "bad_metadata"),
        ("custom_metadata: &a {a: *a}\n", "bad_metadata"),
        (
            f"a0: &a0 [{'x,' * 9}]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1},' * 9}]\n" for i in range(1, 30)),
            "bad_metadata",
        ),
    ],
)
def test_metadata_that_is_none_is_refused_before_anything_is_sent(
    client: Client, registry: FakeRegistry, folder: Path, text: str, code: str
) -> None:
    (folder / "modelkeep.yaml").write_text(text)
    with pytest.raises(UsageError) as refused:
        client.push(folder, "alice/m")
    assert refused.value.code == code
    assert registry.calls == []


def test_a_zip_goes_as_an_archive_or_as_the_file_that_it_is(
    client: Client, registry: FakeRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b.bin", random.Random(4).randbytes(2 * PART))
    (tmp_path / "fake.zip").write_text("no ZIP at all")
    client.push(path, "alice/a", primary="a/b.bin")
    client.push(path, "alice/b", unpack=False)
    client.push(tmp_path / "fake.zip", "alice/c")
    assert registry.files_of("a", "v1") == {None: path.read_bytes()}
    assert registry.files_of("b", "v1") == {"model.zip": path.read_bytes()}
    assert registry.files_of("c", "v1") == {"fake.zip": b"no ZIP at all"}
    body = registry.versions["a", "v1"].body
    assert body["archive"]["preserve_structure"] is True
    assert body["primary_file_path"] == "a/b.bin"


def test_nothing_secret_is_on_disk(client: Client, home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(client, folder, monkeypatch)
    [entry] = journal_of(home)
    text = entry.read_text()
    assert "Signature" not in text
    assert json.loads(text)["to"] == "alice/m"
    assert entry.stat().st_mode & 0o077 == 0
