"""How endpoints are ordered, which addresses may be listened on, and what is said about ports and folders."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import APIRouter

from local import __main__ as command
from local import ports
from local.app import sort_routers
from local.data_folder import DataFolder, DataFolderInUseError
from local.ports import LOOPBACK, Ports, PortTakenError

PROJECT = Path(__file__).parents[2]


def router(path: str) -> APIRouter:
    router = APIRouter()
    router.add_api_route(path, lambda: None)
    return router


def test_fixed_segments_come_before_parameters():
    paths = [
        "/ai-models/{user_id}/{model_id}/files",
        "/ai-models/{user_id}/{model_id}",
        "/ai-models/{user_id}",
        "/ai-models/search/{user_id}",
        "/ai-models/upload/{upload_id}",
        "/ai-models/upload/{upload_id}/files",
        "/ai-models/upload/single",
    ]
    in_order = [route.path for one in sort_routers([router(path) for path in paths]) for route in one.routes]
    assert in_order.index("/ai-models/upload/single") < in_order.index("/ai-models/upload/{upload_id}")
    for fixed in ("/ai-models/upload/{upload_id}", "/ai-models/search/{user_id}"):
        assert in_order.index(fixed) < in_order.index("/ai-models/{user_id}/{model_id}")
    upload_files, files = "/ai-models/upload/{upload_id}/files", "/ai-models/{user_id}/{model_id}/files"
    assert in_order.index(upload_files) < in_order.index(files)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_no_other_address_than_loopback_is_listened_on(host, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["local", "--host", host])
    with pytest.raises(SystemExit) as exit_:
        command.main()
    assert exit_.value.code == 2
    assert "authentication is off" in capsys.readouterr().err


def test_a_taken_port_is_named_with_its_owner_and_the_way_out():
    wanted = Ports.free()
    with socket.socket() as listener:
        listener.bind((LOOPBACK, wanted.s3))
        listener.listen()
        with pytest.raises(
            PortTakenError, match=rf"port {wanted.s3} \(ours for s3\) is taken by (?s:.*)MODELKEEP_PORT="
        ):
            wanted.require_free()
    wanted.require_free()


HOLD_A_RUN = """
import sys
from local import ports
ports._FREE = [int(first) for first in sys.argv[1:]]
print(ports.Ports.free().api, flush=True)
input()
"""


def test_free_ports_are_given_to_one_process_alone(monkeypatch):
    monkeypatch.setattr(ports, "_keepers", [])
    # Where no other process of ours looks for some; nor is its admin gRPC, 10,008 further on, in another's run.
    monkeypatch.setattr(ports, "_FREE", range(9_006, 9_986, 20))
    firsts = [Ports.free().api - 1 for _ in range(2)]
    for keeper in ports._keepers:
        keeper.close()
    monkeypatch.setattr(ports, "_FREE", firsts)
    command = [sys.executable, "-c", HOLD_A_RUN, *map(str, firsts)]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        its = int(other.stdout.readline())
        assert {its - 1, Ports.free().api - 1} == set(firsts)
        with pytest.raises(PortTakenError):
            Ports.free()
        other.communicate("\n")
    assert Ports.free().api == its


@pytest.mark.parametrize("base", [0, 80, 60_000])
def test_a_base_that_leaves_no_room_is_refused(base):
    with pytest.raises(ValueError, match="between 1024 and"):
        Ports.from_base(base)


def test_a_data_folder_has_one_user_at_a_time_and_keeps_its_credentials(tmp_path: Path):
    first, second = DataFolder(tmp_path / "data"), DataFolder(tmp_path / "data")
    first.lock()
    with pytest.raises(DataFolderInUseError, match="in use by another Modelkeep"):
        second.lock()
    first.unlock()
    second.lock()
    assert first.credentials() == second.credentials()
    assert (tmp_path / "data" / "credentials.json").stat().st_mode & 0o777 == 0o600
    second.unlock()
