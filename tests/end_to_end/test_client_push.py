"""`push` as people and jobs use it, against the real registry: what arrives, what is sent for it, and what is told."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import modelkeep
import pytest
from modelkeep.errors import ConflictError, UploadFailedError, UsageError

from tests.end_to_end import client_under_test
from tests.end_to_end.client import PART, eventually, write_pattern
from tests.end_to_end.conftest import Keys
from tests.end_to_end.running import Server
from tests.end_to_end.targets import Target

pytestmark = pytest.mark.needs("process")  # any target: test_client_everywhere.py

LARGE = 2 * PART + PART // 2  # 40 MiB: three parts
SCRIPTS = [
    "weights",
    "größe",
    "вес",
    "模型",
    "重み",
    "모델",
    "नमूना",
    "نموذج",
    "μοντέλο",
    "emoji 🤖",
    "x y (1) [2] {3} %20 #",
]
# Pushes two parts in a process of its own, says when the store has taken each, and waits to be killed.
PUSHER = """
import sys, threading
from modelkeep import Client
client = Client()
put = client.store.put
two = threading.Semaphore(2)
def telling(*arguments):
    two.acquire()
    put(*arguments)
    print("stored", flush=True)
client.store.put = telling
client.push(sys.argv[1], sys.argv[2])
"""


@pytest.fixture
def bytes_sent(sdk: modelkeep.Client, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length of each PUT that the client makes."""
    sent: list[int] = []
    put = sdk.store.put

    def counting(to: Any, chunks: Iterator[bytes], length: int) -> None:
        sent.append(length)
        put(to, chunks, length)

    monkeypatch.setattr(sdk.store, "put", counting)
    return sent


