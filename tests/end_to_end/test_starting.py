"""What a person at the terminal sees of `make run`: its words, its Ctrl-C, and its refusals."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from local.ports import Ports
from tests.end_to_end.client import Client
from tests.end_to_end.running import PROJECT, Server, environment, running

pytestmark = pytest.mark.needs("process")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local", *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environment(), capture_output=True, text=True, timeout=300)


def test_ctrl_c_ends_everything_and_the_data_stays(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        client = Client(server.url, "somebody")
        assert client.single("model.pkl", b"bytes").status_code == 200
        main = server.process
        processes = [main, *main.children(recursive=True)]
        assert len(processes) > 2
        main.send_signal(signal.SIGINT)
        assert main.wait(120) == 0
        _, alive = psutil.wait_procs(processes, timeout=60)
        assert not alive
        assert server.ports.taken() == {}
        said = server.log.read_text()
        assert "Traceback" not in said
        server.start()
        assert client.content("model.pkl") == b"bytes"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_what_the_banner_says_works(server: Server, tmp_path: Path) -> None:
    said = server.log.read_text()
    assert f"API    {server.url}\n" in said
    docs = re.search(r"Docs   (\S+)", said)
    assert docs is not None
    assert requests.get(docs[1], timeout=60).status_code == 200
    paths = requests.get(f"{server.url}/openapi.json", timeout=60).json()["paths"]
    assert "/ai-models/upload/single" in paths
    example = re.search(r"Try    (curl .*)", said)
    assert example is not None
    (tmp_path / "README.md").write_text("# Read me")
    done = subprocess.run(shlex.split(example[1]), cwd=tmp_path, capture_output=True, timeout=60)
    assert b'"status":"ready"' in done.stdout, done
    requests.delete(f"{server.url}/ai-models/alice/first", timeout=60)


def test_only_this_machine_can_connect(server: Server) -> None:
    listening = {
        connection.laddr
        for process in [server.process, *server.process.children(recursive=True)]
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert server.ports.api in {address.port for address in listening}
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_taken_port_a_used_folder_and_an_open_address_are_refused_in_words(server: Server, tmp_path: Path) -> None:
    taken = run("--port", str(server.ports.api), "--data", str(tmp_path / "data"))
    assert taken.returncode == 1
    assert f"port {server.ports.api}" in taken.stderr
    used = run("--port", str(Ports.free().api), "--data", str(server.data))
    assert used.returncode == 1
    assert str(server.process.pid) in used.stderr
    opened = run("--host", "0.0.0.0", "--data", str(tmp_path / "data"))
    assert opened.returncode == 2
    assert "authentication is off" in opened.stderr
    for answer in (taken, used, opened):
        assert "Traceback" not in answer.stderr
    assert requests.get(f"{server.url}/ai-models/nobody", timeout=60).json() == []
