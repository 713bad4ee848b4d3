"""`modelkeep://` without a registry: names, what is remembered, what is refused."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from modelkeep.errors import DeniedError, IntegrityError, NotFoundError
from modelkeep.remote.filesystem import ModelkeepFileSystem
from modelkeep.results import File, Version

from tests.modelkeep.remote_fakes import FakeClient, FakeStore, file_of

DATA = b"0123456789" * 10


class Registry:
    """One model; counts what is asked."""

    def __init__(self) -> None:
        self.paths = {"v1": ["config.json", "data/a.bin"]}
        self.newest = "v1"
        self.asked: list[str] = []
        self.store = FakeStore(DATA)
        self.api = FakeClient(self.store)
        self.shown = 1000
        self.sha256: str | None = None

    def get(self, ref: Any) -> Version:
        self.asked.append(str(ref))
        if ref.user_id == "mallory":
            raise DeniedError("not yours")
        if ref.model_id != "bert" or ref.version not in (None, *self.paths):
            raise NotFoundError("no such version")
        said: dict[str, Any] = dict.fromkeys(Version.__dataclass_fields__)
        found = ref.version or self.newest
        said |= {"user_id": ref.user_id, "model_id": "bert", "version": found, "files": []}
        version = Version.from_json(said | {"file_count": len(self.paths[found])})
        version.files.extend(self.entries(found)[: self.shown])
        return version

    def files(self, ref: Any) -> Iterator[File]:
        self.asked.append(f"files {ref}")
        return iter(self.entries(ref.version))

    def models(self, user_id: str) -> Iterator[Version]:
        return iter([self.get(_ref(f"{user_id}/bert:{version}")) for version in self.paths])

    def entries(self, version: str) -> list[File]:
        return [file_of(DATA, path=path, sha256=self.sha256) for path in self.paths[version]]


def _ref(text: str) -> Any:
    from modelkeep.names import parse_ref

    return parse_ref(text)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def system(registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelkeepFileSystem]:
    monkeypatch.setenv("MODELKEEP_HOME", str(tmp_path / "home"))
    fsspec.register_implementation("modelkeep", ModelkeepFileSystem, clobber=True)
    system = fsspec.filesystem("modelkeep", registry_url="http://127.0.0.1:9", token="secret")
    system.client = registry
    yield system
    ModelkeepFileSystem.clear_instance_cache()


def test_names_lose_the_protocol_and_keep_the_rest(system: ModelkeepFileSystem) -> None:
    strip = ModelkeepFileSystem._strip_protocol
    assert strip("modelkeep://alice/bert:v1/a b.json") == "alice/bert:v1/a b.json"
    assert strip("modelkeep:///alice/bert:v1/") == "alice/bert:v1"
    assert strip(["modelkeep://alice", "alice/"]) == ["alice", "alice"]
    assert strip("modelkeep://") == ""
    assert system.unstrip_protocol("alice/bert:v1") == "modelkeep://alice/bert:v1"
    assert ModelkeepFileSystem._get_kwargs_from_urls("modelkeep://alice/bert:v1/x") == {}
    found, path = fsspec.core.url_to_fs(
        "modelkeep://alice/bert:v1/x", registry_url="http://127.0.0.1:9", token="secret"
    )
    assert (found is system, path) == (True, "alice/bert:v1/x")


def test_a_versions_files_are_asked_for_once(system: ModelkeepFileSystem, registry: Registry) -> None:
    for _ in range(3):
        assert system.ls("alice/bert:v1", detail=False) == ["alice/bert:v1/config.json", "alice/bert:v1/data"]
        assert system.exists("alice/bert:v1/data/a.bin")
        assert system.cat("alice/bert:v1/config.json") == DATA
    assert registry.asked == ["alice/bert:v1"]
    system.invalidate_cache()
    system.ls("alice/bert:v1")
    assert registry.asked == ["alice/bert:v1"] * 2


def test_the_newest_is_asked_for_each_time(system: ModelkeepFileSystem, registry: Registry) -> None:
    assert system.find("alice/bert") == ["alice/bert/config.json", "alice/bert/data/a.bin"]
    registry.paths["v2"], registry.newest = ["new.json"], "v2"
    assert system.find("alice/bert") == ["alice/bert/new.json"]
    assert system.info("alice/bert/new.json")["version"] == "v2"


def test_all_files_of_a_large_version_are_listed(system: ModelkeepFileSystem, registry: Registry) -> None:
    registry.paths["v1"] = [f"data/{number:04}" for number in range(2500)]
    assert len(system.find("alice/bert:v1")) == 2500
    assert registry.asked == ["alice/bert:v1", "files alice/bert:v1"]


@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil", "a//b", ".", "a/./b", ""])
def test_a_path_that_leads_elsewhere_is_refused_and_nothing_written(
    path: str, system: ModelkeepFileSystem, registry: Registry, tmp_path: Path
) -> None:
    registry.paths["v1"] = ["config.json", path]
    for call in (lambda: system.ls("alice/bert:v1"), lambda: system.get("alice/bert:v1", str(tmp_path / "out"), True)):
        with pytest.raises(IntegrityError) as caught:
            call()
        assert caught.value.code == "bad_path"
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


def test_a_damaged_file_does_not_get_its_name(system: ModelkeepFileSystem, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"before")
    registry.sha256 = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(IntegrityError):
        system.get("alice/bert:v1/config.json", str(tmp_path / "mine"))
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("mine", b"before")]
    registry.sha256 = None
    system.invalidate_cache()
    system.get("alice/bert:v1/config.json", str(tmp_path / "mine"))
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("mine", DATA)]


def test_ranges_of_one_file_are_fetched_together(system: ModelkeepFileSystem, registry: Registry) -> None:
    paths = ["alice/bert:v1/config.json"] * 3 + ["alice/bert:v1/none"]
    got = system.cat_ranges(paths, [0, 10, -5, 0], [5, 12, None, 1])
    assert got[:3] == [b"01234", b"01", b"56789"]
    assert isinstance(got[3], FileNotFoundError)
    assert len(registry.store.asked) == 1
    with pytest.raises(FileNotFoundError):
        system.cat_ranges(paths, 0, 1, on_error="raise")


def test_errors_are_those_of_files(system: ModelkeepFileSystem) -> None:
    for path in ("alice/bert:v1/none", "alice/bert:v9/x", "alice/no:v1/x", "alice/b ert/x", "alice", "alice/bert:/x"):
        with pytest.raises(FileNotFoundError):
            system.open(path)
    with pytest.raises(IsADirectoryError):
        system.open("alice/bert:v1/data")
    with pytest.raises(PermissionError):
        system.open("mallory/bert:v1/config.json")
    with pytest.raises(PermissionError):
        system.ls("")


def test_it_travels_to_other_processes(system: ModelkeepFileSystem) -> None:
    assert pickle.loads(pickle.dumps(system)) is system
    assert "secret" not in repr(system)


def test_fsspecs_own_systems_stand_on_it(
    system: ModelkeepFileSystem, registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("modelkeep.remote.filesystem.Client", lambda *_: registry)
    for kind in ("simplecache", "filecache"):
        options = {kind: {"cache_storage": str(tmp_path / kind)}}
        for _ in range(2):
            with fsspec.open(f"{kind}::modelkeep://alice/bert:v1/config.json", **options) as file:
                assert file.read() == DATA
    assert len(registry.store.asked) == 2  # once for each, then from the disk
    inside = fsspec.filesystem("dir", path="alice/bert:v1", fs=system)
    assert inside.ls("", detail=False) == ["config.json", "data"]
    assert dict(fsspec.get_mapper("modelkeep://alice/bert:v1")) == {"config.json": DATA, "data/a.bin": DATA}
