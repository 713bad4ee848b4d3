"""`modelkeep login` and what follows, at a registry that wants tokens of an issuer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import requests

from tests.end_to_end.running import PROJECT, Server, running
from tests.issuer import Issuer

pytestmark = pytest.mark.needs("process")
Run = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def guarded(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The registry with an issuer; at the end its log must hold no token."""
    folder = tmp_path_factory.mktemp("guarded")
    with running(folder, "--issuer", issuer.url, "--audience", issuer.audience) as server:
        yield server
    assert "eyJ" not in server.log.read_text()  # how every JWT begins


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """`modelkeep ARGUMENTS` of one who has no keyring; nothing that it says has a token or a URL's signature in it."""
    said = []

    def run(*arguments: str, stdin: str = "", **more: str) -> CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELKEEP_")}
        env = kept | {
            "PYTHONPATH": str(PROJECT / "client/src"),
            "MODELKEEP_HOME": str(tmp_path / "home"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            **more,
        }
        command = [sys.executable, "-m", "modelkeep", *arguments]
        done = subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, timeout=120)
        said.append(done.stdout + done.stderr)
        return done

    yield run
    assert "eyJ" not in "".join(said)
    assert "X-Amz" not in "".join(said)


def document(done: CompletedProcess[str]) -> Any:
    return json.loads(done.stdout.splitlines()[0])


def upload(server: Server, token: str, user_id: str) -> None:
    answer = requests.post(
        f"{server.url}/ai-models/upload/single",
        data={"user_id": user_id, "model_id": "churn", "name": "Churn", "version": "v1"},
        files={"file": ("model.pkl", b"weights")},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text


def test_a_day_of_one_who_signs_in(guarded: Server, issuer: Issuer, run: Run, tmp_path: Path) -> None:
    token = issuer.token("grace")
    upload(guarded, token, "grace")
    refused = run("ls", "grace", "--url", guarded.url, "--json")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "modelkeep login" in json.loads(refused.stderr)["error"]["hint"]
    done = run("login", "--url", guarded.url, "--token-stdin", "--json", stdin=token)
    assert document(done) == {"url": guarded.url, "token": "file"}
    assert (tmp_path / "home/tokens.json").stat().st_mode & 0o777 == 0o600
    who = document(run("whoami", "--json"))
    assert (who["claims"]["sub"], who["accepted"]) == ("grace", True)
    assert [document(run(*words, "--json"))["model_id"] for words in (["ls"], ["info", "grace/churn"])] == ["churn"] * 2
    checks = {check["name"]: check["status"] for check in document(run("doctor", "--json"))["checks"]}
    assert checks["token"] == checks["store"] == "ok"  # by a file of hers
    assert run("logout").returncode == 0
    assert run("ls", "grace").returncode == 4
    assert token not in (tmp_path / "home/tokens.json").read_text()


def test_tokens_that_are_not_accepted_are_not_stored(guarded: Server, issuer: Issuer, run: Run, tmp_path: Path) -> None:
    expired = issuer.token("grace", exp=int(time.time()) - 3600)
    done = run("login", "--url", guarded.url, "--token-stdin", stdin=expired)
    assert done.returncode == 4
    assert "expires" in done.stderr
    assert not (tmp_path / "home").exists()
    doctor = run("doctor", "--url", guarded.url, "--json", MODELKEEP_TOKEN=expired)
    assert doctor.returncode == 7
    token = next(check for check in document(doctor)["checks"] if check["name"] == "token")
    assert (token["status"], "expired 6" in token["detail"]) == ("fail", True)  # 60 minutes, and what has passed since


def test_another_ones_models_are_not_there(guarded: Server, issuer: Issuer, run: Run) -> None:
    upload(guarded, issuer.token("heidi"), "heidi")
    mine = {"MODELKEEP_URL": guarded.url, "MODELKEEP_TOKEN": issuer.token("ivan")}
    assert run("ls", "heidi", **mine).stdout == ""
    assert run("info", "heidi/churn", **mine).returncode == 3
    assert run("rm", "heidi/churn", "--yes", **mine).returncode == 3
    owners = {"MODELKEEP_URL": guarded.url, "MODELKEEP_TOKEN": issuer.token("heidi")}
    assert document(run("info", "heidi/churn", "--json", **owners))["version"] == "v1"
