"""The `modelkeep` command, in processes of its own, against a real registry."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.end_to_end import client_under_test, making
from tests.end_to_end.client import Client, file_sha256, sha256, write_pattern
from tests.end_to_end.proxying import Proxy
from tests.end_to_end.running import Server
from tests.end_to_end.targets import Target
from tests.end_to_end.troubles import Hold

pytestmark = pytest.mark.needs("process")  # any target: test_client_everywhere.py

Run = Callable[..., CompletedProcess[str]]
DATA = b"\x80\x04N."  # a pickled None
TAGGERS = 5


@pytest.fixture
def run(server: Server | Target, user_id: str, tmp_path: Path) -> Run:
    """`modelkeep ARGUMENTS`, as that user."""
    return lambda *arguments: client_under_test.run(server, user_id, tmp_path / "home", *arguments)


@pytest.fixture
def models(client: Client) -> Client:
    """Two versions of `bert` and one of `churn`."""
    for model_id, version, fields in (
        ("bert", "v1", {"description": "Reads German", "tags": "old"}),
        ("bert", "v2", {"framework": "pytorch"}),
        ("churn", "v1", {"algorithm": "random forest"}),
    ):
        answer = client.single("model.pkl", DATA + version.encode(), model_id, version=version, **fields)
        assert answer.status_code in (200, 202), answer.text
    return client


def lines(done: CompletedProcess[str]) -> list[Any]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def names(done: CompletedProcess[str]) -> list[str]:
    return [f"{each['model_id']}:{each['version']}" for each in lines(done)]


def test_finding(models: Client, run: Run, user_id: str) -> None:
    assert names(run("ls", user_id, "--json")) == ["churn:v1", "bert:v2", "bert:v1"]
    assert names(run("ls", user_id, "--latest", "--json")) == ["churn:v1", "bert:v2"]
    assert names(run("ls", user_id, "--tag", "OLD", "--json")) == ["bert:v1"]
    assert names(run("--json", "ls", f"{user_id}/bert")) == ["bert:v2", "bert:v1"]
    assert names(run("versions", f"{user_id}/bert", "--json")) == ["bert:v2", "bert:v1"]
    assert names(run("search", user_id, "random", "fo", "--json")) == ["churn:v1"]
    (info,) = lines(run("info", f"{user_id}/bert:v1", "--json"))
    etag = info.pop("etag")
    assert (info, etag) == (models.metadata("bert", version="v1"), models.get("bert", version="v1").headers["etag"])
    (file,) = lines(run("files", f"{user_id}/bert", "--json"))
    assert (file["filename"], file["file_hash"]) == ("model.pkl", sha256(DATA + b"v2"))
    table = run("ls", user_id).stdout.splitlines()
    assert [row.split("\t")[0] for row in table] == [f"{user_id}/{name}" for name in ("churn:v1", "bert:v2", "bert:v1")]


def test_what_is_not_there(run: Run, user_id: str) -> None:
    for arguments in (["info", f"{user_id}/none"], ["files", f"{user_id}/none"], ["versions", f"{user_id}/none"]):
        done = run(*arguments, "--json")
        assert (done.returncode, done.stdout) == (3, "")
        assert json.loads(done.stderr)["error"]["code"] == "model_not_found"
    done = run("ls", user_id)
    assert (done.returncode, done.stdout) == (0, "")
    assert lines(run("uploads", user_id, "--json")) == []


def test_changing(models: Client, run: Run, user_id: str, tmp_path: Path) -> None:
    ref = f"{user_id}/bert:v1"
    (before,) = lines(run("info", ref, "--json"))
    said = run("update", ref, "--name", "[b]New", "--custom", "lr=0.1", "--production", "--set", "input_shape=[1, 2]")
    assert said.returncode == 0, said.stderr
    (now,) = lines(run("update", ref, "--custom", "team=nlp", "--unset", "description", "--json"))
    assert now["custom_metadata"] == {"lr": 0.1, "team": "nlp"}
    assert (now["name"], now["is_production_ready"], now["input_shape"]) == ("[b]New", True, [1, 2])
    assert now["description"] is None
    assert now["tags"] == ["old"]
    late = run("update", ref, "--name", "Late", "--if-match", before["etag"], "--json")
    assert (late.returncode, json.loads(late.stderr)["error"]["status"]) == (5, 412)
    wrong = run("update", ref, "--framework", "nonsense", "--json")
    assert (wrong.returncode, wrong.stdout) == (9, "")
    assert models.metadata("bert", version="v1")["name"] == "[b]New"


def test_taggers_at_one_time_lose_nothing(
    models: Client, server: Server | Target, user_id: str, tmp_path: Path
) -> None:
    taggers = [
        client_under_test.start(server, user_id, tmp_path / "home", "tag", f"{user_id}/bert:v1", f"tag{number}")
        for number in range(TAGGERS)
    ]
    for tagger in taggers:
        _, said = tagger.communicate(timeout=120)
        assert tagger.returncode == 0, said
    wanted = {"old", *(f"tag{number}" for number in range(TAGGERS))}
    assert set(models.metadata("bert", version="v1")["tags"]) == wanted


def test_removing(models: Client, run: Run, user_id: str) -> None:
    done = run("rm", f"{user_id}/bert:v1")
    assert (done.returncode, done.stdout) == (2, "")
    done = run("rm", f"{user_id}/bert", "--yes")
    assert done.returncode == 2
    assert "v2, v1" in done.stderr
    assert names(run("versions", f"{user_id}/bert", "--json")) == ["bert:v2", "bert:v1"]
    assert lines(run("rm", f"{user_id}/bert:v1", "--yes", "--json"))[0]["versions"] == ["v1"]
    assert names(run("versions", f"{user_id}/bert", "--json")) == ["bert:v2"]
    assert run("rm", f"{user_id}/bert", "--all", "--yes").returncode == 0
    assert names(run("ls", user_id, "--json")) == ["churn:v1"]


def test_giving_an_upload_up(client: Client, run: Run, user_id: str) -> None:
    upload = client.start("bert", files=[{"path": "a.bin", "size": 10, "sha256": sha256(bytes(10))}])
    listed = run("uploads", user_id, "--json")
    assert [each["upload_id"] for each in lines(listed)] == [upload["upload_id"]]
    assert "X-Amz" not in listed.stdout
    assert run("uploads", "abort", upload["upload_id"]).returncode == 2
    assert client.upload(upload["upload_id"])["status"] == "uploading"
    (gone,) = lines(run("uploads", "abort", upload["upload_id"], "--yes", "--json"))
    assert gone["status"] == "aborted"
    assert lines(run("uploads", user_id, "--json")) == []
    assert run("uploads", "abort", "absent", "--yes").returncode in (3, 9)


def test_doctor_and_whoami(models: Client, run: Run, user_id: str, server: Server | Target) -> None:
    (said,) = lines(run("doctor", f"{user_id}/bert", "--json"))
    states = {check["name"]: check["status"] for check in said["checks"]}
    assert states["registry"] == states["token"] == states["store"] == "ok"
    (who,) = lines(run("whoami", "--json"))
    assert (who["url"], who["accepted"]) == (server.url, True)


# -- push, pull, verify, diff ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as people keep it."""
    for path, data in making.folder().items():
        target = tmp_path / "my model" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return tmp_path / "my model"


