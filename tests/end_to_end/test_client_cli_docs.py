"""docs/cli.md is true: its commands run as they are printed, one after the other."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from modelkeep.cli.program import _COMMANDS

from tests.end_to_end import client_under_test, making
from tests.end_to_end.running import PROJECT, Server
from tests.end_to_end.targets import Target

pytestmark = pytest.mark.needs("process")  # any target: test_client_everywhere.py

DOCS = PROJECT / "docs/cli.md"
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_commands_of_the_docs_run(server: Server | Target, user_id: str, tmp_path: Path) -> None:
    for path, data in making.folder().items():
        target = tmp_path / "bert" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin/modelkeep"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m modelkeep "$@"\n')
    shim.chmod(0o755)
    script = "\n".join(_BLOCK.findall(DOCS.read_text()))
    assert script.count("modelkeep ") > 15
    script = script.replace("https://models.example.com", server.url).replace("alice", user_id)
    env = client_under_test.environment(server, user_id, tmp_path / "home")
    env |= {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",  # never this machine's own
        "TOKEN": env.get("MODELKEEP_TOKEN", "any.token.will-do"),
    }
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for path, data in making.folder().items():
        assert (tmp_path / "copy" / path).read_bytes() == data
    assert json.loads((tmp_path / "pushed.json").read_text())["version"] == "v2"
    assert "X-Amz" not in done.stdout + done.stderr


def test_the_docs_name_every_command_and_exit_code() -> None:
    text = DOCS.read_text()
    for name in _COMMANDS:
        assert f"`{name}" in text, name
    for code in (*range(11), 130, 141):
        assert f"\n| {code} | " in text, code
