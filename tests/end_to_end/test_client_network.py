"""A network that lies, forgets and goes away: pushes and pulls get through, or say what is wrong, by themselves."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelkeep import connections
from modelkeep.errors import UnreachableError

from tests.end_to_end.client import PART, file_sha256, write_pattern
from tests.end_to_end.conftest import s3_client
from tests.end_to_end.proxying import Proxy
from tests.end_to_end.rigging import MB, Ended, Rig
from tests.end_to_end.running import Server, running
from tests.end_to_end.troubles import Answer, Cut, Exchange, Flip, Trouble, Way

pytestmark = pytest.mark.needs("process")
SIZE = 36 * MB  # three parts


@pytest.fixture
def rig(server: Server, user_id: str, tmp_path: Path) -> Iterator[Rig]:
    with Proxy(f"127.0.0.1:{server.ports.s3}") as proxy:
        yield Rig(server, proxy, user_id, tmp_path)
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose presigned URLs live four seconds: as these are whole ones, of one that was counted already, three
    are left in which a client has to come. A single one could be over on a busy machine each time that it does."""
    with running(tmp_path_factory.mktemp("hasty"), settings={"REGISTRY_URL_EXPIRES_SECONDS": "4"}) as server:
        yield server


def pushed(rig: Rig) -> Path:
    """A file, and its version as another machine pushed it."""
    path = write_pattern(rig.folder / "model.bin", SIZE)
    ended = push(rig, path, home="other")
    assert ended.status == 0, ended
    rig.proxy.forget()
    return path


def push(rig: Rig, path: Path, **options: Any) -> Ended:
    return rig.run("push", path, rig.ref("model:v1"), **options)


def pull(rig: Rig) -> Ended:
    return rig.run("pull", rig.ref("model:v1"), "-o", rig.folder / "target")


def assert_arrived(rig: Rig, path: Path, way: Way) -> None:
    if way == "up":
        (file,) = rig.client.metadata()["files"]
        assert (file["file_size"], file["file_hash"]) == (path.stat().st_size, file_sha256(path))
    else:
        assert file_sha256(rig.folder / "target" / path.name) == file_sha256(path)


# -- URLs that die -----------------------------------------------------------------------------------------------------


def many_files(folder: Path) -> dict[str, str]:
    """120 files of 50 kB: their digests by path."""
    folder.mkdir()
    for number in range(120):
        write_pattern(folder / f"{number}.bin", 50_000, seed=number)
    return digests_in(folder)


def digests_in(folder: Path) -> dict[str, str]:
    return {each.name: file_sha256(each) for each in folder.glob("*.bin")}


def refusals(proxy: Proxy) -> int:
    return [each.status for each in proxy.exchanges].count(403)


@pytest.mark.parametrize("way", ["up", "down"])
def test_fresh_urls_are_asked_for_when_all_that_there_are_have_died(way: Way, rig: Rig) -> None:
    """With the credentials that signed them: long before their time."""
    path = write_pattern(rig.folder / "model.bin", SIZE) if way == "up" else pushed(rig)
    stores = rig.proxy.to_store("PUT" if way == "up" else "GET")

    def dies(exchange: Exchange) -> bool:
        if stores(exchange):
            rig.proxy.expire()
        return stores(exchange)

    rig.proxy.troubles.append(Trouble(dies))  # at the first request to the store
    ended = push(rig, path) if way == "up" else pull(rig)
    assert ended.status == 0, ended
    assert refusals(rig.proxy) > 0
    assert_arrived(rig, path, way)


@pytest.mark.parametrize("way", ["up", "down"])
def test_many_urls_that_die_in_the_middle_are_asked_for_again(way: Way, rig: Rig) -> None:
    source, target = rig.folder / "source", rig.folder / "target"
    digests = many_files(source)
    if way == "down":
        assert push(rig, source, home="other").status == 0
    rig.proxy.forget()
    rig.proxy.rate = 3 * MB
    rig.proxy.at(way, 2 * MB, rig.proxy.expire)
    ended = push(rig, source) if way == "up" else pull(rig)
    assert ended.status == 0, ended
    assert refusals(rig.proxy) > 0
    rig.proxy.rate = None
    if way == "up":
        assert {each["filename"]: each["file_hash"] for each in rig.client.get(route="/files").json()} == digests
    else:
        assert digests_in(target) == digests


def test_urls_that_live_less_long_than_the_transfer_are_enough(hasty: Server, user_id: str, tmp_path: Path) -> None:
    """Here the store itself refuses them."""
    source, target = tmp_path / "source", tmp_path / "target"
    digests = many_files(source)
    with Proxy(f"127.0.0.1:{hasty.ports.s3}", rate=1 * MB) as proxy:  # 6 s each way
        rig = Rig(hasty, proxy, user_id, tmp_path)
        ended = push(rig, source)
        assert ended.status == 0, ended
        refused = refusals(proxy)
        ended = pull(rig)
        assert ended.status == 0, ended
        assert digests_in(target) == digests
        print(f"\nrefused by the store: {refused} going up, {refusals(proxy) - refused} coming down")
        assert refused > 0
        assert refusals(proxy) > refused
    shutil.rmtree(tmp_path)


# -- bytes that change on the way --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1 * MB, 40 * MB])
def test_a_byte_flipped_on_the_way_up_is_refused_by_the_store_and_sent_again(size: int, rig: Rig) -> None:
    path = write_pattern(rig.folder / "model.bin", size)
    rig.proxy.troubles.append(Flip(rig.proxy.to_store("PUT"), "up", 500_000))
    ended = push(rig, path)
    assert ended.status == 0, ended
    refused = [each for each in rig.proxy.exchanges if each.method == "PUT" and each.status == 400]
    assert len(refused) == 1
    assert rig.proxy.up == size + refused[0].up
    assert_arrived(rig, path, "up")
    assert pull(rig).status == 0
    assert_arrived(rig, path, "down")