def test_a_folder_there_and_back(folder: Path, run: Run, user_id: str, tmp_path: Path) -> None:
    ref, copy = f"{user_id}/bert", tmp_path / "copy"
    (pushed,) = lines(run("push", str(folder), ref, "--tag", "a", "--custom", "lr=0.1", "--json"))
    assert (pushed["version"], pushed["tags"], pushed["custom_metadata"]) == ("v1", ["a"], {"lr": 0.1})
    (pulled,) = lines(run("pull", ref, "-o", str(copy), "--json"))
    assert set(pulled["paths"]) == set(making.folder())
    for path, data in making.folder().items():
        assert (copy / path).read_bytes() == data
    (verified,) = lines(run("verify", str(copy), "--json"))
    assert (verified["ok"], set(verified["intact"])) == (True, set(making.folder()))
    (folder / "config.json").write_bytes(b"{}")
    assert run("push", str(folder), ref, "--quiet").stdout == ""
    (found,) = lines(run("diff", f"{ref}:v1", f"{ref}:v2", "--json"))
    assert ([each["path"] for each in found["changed"]], found["same"]) == (["config.json"], len(making.folder()) - 1)
    assert run("diff", f"{ref}:v1", f"{ref}:v2", "--exit-code", "--quiet").returncode == 1
    taken = run("push", str(folder), f"{ref}:v1", "--json")
    assert (taken.returncode, taken.stdout) == (5, "")