def digests(folder: Path) -> dict[str, str]:
    """Of all files below, by their paths."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def pushed(client: modelkeep.Client, ref: str) -> dict[str, str]:
    """The same of a version."""
    return {file.path: file.sha256 for file in client.files(ref)}


def another(server: Server | Target, user_id: str, home: Path) -> modelkeep.Client:
    """The same user at another machine."""
    return client_under_test.sdk(server, user_id, home)


def settle(keys: Keys, user_id: str) -> None:
    """A version can be read a moment before its bytes are remembered and the inbox is empty, in this order."""
    prefix = f"modelkeep/uploads/{user_id}/"
    assert eventually(lambda: keys(prefix), lambda found: found == []) == []


def test_a_file_becomes_a_version_and_the_next_push_the_next(
    sdk: modelkeep.Client, user_id: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    version = sdk.push(path, f"{user_id}/m", metadata={"name": "One", "tags": ["a"]})
    assert (str(version), version.name, version.framework) == (f"{user_id}/m:v1", "One", "onnx")
    assert pushed(sdk, f"{user_id}/m:v1") == {"model.onnx": hashlib.sha256(b"a model").hexdigest()}
    path.write_bytes(b"a better model")
    assert sdk.push(path, f"{user_id}/m").version == "v2"
    assert sdk.uploads(user_id) == []


def test_a_folder_of_a_thousand_files_with_names_in_many_scripts(
    sdk: modelkeep.Client, user_id: str, tmp_path: Path, bytes_sent: list[int]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for number in range(1000):
        below = folder / SCRIPTS[number % len(SCRIPTS)]
        below.mkdir(exist_ok=True)
        (below / f"{SCRIPTS[number % 7]}-{number}.bin").write_bytes(random.Random(number).randbytes(number))
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("not a part of it")
    (folder / "notes.log").write_text("ignored")
    (folder / ".modelkeepignore").write_text("*.log\n")
    version = sdk.push(folder, f"{user_id}/m")
    expected = {path: digest for path, digest in digests(folder).items() if not path.startswith((".", "notes"))}
    assert version.file_count == len(expected) == 1000
    assert pushed(sdk, str(version)) == expected
    assert sum(bytes_sent) == sum(range(1000))


def test_a_zip_is_unpacked_or_kept(sdk: modelkeep.Client, user_id: str, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/weights.bin", b"weights")
        archive.writestr("b/weights.bin", b"others")
    version = sdk.push(path, f"{user_id}/unpacked", primary="b/weights.bin")
    assert set(pushed(sdk, str(version))) == {"a/weights.bin", "b/weights.bin"}
    assert (version.primary_file_path or "").endswith("/b/weights.bin")
    kept = sdk.push(path, f"{user_id}/kept", unpack=False)
    assert pushed(sdk, str(kept)) == {"model.zip": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_a_zip_that_the_registry_refuses_says_why_and_can_be_mended(
    sdk: modelkeep.Client, user_id: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../escape", b"")
    with pytest.raises(UploadFailedError) as refused:
        sdk.push(path, f"{user_id}/m:v1")
    assert refused.value.code == "archive_traversal"
    assert list(sdk.models(user_id)) == []
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside", b"")
    assert set(pushed(sdk, str(sdk.push(path, f"{user_id}/m:v1")))) == {"inside"}


def test_a_version_that_is_there_with_just_these_files_is_up_to_date(
    sdk: modelkeep.Client, user_id: str, tmp_path: Path, bytes_sent: list[int]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/a.pt").write_bytes(b"a" * 100)
    (tmp_path / "model/b.json").write_text("{}")
    said = {"tags": ["x", " Y"], "test_accuracy": 0.93, "custom_metadata": {"lr": 1e-5, "deep": [True, None]}}
    version = sdk.push(tmp_path / "model", f"{user_id}/m:v1", metadata=said, primary="b.json")
    bytes_sent.clear()
    again = sdk.push(tmp_path / "model", f"{user_id}/m:v1", metadata={**said, "tags": ["Y", "x"]}, primary="b.json")
    assert (str(again), again.created_at, bytes_sent) == (str(version), version.created_at, [])
    with pytest.raises(ConflictError) as told:
        sdk.push(tmp_path / "model", f"{user_id}/m:v1", primary="a.pt")
    assert f"another primary_file_path: `modelkeep update {user_id}/m:v1`" in (told.value.hint or "")
    assert sdk.uploads(user_id) == []


def test_a_snapshot_in_hugging_faces_cache(sdk: modelkeep.Client, user_id: str, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--x--y/snapshots/main"
    (tmp_path / "models--x--y/blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "models--x--y/blobs" / name[::-1]).write_text(name)
        (snapshot / name).symlink_to(f"../../blobs/{name[::-1]}")
    with pytest.raises(UsageError):
        sdk.push(snapshot, f"{user_id}/m")
    version = sdk.push(snapshot, f"{user_id}/m", follow_links=True)
    assert pushed(sdk, str(version)) == digests(snapshot)


def test_an_empty_file(sdk: modelkeep.Client, user_id: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    version = sdk.push(tmp_path / "empty", f"{user_id}/m")
    assert pushed(sdk, str(version)) == {"empty": hashlib.sha256().hexdigest()}


def test_parts_are_sent_once_and_the_same_bytes_never_again(
    sdk: modelkeep.Client, user_id: str, tmp_path: Path, bytes_sent: list[int], keys: Keys
) -> None:
    path = write_pattern(tmp_path / "large.bin", LARGE)
    version = sdk.push(path, f"{user_id}/m")
    assert pushed(sdk, str(version)) == {"large.bin": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert sorted(bytes_sent) == [LARGE - 2 * PART, PART, PART]
    bytes_sent.clear()
    settle(keys, user_id)
    again = sdk.push(path, f"{user_id}/m:other")
    assert pushed(sdk, str(again)) == pushed(sdk, str(version))
    assert bytes_sent == []


def test_a_pusher_killed_in_the_middle_is_gone_on_with_by_what_the_store_lacks(
    sdk: modelkeep.Client,
    server: Server | Target,
    user_id: str,
    tmp_path: Path,
    bytes_sent: list[int],
) -> None:
    path = write_pattern(tmp_path / "large.bin", 8 * PART)
    home = tmp_path / "home"  # the fixture's: the same machine
    process = subprocess.Popen(
        [sys.executable, "-c", PUSHER, str(path), f"{user_id}/m"],
        env=client_under_test.environment(server, user_id, home),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for _ in range(2):
            assert process.stdout.readline() == "stored\n"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    [upload] = sdk.uploads(user_id)
    [file] = sdk.upload(upload.upload_id).files
    assert len(file.stored_parts) == 2
    told: list[modelkeep.Progress] = []
    version = sdk.push(path, f"{user_id}/m", on_progress=told.append)
    assert (version.version, pushed(sdk, str(version))) == (
        "v1",
        {"large.bin": hashlib.sha256(path.read_bytes()).hexdigest()},
    )
    assert sum(bytes_sent) == 8 * PART - 2 * PART
    assert [each for each in told if each.phase == "send"][-1].skipped == 8 * PART - sum(bytes_sent)
    assert sdk.uploads(user_id) == []


def test_changed_content_says_so_and_restart_begins_anew(
    sdk: modelkeep.Client, user_id: str, tmp_path: Path, keys: Keys
) -> None:
    path = write_pattern(tmp_path / "large.bin", LARGE)

    def give_up(upload: modelkeep.Upload) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sdk.push(path, f"{user_id}/m:v1", on_upload=give_up)
    write_pattern(path, LARGE, seed=1)
    with pytest.raises(ConflictError) as told:
        sdk.push(path, f"{user_id}/m:v1")
    assert told.value.code == "content_changed"
    [upload] = sdk.uploads(user_id)
    assert upload.upload_id == told.value.extra["upload_id"]
    version = sdk.push(path, f"{user_id}/m:v1", restart=True)
    assert pushed(sdk, str(version)) == {"large.bin": hashlib.sha256(path.read_bytes()).hexdigest()}
    settle(keys, user_id)


def test_resume_from_another_machine(
    sdk: modelkeep.Client, server: Server | Target, user_id: str, tmp_path: Path
) -> None:
    path = write_pattern(tmp_path / "large.bin", LARGE)
    begun: list[modelkeep.Upload] = []

    def give_up(upload: modelkeep.Upload) -> None:
        begun.append(upload)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sdk.push(path, f"{user_id}/m", on_upload=give_up)
    with another(server, user_id, tmp_path / "there") as there:
        (tmp_path / "other").mkdir()
        other = write_pattern(tmp_path / "other/large.bin", LARGE, seed=1)
        with pytest.raises(UsageError):
            there.resume(begun[0].upload_id, other)
        assert str(there.resume(begun[0].upload_id, path)) == f"{user_id}/m:v1"
    assert str(sdk.push(path, f"{user_id}/m")) == f"{user_id}/m:v1"  # ours learns that it is done


def side_by_side(*calls: Callable[[], modelkeep.Version]) -> list[modelkeep.Version | Exception]:
    """What each comes to."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], modelkeep.Version]) -> modelkeep.Version | Exception:
        barrier.wait()
        try:
            return call()
        except modelkeep.ModelkeepError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_of_two_who_push_one_version_one_wins_and_the_other_is_told_what_to_do(
    sdk: modelkeep.Client, server: Server | Target, user_id: str, tmp_path: Path
) -> None:
    ours, theirs = (write_pattern(tmp_path / name, LARGE, seed=seed) for seed, name in enumerate(("a.bin", "b.bin")))
    with another(server, user_id, tmp_path / "there") as there:
        made = side_by_side(lambda: sdk.push(ours, f"{user_id}/m:v1"), lambda: there.push(theirs, f"{user_id}/m:v1"))
    [won] = [each for each in made if isinstance(each, modelkeep.Version)]
    [lost] = [each for each in made if isinstance(each, ConflictError)]
    assert lost.hint
    assert lost.code in ("version_exists", "version_uploading")
    path = ours if isinstance(made[0], modelkeep.Version) else theirs
    assert pushed(sdk, str(won)) == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}