def test_a_byte_flipped_on_the_way_down_is_fetched_once_more(rig: Rig) -> None:
    path = pushed(rig)
    rig.proxy.troubles.append(Flip(rig.proxy.to_store("GET"), "down", 300_000))
    ended = pull(rig)
    assert ended.status == 0, ended
    assert_arrived(rig, path, "down")
    assert SIZE < rig.proxy.down <= 2 * SIZE


def test_a_file_that_always_comes_damaged_is_refused_and_gets_no_name(rig: Rig) -> None:
    path = pushed(rig)
    rig.proxy.troubles.append(Flip(rig.proxy.to_store("GET"), "down", 300_000, times=1_000))
    ended = pull(rig)
    assert ended.status == 6, ended
    assert "model.bin" in ended.err
    assert not (rig.folder / "target/model.bin").exists()
    assert rig.proxy.down <= 2 * SIZE + PART
    # Nothing of it is kept as if it were good.
    rig.proxy.troubles.clear()
    assert pull(rig).status == 0
    assert_arrived(rig, path, "down")


def test_a_byte_flipped_in_the_store_is_found_and_the_other_files_are_good(rig: Rig) -> None:
    source, target = rig.folder / "source", rig.folder / "target"
    source.mkdir()
    for number, name in enumerate(["a.bin", "b.bin", "c.bin"]):
        write_pattern(source / name, 20 * MB, seed=number)
    assert rig.run("push", source, rig.ref("folder:v1"), home="other").status == 0
    store, bucket = s3_client(rig.server)
    key = next(each["file_path"] for each in rig.client.metadata("folder")["files"] if each["filename"] == "b.bin")
    damaged = bytearray((source / "b.bin").read_bytes())
    damaged[12_345_678] ^= 1
    store.put_object(Bucket=bucket, Key=key, Body=bytes(damaged))
    ended = rig.run("pull", rig.ref("folder:v1"), "-o", target)
    assert ended.status == 6, ended
    assert "b.bin" in ended.err
    assert not (target / "b.bin").exists()
    for each in target.glob("*.bin"):
        assert file_sha256(each) == file_sha256(source / each.name)


# -- a network that goes away ------------------------------------------------------------------------------------------


def away(proxy: Proxy, seconds: float) -> threading.Thread:
    def leave() -> None:
        with proxy.offline():
            time.sleep(seconds)

    return threading.Thread(target=leave)


@pytest.mark.parametrize("way", ["up", "down"])
def test_offline_for_some_seconds_in_the_middle_needs_nobody(way: Way, rig: Rig) -> None:
    path = write_pattern(rig.folder / "model.bin", SIZE) if way == "up" else pushed(rig)
    leaving = away(rig.proxy, 4)
    rig.proxy.at(way, SIZE // 3, leaving.start)
    ended = push(rig, path) if way == "up" else pull(rig)
    leaving.join()
    assert ended.status == 0, ended
    assert getattr(rig.proxy, way) <= SIZE + (8 if way == "up" else 1) * PART
    assert_arrived(rig, path, way)


@pytest.mark.case("U22")
@pytest.mark.parametrize("way", ["up", "down"])
def test_connections_that_break_and_servers_that_are_busy_are_asked_again(way: Way, rig: Rig) -> None:
    path = write_pattern(rig.folder / "model.bin", SIZE) if way == "up" else pushed(rig)
    stores = rig.proxy.to_store("PUT" if way == "up" else "GET")
    troubles: list[Trouble] = [
        Cut(stores, way, 2 * MB, times=2),
        Answer(stores, 503, headers={"Retry-After": "1"}, body=b"<Error><Code>SlowDown</Code></Error>", times=2),
        Answer(lambda each: each.host != rig.proxy.store, 503, headers={"Retry-After": "1"}, times=2),
        Answer(lambda each: each.host != rig.proxy.store, 429, headers={"Retry-After": "1"}, times=1),
    ]
    rig.proxy.troubles += troubles
    ended = push(rig, path) if way == "up" else pull(rig)
    assert ended.status == 0, ended
    assert [each.left for each in troubles] == [0, 0, 0, 0]
    assert_arrived(rig, path, way)


def test_nobody_there_is_said_in_time(rig: Rig) -> None:
    with rig.proxy.offline():
        ended = rig.run("info", rig.ref("model"))
    assert ended.status == 7, ended
    assert "can't be reached" in ended.err
    assert "doctor" in ended.err


def test_who_waits_long_is_told_now_and_then_what_for(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(connections, "_told", [-1e9])

    def ask() -> None:
        raise UnreachableError("models.example.com can't be reached")

    with pytest.raises(UnreachableError):
        connections.patiently(ask, seconds=2)
    assert caplog.messages == []
    with pytest.raises(UnreachableError):
        connections.patiently(ask, seconds=300)
    assert set(caplog.messages) == {"models.example.com can't be reached; still trying"}
    assert 300 / (30 + 20) - 1 <= len(caplog.messages) <= 300 / 30 + 1


def test_a_command_that_waits_says_so(rig: Rig) -> None:
    for options in ([], ["--quiet"]):
        later = Answer(lambda each: each.host != rig.proxy.store, 503, headers={"Retry-After": "4"}, times=1)
        rig.proxy.troubles.append(later)
        ended = rig.run("ls", rig.user_id, *options)
        assert (ended.status, later.left) == (0, 0), ended
        assert ended.err.count("still trying") == (0 if options else 1), ended
