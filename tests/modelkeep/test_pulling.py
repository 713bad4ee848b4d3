"""Pull, against a registry whose every answer the test decides."""

from __future__ import annotations

import _thread
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import modelkeep
import pytest
from modelkeep import Progress
from modelkeep.errors import IntegrityError, LocalFileError, NotFoundError, UnavailableError
from modelkeep.pulling.gathering import Gathering

from tests.modelkeep.fake_registry import FakeRegistry, serving, sha256, tree

MIB = 1024 * 1024


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with serving() as registry:
        yield registry


@pytest.fixture
def client(registry: FakeRegistry, tmp_path: Path) -> Iterator[modelkeep.Client]:
    with registry.client(tmp_path / "home") as client:
        yield client


def some_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


SMALL = {
    "config.json": b"{}",
    "empty": b"",
    "weights/a.bin": some_bytes(70_000),
    "weights/b.json": b"[]",
    "weights/deep/c.bin": some_bytes(70_000),
    "é и.txt": b"names in several scripts",
}


@pytest.mark.parametrize("cache", [True, False])
def test_pull_has_every_file_and_leaves_nothing_else(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, cache: bool
) -> None:
    registry.versions["v1"] = {**SMALL, "large.bin": some_bytes(35 * MIB + 5)}
    told: list[Progress] = []
    pulled = client.pull("alice/bert", tmp_path / "here", cache=cache, on_progress=told.append)
    assert tree(tmp_path / "here") == registry.versions["v1"]
    assert pulled.paths == sorted(registry.versions["v1"])
    total = sum(map(len, registry.versions["v1"].values()))
    assert (pulled.bytes_total, pulled.bytes_fetched, pulled.bytes_present) == (total, total - 70_000, 70_000)
    assert registry.bytes_sent == total - 70_000  # two files are one content
    assert (told[-1].phase, told[-1].done, told[-1].total, told[-1].skipped) == ("fetch", total, total, 70_000)
    assert (pulled.version.version, pulled.directory) == ("v1", tmp_path / "here")
    marker = json.loads((tmp_path / "here/.modelkeep.json").read_text())
    assert (marker["user_id"], marker["model_id"], marker["version"]) == ("alice", "bert", "v1")