def test_without_a_version_two_at_once_get_one_each(
    sdk: modelkeep.Client, server: Server | Target, user_id: str, tmp_path: Path
) -> None:
    ours, theirs = (write_pattern(tmp_path / name, 1000, seed=seed) for seed, name in enumerate(("a.bin", "b.bin")))
    with another(server, user_id, tmp_path / "there") as there:
        made = side_by_side(lambda: sdk.push(ours, f"{user_id}/m"), lambda: there.push(theirs, f"{user_id}/m"))
    versions = [each.version for each in made if isinstance(each, modelkeep.Version)]
    assert sorted(versions) == ["v1", "v2"], made
    assert list(pushed(sdk, str(made[0]))) == ["a.bin"]
    assert list(pushed(sdk, str(made[1]))) == ["b.bin"]


def test_files_that_need_several_requests_are_published_together_or_not_at_all(
    sdk: modelkeep.Client,
    user_id: str,
    tmp_path: Path,
    bytes_sent: list[int],
    monkeypatch: pytest.MonkeyPatch,
    keys: Keys,
) -> None:
    """The second time the registry has all bytes of the first request, and must not publish those alone."""
    monkeypatch.setattr("modelkeep.pushing.contents._MAX_FILES", 20)
    folder = tmp_path / "model"
    folder.mkdir()
    for number in range(90):
        (folder / f"{number}.bin").write_bytes(random.Random(number).randbytes(number + 1))
    for version in ("v1", "v2"):
        bytes_sent.clear()
        settle(keys, user_id)
        assert str(sdk.push(folder, f"{user_id}/m")) == f"{user_id}/m:{version}"
        assert pushed(sdk, f"{user_id}/m:{version}") == digests(folder)
    assert bytes_sent == [1]


def test_what_is_said_of_it_in_three_places(sdk: modelkeep.Client, user_id: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(b"a")
    (folder / "b.safetensors").write_bytes(b"bb")
    (folder / "modelkeep.yaml").write_text("name: folder\ndescription: folder\ntags: [folder]\n")
    (tmp_path / "more.yaml").write_text("name: file\ndescription: file\n")
    version = sdk.push(
        folder,
        f"{user_id}/m",
        metadata={"name": "option"},
        metadata_file=tmp_path / "more.yaml",
        primary="a.safetensors",
    )
    assert (version.name, version.description, version.tags) == ("option", "file", ["folder"])
    assert [file.path for file in version.files if file.is_primary] == ["a.safetensors"]
    assert set(pushed(sdk, str(version))) == {"a.safetensors", "b.safetensors"}


def test_what_the_registry_refuses_makes_nothing(sdk: modelkeep.Client, user_id: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    with pytest.raises(modelkeep.ModelkeepError) as refused:
        sdk.push(tmp_path / "a", f"{user_id}/m", metadata={"colour": "red"})
    assert refused.value.code == "unknown_field"
    assert "colour" in refused.value.detail
    assert sdk.uploads(user_id) == []
    assert list(sdk.models(user_id)) == []
