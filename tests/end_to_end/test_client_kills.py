"""kill -9 of the client, and of the server, again and again: the same command goes on, and little moves twice."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.client import PART, file_sha256, pattern, write_pattern
from tests.end_to_end.proxying import Proxy
from tests.end_to_end.rigging import MB, PEAK_MIB, Rig
from tests.end_to_end.running import Server, running
from tests.end_to_end.troubles import Exchange, Meanwhile

pytestmark = pytest.mark.needs("process")


RATE = 15 * MB  # bytes a second: slow enough that a push has one part under way, and not two


@pytest.fixture
def rig(server: Server, user_id: str, tmp_path: Path) -> Iterator[Rig]:
    with Proxy(f"127.0.0.1:{server.ports.s3}", rate=RATE) as proxy:
        yield Rig(server, proxy, user_id, tmp_path)
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests may kill."""
    with running(tmp_path_factory.mktemp("mortal")) as server:
        yield server


@pytest.fixture
def mortal_rig(mortal: Server, user_id: str, tmp_path: Path) -> Iterator[Rig]:
    with Proxy(f"127.0.0.1:{mortal.ports.s3}") as proxy:
        yield Rig(mortal, proxy, user_id, tmp_path)
    shutil.rmtree(tmp_path)


def kill_at(rig: Rig, points: list[int], way: str, *arguments: str | Path) -> list[int]:
    """Run a command once a point, killed when so many bytes in all have passed: how many each run moved."""
    moved = []
    for point in points:
        before = getattr(rig.proxy, way)
        process = rig.start(*arguments)
        rig.proxy.at(way, point, process.kill)  # type: ignore[arg-type]
        ended = rig.finish(process)
        assert ended.status == -9, ended
        assert ended.peak_mib < PEAK_MIB
        rig.proxy.settle()
        moved.append(getattr(rig.proxy, way) - before)
    return moved


def random_points(size: int, kills: int) -> list[int]:
    """Where in the file to kill: others in each run, and printed, so that a failure can be had again."""
    points = sorted(random.Random().sample(range(1, size), kills))
    print(f"\nkilled at {points}")
    return points


def test_a_push_that_is_killed_three_times_gets_through(rig: Rig) -> None:
    push_through_kills(rig, 150 * MB, 3)


@pytest.mark.long
def test_a_2_gb_push_that_is_killed_ten_times_gets_through(rig: Rig) -> None:
    push_through_kills(rig, 2_000 * MB, 10)


def push_through_kills(rig: Rig, size: int, kills: int) -> None:
    path = write_pattern(rig.folder / "large.bin", size)
    command = ("push", path, rig.ref("large:v1"))
    moved = kill_at(rig, random_points(size, kills), "up", *command)
    rig.client.assert_invisible("large")
    ended = rig.run(*command)
    assert ended.status == 0, ended
    assert ended.peak_mib < PEAK_MIB
    print(f"sent by each: {[*moved, rig.proxy.up - sum(moved)]}; twice: {rig.proxy.up - size} of {size}")
    print(f"peak {ended.peak_mib:.0f} MiB")
    # What is under way when the client dies is lost, and nothing else.
    lost = sum(each.up for each in rig.proxy.exchanges if each.method == "PUT" and each.status is None)
    assert rig.proxy.up == size + lost
    assert lost <= kills * PART
    (file,) = rig.client.metadata("large")["files"]
    assert (file["file_size"], file["file_hash"]) == (size, file_sha256(path))
    requests = [each for each in rig.proxy.exchanges if each.method == "PUT" and each.status == 200]
    assert len(requests) == len({(each.path, each.part) for each in requests}), "a part was sent twice"


def test_a_pull_that_is_killed_three_times_gets_through(rig: Rig) -> None:
    pull_through_kills(rig, 90 * MB, 3)


@pytest.mark.long
def test_a_2_gb_pull_that_is_killed_ten_times_gets_through(rig: Rig) -> None:
    pull_through_kills(rig, 2_000 * MB, 10)