def test_pull_again_fetches_nothing_and_a_changed_version_what_differs(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    registry.versions["v1"] = {**SMALL, "gone.txt": b"only in v1", "mine.txt": b"only in v1, too"}
    client.pull("alice/bert:v1", tmp_path / "here")
    sent = registry.bytes_sent
    again = client.pull("alice/bert:v1", tmp_path / "here")
    assert (again.bytes_fetched, registry.bytes_sent) == (0, sent)
    registry.versions["v2"] = {**SMALL, "config.json": b'{"other": 1}'}
    (tmp_path / "here/mine.txt").unlink()
    (tmp_path / "here/mine.txt").write_bytes(b"now the user's")
    pulled = client.pull("alice/bert", tmp_path / "here")
    assert pulled.version.version == "v2"
    assert pulled.bytes_fetched == registry.bytes_sent - sent == len(b'{"other": 1}')
    assert tree(tmp_path / "here") == {**registry.versions["v2"], "mine.txt": b"now the user's"}


def test_pull_by_patterns(registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path) -> None:
    registry.versions["v1"] = SMALL
    client.pull("alice/bert", tmp_path / "json", files=["*.json"])
    assert sorted(tree(tmp_path / "json")) == ["config.json", "weights/b.json"]
    client.pull("alice/bert", tmp_path / "weights", files=["weights/**", "!*.json"])
    assert sorted(tree(tmp_path / "weights")) == ["weights/a.bin", "weights/deep/c.bin"]
    with pytest.raises(NotFoundError, match=r"config\.json") as error:
        client.pull("alice/bert", tmp_path / "none", files=["*.h5"])
    assert error.value.code == "no_match"
    assert not (tmp_path / "none").exists()


def test_pull_of_1200_files_asks_three_pages_and_no_call_a_file(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    registry.versions["v1"] = {f"{number % 7}/{number:05}.txt": str(number).encode() for number in range(1200)}
    client.pull("alice/bert", tmp_path / "here", cache=False)
    assert tree(tmp_path / "here") == registry.versions["v1"]
    assert len(registry.gets) == 1200
    assert [call.partition("?")[0].rpartition("/")[2] for call in registry.calls] == ["bert", "files", "files", "files"]


def test_pull_always_asks_for_the_version_that_was_the_newest_at_its_start(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    registry.versions["v1"] = SMALL
    client.pull("alice/bert", tmp_path / "here")
    assert all("version=v1" in call for call in registry.calls[1:])


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("range_", [0, 1, 2])
def test_pull_goes_on_where_it_was_killed(
    registry: FakeRegistry,
    client: modelkeep.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache: bool,
    range_: int,
) -> None:
    """Whatever range the store refuses for good, the rest is not asked for again."""
    monkeypatch.setattr("modelkeep.pulling.fetching.TRANSFER_PATIENCE", 0)
    monkeypatch.setattr("modelkeep.pulling.WORKERS", 1)
    data = some_bytes(40 * MIB + 77)
    registry.versions["v1"] = {"large.bin": data}
    # After 3.5 MiB the connection breaks, then the store is gone.
    broken: list[int] = []

    def fault(path: str, start: int, count: int) -> int | None:
        if start == range_ * 16 * MIB:
            broken.append(start)
            return -(7 * MIB // 2)
        return 503 if broken else None

    registry.fault = fault
    with pytest.raises(UnavailableError):
        client.pull("alice/bert", tmp_path / "here", cache=cache)
    assert not (tmp_path / "here/large.bin").exists()
    before = registry.bytes_sent
    assert before == range_ * 16 * MIB + 7 * MIB // 2
    registry.fault = lambda path, start, count: None
    pulled = client.pull("alice/bert", tmp_path / "here", cache=cache)
    assert (tmp_path / "here/large.bin").read_bytes() == data
    assert registry.bytes_sent - before == pulled.bytes_fetched
    assert len(data) <= registry.bytes_sent < len(data) + MIB


def test_pull_goes_on_within_a_range_when_connections_break(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    data = some_bytes(20 * MIB)
    registry.versions["v1"] = {"large.bin": data, "small.bin": data[:1000]}
    broken: set[tuple[str, int]] = set()

    def fault(path: str, start: int, count: int) -> int | None:
        first = (path, start) not in broken
        broken.add((path, start))
        return -(count // 2) if first and count > 2 * MIB else -500 if first and path == "small.bin" else None

    registry.fault = fault
    client.pull("alice/bert", tmp_path / "here")
    assert tree(tmp_path / "here") == registry.versions["v1"]
    assert registry.bytes_sent < len(data) + 6 * MIB  # what was on the way when a connection broke


@pytest.mark.parametrize("path", ["config.json", "large.bin"])
@pytest.mark.parametrize("cache", [True, False])
def test_what_arrives_damaged_once_is_fetched_once_more(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, path: str, cache: bool
) -> None:
    registry.versions["v1"] = {**SMALL, "large.bin": some_bytes(17 * MIB)}
    good = registry.versions["v1"][path]
    registry.stored[path] = bytes([good[0] ^ 1]) + good[1:]
    asked: list[int] = []

    def fault(name: str, start: int, count: int) -> int | None:
        if name == path and start == 0:
            asked.append(start)
            if len(asked) == 2:
                del registry.stored[path]
                return 503  # and once more, with the store's bytes as they should be
        return None

    registry.fault = fault
    pulled = client.pull("alice/bert", tmp_path / "here", cache=cache)
    assert tree(tmp_path / "here") == registry.versions["v1"]
    assert len(asked) == 3
    assert pulled.bytes_fetched == pulled.bytes_total - 70_000


@pytest.mark.parametrize("stored", [b"[]", b"", b"{}}"[:1], b"{}more"], ids=["flipped", "empty", "shorter", "longer"])
@pytest.mark.parametrize("cache", [True, False])
def test_what_is_damaged_in_the_store_gets_no_name_and_all_else_does(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, stored: bytes, cache: bool
) -> None:
    large = some_bytes(33 * MIB)
    registry.versions["v1"] = {**SMALL, "large.bin": large}
    bad = {"flipped": large[:-1] + b"?", "shorter": large[: 20 * MIB]}
    registry.stored["config.json"] = stored
    if stored == b"{}more":
        registry.stored["config.json"] = b"{]more"
    for name, data in bad.items():
        registry.stored["large.bin"] = data
        folder = tmp_path / f"here-{name}"
        with pytest.raises(IntegrityError, match=r"config\.json.*large\.bin") as error:
            client.pull("alice/bert", folder, cache=cache)
        assert error.value.code == "damaged"
        assert error.value.extra["files"] == ["config.json", "large.bin"]
        expected = {path: data for path, data in SMALL.items() if path != "config.json"}
        assert tree(folder) == expected
        assert not [path for path in (tmp_path / "home/cache/partial").glob("*") if path.suffix != ".lock"]


def test_dead_urls_are_asked_for_anew_a_page_at_a_time(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    registry.versions["v1"] = {f"{number:05}.txt": str(number).encode() for number in range(1100)}
    died: list[int] = []
    lock = threading.Lock()

    def fault(path: str, start: int, count: int) -> int | None:
        with lock:
            if len(died) < 2 and len(registry.gets) >= (300, 700)[len(died)]:
                died.append(len(registry.gets))
                registry.generation += 1
        return None

    registry.fault = fault
    client.pull("alice/bert", tmp_path / "here", cache=False)
    assert tree(tmp_path / "here") == registry.versions["v1"]
    assert len(died) == 2
    assert len(registry.calls) <= 1 + 3 + 2 * 3  # a page that was in use, or came to be


def test_a_store_that_takes_no_fresh_url_either_ends_the_pull(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    registry.versions["v1"] = {"config.json": b"{}"}
    registry.fault = lambda path, start, count: 403
    with pytest.raises(UnavailableError) as error:
        client.pull("alice/bert", tmp_path / "here")
    assert error.value.code == "store_refuses"
    assert "http" not in error.value.detail
    assert len(registry.calls) <= 6
    assert tree(tmp_path / "here") == {}


def test_files_of_the_users_own_are_not_replaced_unless_by_force(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    registry.versions["v1"] = SMALL
    (tmp_path / "here/weights").mkdir(parents=True)
    mine = {"config.json": b"mine", "empty": b"", "other": b"other"}
    for name, data in mine.items():
        (tmp_path / "here" / name).write_bytes(data)
    (tmp_path / "target").write_bytes(b"outside")
    (tmp_path / "here/weights/b.json").symlink_to(tmp_path / "target")
    with pytest.raises(LocalFileError) as error:
        client.pull("alice/bert", tmp_path / "here")
    assert error.value.code == "in_the_way"
    assert error.value.extra["files"] == ["config.json", "weights/b.json"]
    assert tree(tmp_path / "here") == {**mine, "weights/b.json": b"outside"}
    assert registry.gets == []
    client.pull("alice/bert", tmp_path / "here", force=True)
    assert tree(tmp_path / "here") == {**SMALL, "other": b"other"}
    assert (tmp_path / "target").read_bytes() == b"outside"


def test_a_pulled_file_that_was_changed_is_not_replaced_by_another_version(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    registry.versions["v1"] = SMALL
    client.pull("alice/bert:v1", tmp_path / "here", cache=False)
    (tmp_path / "here/config.json").write_bytes(b"[]")
    registry.versions["v2"] = {"config.json": b"other"}
    before = tree(tmp_path / "here")
    with pytest.raises(LocalFileError, match=r"config\.json"):
        client.pull("alice/bert:v2", tmp_path / "here", cache=False)
    assert tree(tmp_path / "here") == before


@pytest.mark.parametrize("cache", [True, False])
def test_what_verify_finds_damaged_is_mended_by_force(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, cache: bool
) -> None:
    """As `verify` advises; also where a disk forgot, and the file's times tell nothing."""
    registry.versions["v1"] = SMALL
    client.pull("alice/bert", tmp_path / "here", cache=cache)
    file = tmp_path / "here/config.json"
    before = file.stat()
    file.chmod(0o644)
    with file.open("r+b") as opened:
        opened.write(b"?")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert client.verify(tmp_path / "here").damaged == ["config.json"]
    client.pull("alice/bert", tmp_path / "here", cache=cache, force=True)
    assert tree(tmp_path / "here") == SMALL


@pytest.mark.parametrize("where", ["weights", "weights/deep"])
@pytest.mark.parametrize("force", [True, False])
def test_nothing_is_written_through_a_symlink(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, where: str, force: bool
) -> None:
    registry.versions["v1"] = SMALL
    (tmp_path / "outside").mkdir()
    (tmp_path / "here" / where).parent.mkdir(parents=True)
    (tmp_path / "here" / where).symlink_to(tmp_path / "outside")
    with pytest.raises(LocalFileError, match="symbolic link"):
        client.pull("alice/bert", tmp_path / "here", force=force)
    assert list((tmp_path / "outside").iterdir()) == []
    assert registry.gets == []


def test_the_workshop_may_be_no_symlink(registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path) -> None:
    registry.versions["v1"] = SMALL
    (tmp_path / "outside").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here/.modelkeep-partial").symlink_to(tmp_path / "outside")
    with pytest.raises(LocalFileError, match="symbolic link"):
        client.pull("alice/bert", tmp_path / "here", cache=False)
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "../evil",
        "/evil",
        "a/../../evil",
        "a//b",
        "a\\b",
        "C:evil",
        "a\nb",
        "a/./b",
        ".modelkeep-partial",
        ".ModelKeep-partial/x",
    ],
)
def test_a_hostile_name_is_refused_before_anything_is_fetched(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, path: str
) -> None:
    registry.versions["v1"] = {"a.bin": b"a", path: b"evil"}
    (tmp_path / "deep/er").mkdir(parents=True)
    with pytest.raises(LocalFileError) as error:
        client.pull("alice/bert", tmp_path / "deep/er/here")
    assert error.value.code == "unsafe_path"
    assert registry.gets == []
    assert list((tmp_path / "deep").rglob("*")) == [tmp_path / "deep/er"]


@pytest.mark.parametrize(
    "change", [{"file_hash": "0" * 63}, {"file_hash": None}, {"file_size": -1}, {"file_size": "1"}]
)
def test_a_list_that_makes_no_sense_is_refused(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, change: dict[str, object]
) -> None:
    registry.versions["v1"] = {"a.bin": b"a"}
    registry.rows = lambda row: {**row, **change}
    with pytest.raises(UnavailableError, match="makes no sense"):
        client.pull("alice/bert", tmp_path / "here")
    assert registry.gets == []


def test_a_list_that_lost_its_end_is_no_whole_version(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    registry.versions["v1"] = SMALL
    registry.said["v1"] = {"file_count": len(SMALL) + 1}
    with pytest.raises(UnavailableError) as error:
        client.pull("alice/bert", tmp_path / "here")
    assert error.value.code == "bad_list"
    assert not (tmp_path / "here").exists()


def test_a_version_may_have_a_file_that_is_named_as_the_marker(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"outside")
    found = outside.stat()
    said = {
        "url": "x",
        "user_id": "alice",
        "model_id": "bert",
        "version": "v1",
        "selections": [],
        "files": {"../outside": ["0" * 64, found.st_size, found.st_mtime_ns, found.st_ino]},
    }
    registry.versions["v1"] = {".modelkeep.json": json.dumps(said).encode(), "a": b"a"}
    client.pull("alice/bert", tmp_path / "here")
    assert (tmp_path / "here/.modelkeep.json").read_bytes() == registry.versions["v1"][".modelkeep.json"]
    registry.versions["v2"] = {"b": b"b"}
    client.pull("alice/bert", tmp_path / "here")
    assert outside.read_bytes() == b"outside"


def test_ctrl_c_ends_a_pull_from_a_store_that_hangs(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    """And leaves what came; the same call goes on."""
    registry.versions["v1"] = {"large.bin": some_bytes(20 * MIB), "small.bin": b"small"}
    released = threading.Event()

    def fault(path: str, start: int, count: int) -> None:
        if start >= 16 * MIB:
            _thread.interrupt_main()
            released.wait(120)

    registry.fault = fault
    try:
        with pytest.raises(KeyboardInterrupt):
            client.pull("alice/bert", tmp_path / "here")
        assert not released.is_set()
        assert not (tmp_path / "here/large.bin").exists()
    finally:
        released.set()
    registry.fault = lambda path, start, count: None
    pulled = client.pull("alice/bert", tmp_path / "here")
    assert tree(tmp_path / "here") == registry.versions["v1"]
    assert pulled.bytes_fetched <= 20 * MIB + 5


def test_a_server_that_is_away_for_a_while_is_waited_for(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    registry.versions["v1"] = {**SMALL, "large.bin": some_bytes(18 * MIB)}
    refused: Counter[tuple[str, int]] = Counter()

    def fault(path: str, start: int, count: int) -> int | None:
        refused[path, start] += 1
        return {1: 503, 2: 500}.get(refused[path, start])

    registry.fault = fault
    client.pull("alice/bert", tmp_path / "here")
    assert tree(tmp_path / "here") == registry.versions["v1"]
    assert set(refused.values()) == {3}


def test_another_model_in_the_folder_is_left_alone(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    """What the marker tells of is another model's: nothing of it goes, nothing of it is replaced."""
    registry.versions["v1"] = {"config.json": b"{}", "bert.bin": b"bert"}
    here = tmp_path / "here"
    client.pull("alice/bert", here)
    marker = json.loads((here / ".modelkeep.json").read_text())
    (here / ".modelkeep.json").write_text(json.dumps({**marker, "model_id": "gpt"}))
    registry.versions["v2"] = {"config.json": b"[]", "new.bin": b"new"}
    with pytest.raises(LocalFileError, match=r"config\.json"):
        client.pull("alice/bert", here)
    registry.versions["v3"] = {"new.bin": b"new"}
    client.pull("alice/bert", here)
    assert tree(here) == {"config.json": b"{}", "bert.bin": b"bert", "new.bin": b"new"}


def test_a_pattern_of_another_version_leaves_no_mix(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    registry.versions["v1"] = {"a.json": b"1", "b.bin": b"1", "same.bin": b"same"}
    registry.versions["v2"] = {"a.json": b"2", "b.bin": b"2", "same.bin": b"same"}
    client.pull("alice/bert:v1", tmp_path / "here")
    client.pull("alice/bert:v2", tmp_path / "here", files=["*.json"])
    assert tree(tmp_path / "here") == {"a.json": b"2", "same.bin": b"same"}
    assert client.verify(tmp_path / "here").ok


def test_an_interrupted_change_of_version_can_be_gone_on_with_or_taken_back(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelkeep.pulling.fetching.TRANSFER_PATIENCE", 0)
    registry.versions["v1"] = {f"{number}.bin": b"1" * number for number in range(20)}
    registry.versions["v2"] = {f"{number}.bin": b"2" * number for number in range(20)}
    client.pull("alice/bert:v1", tmp_path / "here")
    registry.fault = lambda path, start, count: 503 if path == "15.bin" else None
    with pytest.raises(UnavailableError):
        client.pull("alice/bert:v2", tmp_path / "here")
    registry.fault = lambda path, start, count: None
    client.pull("alice/bert:v1", tmp_path / "here")
    assert tree(tmp_path / "here") == registry.versions["v1"]
    client.pull("alice/bert:v2", tmp_path / "here")
    assert tree(tmp_path / "here") == registry.versions["v2"]


def test_an_interrupted_change_of_version_leaves_no_mix_when_gone_on_with(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelkeep.pulling.fetching.TRANSFER_PATIENCE", 0)
    registry.versions["v1"] = {"old/old.bin": b"only in v1", "config.json": b"1"}
    registry.versions["v2"] = {"config.json": b"2", "new.bin": b"new"}
    client.pull("alice/bert:v1", tmp_path / "here")
    registry.fault = lambda path, start, count: 503
    with pytest.raises(UnavailableError):
        client.pull("alice/bert:v2", tmp_path / "here")
    registry.fault = lambda path, start, count: None
    client.pull("alice/bert:v2", tmp_path / "here")
    assert tree(tmp_path / "here") == registry.versions["v2"]
    assert not (tmp_path / "here/old").exists()


@pytest.mark.parametrize("cache", [True, False])
def test_what_killed_pulls_had_no_time_to_record_is_not_in_the_way_of_another_version(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: bool
) -> None:
    """As a CI job does that pulls the newest: killed, then run again when there is a newer one."""
    here = tmp_path / "here"
    save = Gathering.save

    def save_once(gathering: Gathering) -> None:
        if gathering.fetched == 0:
            save(gathering)

    monkeypatch.setattr(Gathering, "save", save_once)
    registry.versions["v1"] = {"config.json": b"first"}
    client.pull("alice/bert", here, cache=cache)
    registry.versions["v2"] = {"config.json": b"second one", "mine": b"m"}
    client.pull("alice/bert", here, cache=cache)
    monkeypatch.setattr(Gathering, "save", save)
    (here / "mine").unlink()
    (here / "mine").write_bytes(b"M")  # by a user, meanwhile
    registry.versions["v3"] = {"config.json": b"third"}
    client.pull("alice/bert", here, cache=cache)
    assert tree(here) == {**registry.versions["v3"], "mine": b"M"}
    assert json.loads((here / ".modelkeep.json").read_text())["planned"] == {}
    (here / "config.json").unlink()
    (here / "config.json").write_bytes(b"other")
    with pytest.raises(LocalFileError):
        client.pull("alice/bert", here, cache=cache)


def test_far_pages_urls_are_asked_for_again_when_their_turn_comes(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that 50,000 URLs are never in memory."""
    monkeypatch.setattr("modelkeep.pulling.listing._KEPT", 2)
    registry.versions["v1"] = {f"{number:05}.txt": str(number).encode() for number in range(1200)}
    client.pull("alice/bert", tmp_path / "here", cache=False)
    assert tree(tmp_path / "here") == registry.versions["v1"]
    assert len(registry.calls) == 1 + 3 + 1


def test_what_a_killed_pull_left_in_the_folder_goes(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    registry.versions["v1"] = SMALL
    workshop = tmp_path / "here/.modelkeep-partial"
    workshop.mkdir(parents=True)
    for name in ("0123456789abcdef.tmp", "0" * 64, "0" * 64 + ".map", f"{sha256(b'{}')}.0123456789abcdef"):
        (workshop / name).write_bytes(b"left")
    kept = workshop / sha256(SMALL["weights/a.bin"])  # of a file of this version, that is not asked for now
    kept.write_bytes(b"kept")
    client.pull("alice/bert", tmp_path / "here", files=["*.json"])
    assert list(workshop.iterdir()) == [kept]
    client.pull("alice/bert", tmp_path / "here", files=["empty"], cache=False)
    assert kept.exists()
