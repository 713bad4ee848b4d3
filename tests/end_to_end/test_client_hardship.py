"""Wrong clocks, full disks, rivals and no terminal."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.client import file_sha256, write_pattern
from tests.end_to_end.proxying import Proxy
from tests.end_to_end.rigging import MB, Rig
from tests.end_to_end.running import PROJECT, Server

pytestmark = pytest.mark.needs("process")
ESCAPE = "\x1b"
# Imported by Python at its start: this process's clock is off by an hour.
WRONG_CLOCK = """
import datetime, time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + {seconds}
time.time_ns = lambda: _time_ns() + {seconds} * 10**9
class datetime_(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds={seconds})
    @classmethod
    def utcnow(cls):
        return super().utcnow() + datetime.timedelta(seconds={seconds})
datetime.datetime = datetime_
"""


@pytest.fixture
def rig(server: Server, user_id: str, tmp_path: Path) -> Iterator[Rig]:
    with Proxy(f"127.0.0.1:{server.ports.s3}") as proxy:
        yield Rig(server, proxy, user_id, tmp_path)
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_is_wrong_by_an_hour_does_not_matter(seconds: int, rig: Rig) -> None:
    clock = rig.folder / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(WRONG_CLOCK.format(seconds=seconds))
    variables = {"PYTHONPATH": f"{clock}:{PROJECT / 'client/src'}"}
    size = 36 * MB
    path = write_pattern(rig.folder / "model.bin", size)
    command = ("push", path, rig.ref("model:v1"))
    process = rig.start(*command, variables=variables)
    rig.proxy.at("up", size // 2, process.kill)
    assert rig.finish(process).status == -9
    rig.proxy.settle()
    before = rig.proxy.up
    ended = rig.run(*command, variables=variables)
    assert ended.status == 0, ended
    assert rig.proxy.up - before < size
    assert rig.client.metadata()["files"][0]["file_hash"] == file_sha256(path)

    pull = ("pull", rig.ref("model:v1"), "-o", rig.folder / "target")
    rig.proxy.forget()
    process = rig.start(*pull, variables=variables)
    rig.proxy.at("down", size // 2, process.kill)
    assert rig.finish(process).status == -9
    rig.proxy.settle()
    assert rig.run(*pull, variables=variables).status == 0
    assert file_sha256(rig.folder / "target/model.bin") == file_sha256(path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "modelkeep-test", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root on Linux can make a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, *, leave: int = 0) -> None:
    """Others write so much that no more than this is free."""
    with (disk / "others").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while (free := shutil.disk_usage(disk).free) > leave:
            file.write(bytes(min(MB, free - leave)))


def prepare_pull(rig: Rig) -> dict[str, str]:
    source = rig.folder / "source"
    (source / "weights").mkdir(parents=True)
    write_pattern(source / "weights/large.bin", 40 * MB)
    write_pattern(source / "small.bin", 1 * MB, seed=1)
    assert rig.run("push", source, rig.ref("folder:v1"), home="other").status == 0
    return {each.relative_to(source).as_posix(): file_sha256(each) for each in source.rglob("*.bin")}


def assert_nothing_half(target: Path, digests: dict[str, str]) -> None:
    for name, digest in digests.items():
        assert not (target / name).exists() or file_sha256(target / name) == digest, name


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("what", ["target", "home", "both"])
def test_a_full_disk_is_said_and_the_same_command_goes_on_when_there_is_room(
    what: str, when: str, rig: Rig, small_disk: Path
) -> None:
    digests = prepare_pull(rig)
    target = (rig.folder if what == "home" else small_disk) / "target"
    home = str((rig.folder if what == "target" else small_disk) / "home")
    command = ("pull", rig.ref("folder:v1"), "-o", target)
    if when == "before":
        fill(small_disk, leave=24 * MB)
    else:
        rig.proxy.forget()
        rig.proxy.at("down", 10 * MB, lambda: fill(small_disk))
    ended = rig.run(*command, home=home)
    print(f"\n{ended.err}")
    assert ended.status == 8, ended
    assert "full" in ended.err
    assert "Traceback" not in ended.err
    assert_nothing_half(target, digests)
    (small_disk / "others").unlink()
    ended = rig.run(*command, home=home)
    assert ended.status == 0, ended
    assert {name: file_sha256(target / name) for name in digests} == digests


def test_a_limit_of_a_files_size_is_said_and_the_same_command_goes_on_without(rig: Rig) -> None:
    digests, target = prepare_pull(rig), rig.folder / "target"
    command = ("pull", rig.ref("folder:v1"), "-o", target)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (24 * MB, limits[1]))  # for the child, that inherits it
    try:
        process = rig.start(*command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    ended = rig.finish(process)
    assert ended.status == 8, ended
    assert "Traceback" not in ended.err
    assert_nothing_half(target, digests)
    ended = rig.run(*command)
    assert ended.status == 0, ended
    assert {name: file_sha256(target / name) for name in digests} == digests


def test_of_two_who_push_other_content_as_one_version_one_wins_and_the_other_is_told(rig: Rig) -> None:
    paths = [write_pattern(rig.folder / f"{name}/model.bin", 40 * MB, seed=seed) for seed, name in _folders(rig)]
    gate = threading.Barrier(2)
    ends = {}

    def push(number: int) -> None:
        gate.wait()
        ends[number] = rig.run("push", paths[number], rig.ref("model:v1"), home=f"home{number}")

    pushing = [threading.Thread(target=push, args=(number,)) for number in range(2)]
    for each in pushing:
        each.start()
    for each in pushing:
        each.join()
    assert sorted(each.status for each in ends.values()) == [0, 5], ends
    (winner,) = [number for number in ends if ends[number].status == 0]
    loser = ends[1 - winner]
    assert rig.client.metadata()["files"][0]["file_hash"] == file_sha256(paths[winner])
    print(f"\nthe loser is told: {loser.err}")
    assert rig.ref("model:v1") in loser.err or "v1" in loser.err
    assert loser.out == ""
    # What it says to do does it: no version in the name.
    assert rig.run("push", paths[1 - winner], rig.ref("model"), home=f"home{1 - winner}").status == 0
    assert rig.client.metadata(version="v2")["files"][0]["file_hash"] == file_sha256(paths[1 - winner])


def _folders(rig: Rig) -> list[tuple[int, str]]:
    for name in ("one", "two"):
        (rig.folder / name).mkdir()
    return [(1, "one"), (2, "two")]


def test_without_a_terminal_nothing_asks_and_nothing_is_coloured(rig: Rig) -> None:
    path = write_pattern(rig.folder / "model.bin", 20 * MB)
    ends = [rig.run("push", path, rig.ref("model:v1"))]
    ends.append(rig.run("pull", rig.ref("model:v1"), "-o", rig.folder / "target"))
    assert [each.status for each in ends] == [0, 0], ends
    refused = rig.run("rm", rig.ref("model:v1"))
    assert refused.status == 2, refused
    assert "--yes" in refused.err
    assert rig.client.get().status_code == 200
    ends += [refused, rig.run("rm", rig.ref("model:v1"), "--yes")]
    assert ends[-1].status == 0, ends[-1]
    assert rig.client.get().status_code == 404
    for each in ends:
        assert ESCAPE not in each.out + each.err
        assert "\r" not in each.out + each.err