def pull_through_kills(rig: Rig, size: int, kills: int) -> None:
    files = {f"weights/{number}.bin": size // 3 for number in range(3)}
    files |= {f"small/{number}.json": 1_000 + number for number in range(40)}
    source, target = rig.folder / "source", rig.folder / "target"
    for number, (name, length) in enumerate(files.items()):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        write_pattern(source / name, length, seed=number)
    digests = {name: file_sha256(source / name) for name in files}
    assert rig.run("push", source, rig.ref("folder:v1"), home="other").status == 0
    total = sum(files.values())
    rig.proxy.forget()

    moved = []
    command = ("pull", rig.ref("folder:v1"), "-o", target)
    for point in [*random_points(total, kills - 1), total]:  # the last one when all bytes have come, or nearly
        moved += kill_at(rig, [point], "down", *command)
        for name, digest in digests.items():
            assert not (target / name).exists() or file_sha256(target / name) == digest, name
    ended = rig.run(*command)
    assert ended.status == 0, ended
    assert ended.peak_mib < PEAK_MIB
    assert {name: file_sha256(target / name) for name in files} == digests
    print(f"fetched by each: {[*moved, rig.proxy.down - sum(moved)]}; twice: {rig.proxy.down - total} of {total}")
    assert rig.proxy.down <= total + kills * PART  # of each range that is under way, a MiB
    left = {each.relative_to(target).as_posix() for each in target.rglob("*") if each.is_file()}
    assert {name for name in left if not name.startswith(".modelkeep")} == set(files)


@pytest.mark.parametrize("when", ["start", "parts", "complete", "look"])
def test_a_push_killed_at_a_request_to_the_registry_goes_on(when: str, rig: Rig) -> None:
    wanted: dict[str, Callable[[Exchange], bool]] = {
        "start": lambda each: each.path == "/ai-models/upload/direct",
        "parts": lambda each: each.path.endswith("/parts"),
        "complete": lambda each: each.path.endswith("/complete"),
        "look": lambda each: each.method == "GET" and each.path.startswith("/ai-models/upload/"),
    }
    size = 40 * MB
    path = write_pattern(rig.folder / "model.bin", size)
    command = ("push", path, rig.ref(f"{when}:v1"))
    killed: list[subprocess.Popen[str]] = []
    trouble = Meanwhile(wanted[when], lambda: killed[0].kill())
    rig.proxy.troubles.append(trouble)
    killed.append(rig.start(*command))
    ended = rig.finish(killed[0])
    rig.proxy.settle()
    assert trouble.left == 0, "the client asks for no such thing"
    assert ended.status == -9
    ended = rig.run(*command)
    assert ended.status == 0, ended
    lost = sum(each.up for each in rig.proxy.exchanges if each.method == "PUT" and each.status is None)
    assert rig.proxy.up == size + lost
    (file,) = rig.client.metadata(when)["files"]
    assert file["file_hash"] == file_sha256(path)


def restart_of(server: Server) -> tuple[Callable[[], None], threading.Thread]:
    """kill -9, by the call, so that nothing is answered any more; and the start that follows, beside the test."""
    starting = threading.Thread(target=server.start)

    def die() -> None:
        server.kill()
        starting.start()

    return die, starting


def test_a_push_goes_on_by_itself_when_the_server_is_killed_and_comes_back(mortal_rig: Rig) -> None:
    size, rig = 60 * MB, mortal_rig
    path = write_pattern(rig.folder / "model.bin", size)
    die, starting = restart_of(rig.server)
    rig.proxy.at("up", size // 3, die)
    ended = rig.run("push", path, rig.ref("model:v1"))
    starting.join()
    assert ended.status == 0, ended
    (file,) = rig.client.metadata("model")["files"]
    assert (file["file_size"], file["file_hash"]) == (size, file_sha256(path))
    assert rig.proxy.up <= size + 8 * PART


def test_a_pull_goes_on_by_itself_when_the_server_is_killed_and_comes_back(mortal_rig: Rig) -> None:
    size, rig = 60 * MB, mortal_rig
    path = write_pattern(rig.folder / "model.bin", size)
    assert rig.run("push", path, rig.ref("model:v1"), home="other").status == 0
    rig.proxy.forget()
    die, starting = restart_of(rig.server)
    rig.proxy.at("down", size // 3, die)
    ended = rig.run("pull", rig.ref("model:v1"), "-o", rig.folder / "target")
    starting.join()
    assert ended.status == 0, ended
    assert file_sha256(rig.folder / "target/model.bin") == file_sha256(path)
    assert rig.proxy.down <= size + 2 * PART


def test_a_push_waits_while_the_registry_works_and_dies(mortal_rig: Rig) -> None:
    """The server is killed when all bytes are there and `complete` has come: the command ends once it is published."""
    rig = mortal_rig
    path = rig.folder / "model.bin"
    path.write_bytes(b"".join(pattern(40 * MB)))
    die, starting = restart_of(rig.server)
    trouble = Meanwhile(lambda each: each.path.endswith("/complete"), die)
    rig.proxy.troubles.append(trouble)
    ended = rig.run("push", path, rig.ref("late:v1"))
    assert trouble.left == 0
    starting.join()
    assert ended.status == 0, ended
    assert rig.client.metadata("late")["files"][0]["file_hash"] == file_sha256(path)
