"""The examples of docs/client.md run, one after the other, in a folder as the page assumes it. Blocks marked `py` need
what is not installed here."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy
import pandas
import pytest
from modelkeep.remote.filesystem import ModelkeepFileSystem
from safetensors.numpy import save_file

from tests.end_to_end.running import PROJECT, Server
from tests.end_to_end.targets import Target

# Any target: test_client_everywhere.py.
pytestmark = [pytest.mark.needs("process"), pytest.mark.usefixtures("own_loop")]

PAGE = PROJECT / "docs/client.md"


def blocks() -> Iterator[str]:
    """The page's examples, each behind as many empty lines as the page has before it, so that errors name its lines."""
    text = PAGE.read_text(encoding="utf-8")
    for found in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield "\n" * text.count("\n", 0, found.start(1)) + found[1]


def prepare(folder: Path) -> None:
    """A model as the examples have it."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"hidden_size": 32}))
    (folder / "requirements.txt").write_text("safetensors\n")
    save_file({"embedding.weight": numpy.ones((100, 32), "f4")}, folder / "model.safetensors")
    with h5py.File(folder / "weights.h5", "w") as file:
        file.create_dataset("dense/kernel:0", data=numpy.eye(8, dtype="f4"))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("first.txt", "one")
    (folder / "examples.zip").write_bytes(archive.getvalue())
    metrics = pandas.DataFrame({"step": range(100), "loss": numpy.linspace(1, 0, 100)})
    metrics.to_csv(folder / "metrics.csv", index=False)
    metrics.to_parquet(folder / "metrics.parquet")


@pytest.fixture
def here(server: Server | Target, user_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that the examples run in, with the environment that they run in."""
    for name in ("MODELKEEP_URL", "MODELKEEP_TOKEN", "MODELKEEP_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELKEEP_URL", server.url)
    monkeypatch.setenv("MODELKEEP_HOME", str(tmp_path / "home"))
    if isinstance(server, Target) and server.issuer:
        monkeypatch.setenv("MODELKEEP_TOKEN", server.token(user_id))
    here = tmp_path / "here"
    here.mkdir()
    prepare(here / "bert")
    monkeypatch.chdir(here)
    fsspec.register_implementation("modelkeep", ModelkeepFileSystem, clobber=True)  # as the entry point does
    yield here
    ModelkeepFileSystem.clear_instance_cache()


def test_the_examples_run(here: Path, user_id: str) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    for block in blocks():
        code = re.sub(r'"(modelkeep://)?alice(?=[/"])', rf'"\g<1>{user_id}', block)
        exec(compile(code, str(PAGE), "exec"), names)
    original = {path.name: path.read_bytes() for path in (here / "bert").iterdir()}
    for copy in ("models/bert", "copy"):
        copied = {path.name: path.read_bytes() for path in (here / copy).iterdir()}
        assert {name: copied[name] for name in original} == original
    configuration = {path.name for path in (here / "models/configuration").iterdir()} & original.keys()
    assert configuration == {"config.json", "requirements.txt"}
    assert (names["version"].version, names["newest"].is_production_ready) == ("v1", True)
    assert names["models"] == [f"{user_id}/bert:v2"]
    assert names["history"] == ["v2", "v1"]
    assert (names["difference"].equal, names["verified"].ok) == (True, True)
    assert (names["kernel"] == numpy.eye(8)).all()
    assert (names["names"], names["first"]) == (["first.txt"], b"one")
    assert (names["config"][:4], names["config"][-2:]) == (names["header"], names["end"])
    assert (names["tensors"]["embedding.weight"] == 1).all()
    assert len(names["metrics"]) == len(names["column"]) == len(names["table"]) == 100
    assert names["everything"] == [f"{user_id}/bert:v2", f"{user_id}/bert:v1"]
    assert str(names["pushed"]) == f"{user_id}/bert:v3"
