"""The client against any target: what changes with a gateway, tokens and another store is seen here; the rest of the
client's tests need `make run`."""

from __future__ import annotations

import json
import random
from pathlib import Path

import modelkeep
import pytest
from modelkeep.errors import ConflictError

from tests.end_to_end import client_under_test
from tests.end_to_end.client import PART, PATIENCE
from tests.end_to_end.running import Server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model: one file in parts, some by one PUT, one empty."""
    made = tmp_path / "model"
    (made / "weights").mkdir(parents=True)
    (made / "weights/größe 大.bin").write_bytes(random.Random(7).randbytes(PART + 1000))
    (made / "config.json").write_text("{}")
    (made / "empty.txt").touch()
    return made


def test_push_pull_verify_and_read_a_part(sdk: modelkeep.Client, user_id: str, folder: Path, tmp_path: Path) -> None:
    pushed = sdk.push(folder, f"{user_id}/model:v1", metadata={"name": "A model", "tags": ["a"]})
    assert (pushed.version, pushed.file_count, pushed.name) == ("v1", 3, "A model")
    pulled = sdk.pull(f"{user_id}/model", tmp_path / "copy")
    assert pulled.bytes_fetched == pushed.total_size
    for path in ("weights/größe 大.bin", "config.json", "empty.txt"):
        assert (tmp_path / "copy" / path).read_bytes() == (folder / path).read_bytes()
    assert sdk.verify(tmp_path / "copy").ok
    with sdk.open(f"{user_id}/model:v1/weights/größe 大.bin") as file:
        file.seek(PART)
        assert file.read() == (folder / "weights/größe 大.bin").read_bytes()[PART:]
    (folder / "config.json").write_text('{"layers": 2}')
    with pytest.raises(ConflictError):
        sdk.push(folder, f"{user_id}/model:v1")
    following = sdk.push(folder, f"{user_id}/model")
    difference = sdk.diff(f"{user_id}/model:v1", f"{user_id}/model:{following.version}")
    assert ([change.path for change in difference.changed], difference.same) == (["config.json"], 2)


def test_the_command(server: Server, user_id: str, folder: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        home = tmp_path / "home"
        done = client_under_test.run(server, user_id, home, *arguments, "--json", seconds=120 * PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(run("push", str(folder), f"{user_id}/model", "--tag", "prod"))["version"] == "v1"
    assert [json.loads(line)["model_id"] for line in run("ls", user_id).splitlines()] == ["model"]
    assert run("search", user_id, "prod").count("\n") == 1
    run("pull", f"{user_id}/model", "-o", str(tmp_path / "copy"), "--file", "*.json")
    assert (tmp_path / "copy/config.json").read_text() == "{}"
    run("rm", f"{user_id}/model:v1", "--yes")
    assert run("ls", user_id) == ""
