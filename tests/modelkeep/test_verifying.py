"""Verify, diff and the ZIP, against a registry whose every answer the test decides."""

from __future__ import annotations

import contextlib
import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import modelkeep
import pytest
from modelkeep.connections import Connections
from modelkeep.errors import IntegrityError, LocalFileError, ModelkeepError, UnavailableError, UsageError
from modelkeep.store import Store

from tests.modelkeep.fake_registry import FakeRegistry, answer, serving, tree

MIB = 1024 * 1024
FILES = {"config.json": b"{}", "empty": b"", "weights/a.bin": b"ab" * 40_000, "weights/b.json": b"[]"}


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with serving() as registry:
        registry.versions["v1"] = FILES
        yield registry


@pytest.fixture
def client(registry: FakeRegistry, tmp_path: Path) -> Iterator[modelkeep.Client]:
    with registry.client(tmp_path / "home") as client:
        yield client


def test_verify_reads_every_byte_and_asks_for_none(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    client.pull("alice/bert", tmp_path / "here")
    sent = registry.bytes_sent
    told: list[modelkeep.Progress] = []
    found = client.verify(tmp_path / "here", on_progress=told.append)
    assert found.ok
    assert (found.intact, found.unknown, found.directory) == (sorted(FILES), [], tmp_path / "here")
    total = sum(map(len, FILES.values()))
    assert (told[-1].phase, told[-1].done, told[-1].total) == ("check", total, total)
    assert registry.bytes_sent == sent


def test_after_a_pull_by_patterns_what_was_not_asked_for_is_not_missing(
    client: modelkeep.Client, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    client.pull("alice/bert:v1", here, files=["*.json"])
    client.pull("alice/bert:v1", here, files=["empty"])
    assert client.verify(here).intact == ["config.json", "empty", "weights/b.json"]
    assert client.verify(here).ok
    assert client.verify(here, "alice/bert:v1").missing == ["weights/a.bin"]
    (here / "weights/a.bin").write_bytes(b"mine")
    assert client.verify(here).damaged == ["weights/a.bin"]
    (here / "weights/a.bin").unlink()
    client.pull("alice/bert:v1", here)
    (here / "empty").unlink()
    assert client.verify(here).missing == ["empty"]


def test_verify_wants_to_know_against_what(client: modelkeep.Client, tmp_path: Path) -> None:
    here = tmp_path / "here"
    with pytest.raises(LocalFileError, match="no folder"):
        client.verify(here)
    here.mkdir()
    with pytest.raises(UsageError) as error:
        client.verify(here)
    assert error.value.code == "no_marker"
    assert client.verify(here, "alice/bert").missing == sorted(FILES)
    client.pull("alice/bert", here)
    marker = json.loads((here / ".modelkeep.json").read_text())
    (here / ".modelkeep.json").write_text(json.dumps({**marker, "url": "https://elsewhere.example"}))
    with pytest.raises(UsageError) as error:
        client.verify(here)
    assert error.value.code == "other_registry"
    assert client.verify(here, "alice/bert").ok


def test_verify_sees_links_folders_and_what_is_unknown(client: modelkeep.Client, tmp_path: Path) -> None:
    here = tmp_path / "here"
    client.pull("alice/bert", here)
    (here / "empty").unlink()
    (here / "empty").mkdir()
    (here / "config.json").unlink()
    (here / "config.json").symlink_to("nowhere")
    (here / "folder").symlink_to(tmp_path)
    (here / ".modelkeep-0123.tmp").write_bytes(b"a rest of a pull")
    found = client.verify(here)
    assert (found.damaged, found.missing, found.unknown) == (["config.json", "empty"], [], ["folder"])


def test_diff_pages_through_both_and_moves_no_byte(registry: FakeRegistry, client: modelkeep.Client) -> None:
    many = {f"{number:05}": str(number).encode() for number in range(1100)}
    registry.versions["v1"] = {**many, "only-a": b"", "z": b"1"}
    registry.versions["v2"] = {**many, "00500": b"other", "only-b": b"", "z": b"1"}
    registry.said["v1"] = {"tags": ["x"], "created_at": "2026-01-01T00:00:00Z", "primary_file_path": "models/1/a"}
    registry.said["v2"] = {"tags": ["y"], "created_at": "2026-02-01T00:00:00Z", "primary_file_path": "models/2/a"}
    found = client.diff("alice/bert:v1", "alice/bert")
    assert [file.path for file in found.only_a] == ["only-a"]
    assert [file.path for file in found.only_b] == ["only-b"]
    assert [change.path for change in found.changed] == ["00500"]
    assert found.same == 1100
    assert found.metadata == {"tags": (["x"], ["y"])}
    assert registry.gets == []
    assert not any("urls" in call for call in registry.calls)


def zipped(files: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return out.getvalue()


def as_links(archive: bytes) -> bytes:
    """Each member a symbolic link, says the directory."""
    regular, link = struct.pack("<L", 0o600 << 16), struct.pack("<L", (stat.S_IFLNK | 0o777) << 16)
    assert regular in archive
    return archive.replace(regular, link)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_waited_for_fetched_and_checked(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, method: int
) -> None:
    registry.versions["v1"] = {**FILES, "large": bytes(range(256)) * (5 * 4096) * 4}
    registry.zip = zipped(registry.versions["v1"], method=method)
    registry.building = 3
    target = client.pull_zip("alice/bert", tmp_path / "out")
    assert target == tmp_path / "out"
    assert target.read_bytes() == registry.zip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out"]
    sent = registry.bytes_sent
    assert client.pull_zip("alice/bert", tmp_path / "out") == target
    assert registry.bytes_sent == sent


WRONG: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "other bytes": lambda files: zipped({**files, "config.json": b"[]"}),
    "a file more": lambda files: zipped({**files, "../evil": b"evil"}),
    "a file less": lambda files: zipped({path: data for path, data in files.items() if path != "empty"}),
    "a longer file": lambda files: zipped({**files, "empty": b"x" * (3 * MIB)}, method=zipfile.ZIP_DEFLATED),
    "a bomb": lambda files: zipped({**files, "empty": b"x" * (3 * MIB)}, method=zipfile.ZIP_BZIP2),
    "a name that is not Unicode": lambda files: zipped({**files, "é": b"x"}).replace("é".encode(), b"\xc3\xff"),
    "an impossible offset": lambda files: zipped(files)[:-6] + b"\xf0\xff\xff\xff\0\0",
    "a link": lambda files: as_links(zipped(files)),
    "no zip": lambda files: b"PK" + bytes(1000),
    "cut off": lambda files: zipped(files)[:-30],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_zip_that_does_not_hold_the_version_gets_no_name(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, wrong: str
) -> None:
    registry.zip = WRONG[wrong](FILES)
    with pytest.raises(IntegrityError) as error:
        client.pull_zip("alice/bert", tmp_path / "folder/out.zip")
    assert error.value.code == "damaged"
    assert tree(tmp_path / "folder") == {}


def test_a_zip_is_gone_on_with_and_ranges_of_two_builds_are_not_mixed(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelkeep.pulling.zips._WORKERS", 1)
    monkeypatch.setattr("modelkeep.pulling.fetching.TRANSFER_PATIENCE", 0)
    registry.versions["v1"] = {"large": bytes(range(256)) * (40 * 4096)}
    registry.zip = zipped(registry.versions["v1"])
    registry.fault = lambda path, start, count: 503 if start >= 16 * MIB else None
    with pytest.raises(modelkeep.ModelkeepError):
        client.pull_zip("alice/bert", tmp_path / "folder/out.zip")
    assert not (tmp_path / "folder/out.zip").exists()
    sent = registry.bytes_sent
    registry.fault = lambda path, start, count: None
    client.pull_zip("alice/bert", tmp_path / "folder/out.zip")
    assert registry.bytes_sent - sent == len(registry.zip) - 16 * MIB + 1  # one byte to learn the size
    (tmp_path / "folder/out.zip").unlink()

    first, other = registry.zip, zipped(registry.versions["v1"], method=zipfile.ZIP_DEFLATED)

    def made_anew(path: str, start: int, count: int) -> None:
        if start == 16 * MIB and registry.zip == first:
            registry.generation += 1
            registry.zip = other

    registry.fault = made_anew
    client.pull_zip("alice/bert", tmp_path / "folder/out.zip")
    assert tree(tmp_path / "folder") == {"out.zip": other}


def test_a_file_of_the_users_own_is_not_replaced_by_a_zip(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    registry.zip = zipped(FILES)
    (tmp_path / "bert-v1.zip").write_bytes(b"mine")
    with pytest.raises(LocalFileError) as error:
        client.pull_zip("alice/bert", tmp_path)
    assert error.value.code == "in_the_way"
    assert (tmp_path / "bert-v1.zip").read_bytes() == b"mine"
    assert registry.gets == []


@pytest.mark.parametrize("version", ["x/../../../evil", "..", "v2", None, 1])
@pytest.mark.parametrize("way", ["pull", "pull_zip", "verify"])
def test_a_registry_that_answers_with_another_version_writes_nowhere(
    registry: FakeRegistry,
    client: modelkeep.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: object,
    way: str,
) -> None:
    """The version gets into the ZIP's name."""
    registry.versions = {"v1": FILES, str(version): FILES}
    registry.said["v1"] = {"version": version}
    registry.zip = zipped(FILES)
    (tmp_path / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep/er")
    with pytest.raises(UnavailableError) as error:
        client.verify(".", "alice/bert:v1") if way == "verify" else getattr(client, way)("alice/bert:v1")
    assert error.value.code == "bad_answer"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert registry.gets == []


ODD: list[tuple[int, Any, dict[str, str]]] = [
    (301, None, {"Location": "https://secret@other.example/?token=1"}),
    (302, "<html>", {"Location": "http://[::1/"}),
    (307, None, {"Location": "https://other.example/x"}),
    (200, None, {}),
    (200, {"message": "welcome"}, {}),
    (200, {"files": [1]}, {}),
    (200, [1], {}),
    (200, "x", {}),
]
WAYS: dict[str, Callable[[modelkeep.Client, Path], Any]] = {
    "get": lambda client, folder: client.get("alice/bert"),
    "files": lambda client, folder: list(client.files("alice/bert")),
    "versions": lambda client, folder: list(client.versions("alice/bert")),
    "models": lambda client, folder: list(client.models("alice")),
    "uploads": lambda client, folder: client.uploads("alice"),
    "pull": lambda client, folder: client.pull("alice/bert", folder / "here"),
    "verify": lambda client, folder: client.verify(folder, "alice/bert"),
    "diff": lambda client, folder: client.diff("alice/bert", "alice/bert:v2"),
    "open": lambda client, folder: client.open("alice/bert/config.json"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_answer_of_a_registry_is_an_error_for_people(
    registry: FakeRegistry,
    client: modelkeep.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    odd: tuple[int, Any, dict[str, str]],
) -> None:
    """As where http:// is sent to https://, or a proxy answers."""
    monkeypatch.setattr(registry, "_api", lambda handler, path, query: answer(handler, *odd))
    with pytest.raises(ModelkeepError) as error:
        WAYS[way](client, tmp_path)
    assert error.value.code == ("not_a_registry" if odd[0] >= 300 else "bad_answer")
    assert "secret" not in str(error.value)
    assert "token" not in str(error.value)
    assert len(registry.calls) == 1


@pytest.mark.parametrize("status", [403, 503, 206])
def test_an_endless_answer_of_the_store_is_not_read(status: int) -> None:
    """As a hostile or broken store gives; where it says what is wrong, its begin does."""
    sent = 0

    def endless(handler: Any, path: str, query: dict[str, str]) -> None:
        nonlocal sent
        handler.send_response(status)
        handler.send_header("Content-Range", "bytes 0-0/1000")
        handler.send_header("Content-Length", str(1024 * MIB))
        handler.end_headers()
        handler.close_connection = True
        with contextlib.suppress(OSError):
            while sent < 1024 * MIB:
                handler.wfile.write(bytes(MIB))
                sent += MIB

    with serving() as registry:
        registry._store = endless  # type: ignore[method-assign]
        store = Store(Connections())
        with pytest.raises(ModelkeepError):
            store.probe(f"{registry.url}/store/x")
        with pytest.raises(ModelkeepError):
            list(store.get(f"{registry.url}/store/x", 1, 10))
    assert sent < 100 * MIB