def test_verify_names_what_is_wrong_and_its_hint_mends_it(folder: Path, run: Run, user_id: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    lines(run("push", str(folder), f"{user_id}/bert", "--json"))
    lines(run("pull", f"{user_id}/bert", "-o", str(copy), "--json"))
    (copy / "README.md").unlink()
    path = copy / "weights/head.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.unlink()
    path.write_bytes(damaged)
    done = run("verify", str(copy), "--json")
    assert done.returncode == 6
    said = json.loads(done.stdout)
    assert (said["ok"], said["damaged"], said["missing"]) == (False, ["weights/head.safetensors"], ["README.md"])
    hint = json.loads(done.stderr.splitlines()[-1])["error"]["hint"]
    words = shlex.split(hint.split("`")[1])
    assert words[0] == "modelkeep"
    assert run(*words[1:]).returncode == 0
    assert run("verify", str(copy)).returncode == 0


@contextlib.contextmanager
def held_in_its_first_put(
    server: Server | Target, user_id: str, home: Path, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    """A push whose bytes do not get to the store; killed in the end."""
    assert isinstance(server, Server)
    with Proxy(f"127.0.0.1:{server.ports.s3}") as proxy:
        hold = Hold(proxy.to_store("PUT"))
        proxy.troubles.append(hold)
        process = client_under_test.start(server, user_id, home, *arguments, variables=proxy.environment)
        try:
            assert hold.came.wait(120)
            yield process
        finally:
            process.kill()
            process.communicate()
            hold.release()
            proxy.settle()


def test_ctrl_c_in_a_push_says_what_then_works(
    run: Run, server: Server | Target, user_id: str, tmp_path: Path, client: Client
) -> None:
    path = write_pattern(tmp_path / "my model.bin", 40 * 1024 * 1024)
    push = ["push", str(path), f"{user_id}/big", "--json"]
    with held_in_its_first_put(server, user_id, tmp_path / "home", *push) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=90)  # a PUT may hang for 120 s
    assert (process.returncode, out) == (130, "")
    assert "Sending" in err
    again, give_up = (shlex.split(line.split(":  ")[1]) for line in err.splitlines() if line.startswith("  "))
    assert again == ["modelkeep", *push]
    (open_,) = lines(run("uploads", user_id, "--json"))
    assert give_up == ["modelkeep", "uploads", "abort", open_["upload_id"]]
    assert run(*give_up[1:], "--yes").returncode == 0
    assert lines(run("uploads", user_id, "--json")) == []
    (pushed,) = lines(run(*again[1:]))
    assert client.metadata("big", version=pushed["version"])["files"][0]["file_hash"] == file_sha256(path)


def test_an_upload_goes_on_from_another_machine(
    server: Server | Target, user_id: str, tmp_path: Path, run: Run
) -> None:
    path = write_pattern(tmp_path / "model.bin", 40 * 1024 * 1024)
    with held_in_its_first_put(server, user_id, tmp_path / "other home", "push", str(path), f"{user_id}/big"):
        pass  # it is killed
    (open_,) = lines(run("uploads", user_id, "--json"))
    (pushed,) = lines(run("uploads", "resume", open_["upload_id"], str(path), "--json"))
    assert (pushed["version"], pushed["files"][0]["file_hash"]) == ("v1", file_sha256(path))
    assert lines(run("uploads", user_id, "--json")) == []
