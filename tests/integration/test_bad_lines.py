"""Connections that break, in the middle of what they carry, between clients and store and between functions and theirs:
by sockets, through the proxy of the end-to-end tests."""

from __future__ import annotations

import hashlib
import itertools
import random
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from registry import settings
from registry.auth import ANYBODY
from registry.errors import InvalidError
from registry.uploads import completing, showing

from local.servers import Stack
from tests.end_to_end.proxying import Proxy
from tests.end_to_end.troubles import Cut, CutError, Exchange, Reset, Way
from tests.integration.harness import MIB, World, event_of
from tests.integration.soundness import Soundness

PART = 5 * MIB


class Cutter(Cut):
    """Any number of times; how often, it says."""

    def __init__(self, wants: Callable[[Exchange], bool], way: Way, after: int) -> None:
        super().__init__(wants, way, after, times=10**9)
        self.struck = 0

    def passing(self, way: Way, done: int, chunk: bytes) -> bytes:
        try:
            return super().passing(way, done, chunk)
        except CutError:
            self.struck += 1
            raise


def reconnect() -> None:
    from registry import records
    from registry.storage import client

    client.forget_clients()
    records.reset_connection()


@pytest.fixture
def proxy(sound: Soundness, stack: Stack) -> Iterator[Proxy]:
    """What everybody's bytes pass, the functions' and the clients'."""
    with Proxy(urlsplit(stack.environment()["AWS_ENDPOINT_URL_S3"]).netloc) as proxy:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**proxy.environment, "REGISTRY_PART_BYTES": str(PART)}.items():
                patch.setenv(name, value)
            settings.get_settings.cache_clear()
            reconnect()
            yield proxy
        settings.get_settings.cache_clear()
        reconnect()


def every(count: int, wants: Callable[[Exchange], bool] = lambda exchange: True) -> Callable[[Exchange], bool]:
    """Of the exchanges that are wanted, one in so many; the first ones not."""
    numbers = itertools.count(1)
    return lambda exchange: wants(exchange) and next(numbers) % count == 0


def look(upload: Any) -> Any:
    return showing.get_upload(
        principal=ANYBODY, upload_id=upload.upload_id, urls=True, limit=10, cursor=None, state=None
    )[0].files[0]


def is_part(exchange: Exchange) -> bool:
    return exchange.method == "PUT" and exchange.part is not None and exchange.signature is not None


@pytest.mark.case("U1")
def test_put_that_dies_half_way_leaves_nothing_and_its_url_is_good_for_another(sound: Soundness, proxy: Proxy) -> None:
    from registry import naming

    world, data = sound.world, random.Random(1).randbytes(4 * MIB)
    upload = world.start_files("model", {"a.bin": data})
    put = look(upload).put
    proxy.troubles.append(Cut(lambda exchange: exchange.method == "PUT", "up", len(data) // 2))
    with pytest.raises(requests.ConnectionError):
        requests.put(put.url, data=data, headers=put.headers, timeout=60)
    assert proxy.troubles[0].left == 0
    assert world.objects() == []  # so that there is no event either
    assert look(upload).status == "pending"
    assert requests.put(put.url, data=data, headers=put.headers, timeout=60).status_code == 200
    world.receive(event_of(naming.inbox_key(world.user_id, upload.upload_id, 0)))
    world.verify("model", "v1", {"a.bin": data})
    sound.check()


def part_of(model: int, number: int, size: int) -> bytes:
    return random.Random(f"{model} {number}").randbytes(size)


def send(world: World, model: int, size: int) -> tuple[str, int]:
    """A client that sends what is missing until all is there; the file's digest, and how many parts broke."""
    digest, broken = hashlib.sha256(), 0
    sizes = [min(PART, size - start) for start in range(0, size, PART)]
    for number, each in enumerate(sizes, 1):
        digest.update(part_of(model, number, each))
    upload = world.start(f"model-{model}", files=[{"path": "weights.bin", "size": size}])
    for _ in range(10):
        for part in look(upload).multipart.parts:
            try:
                data = part_of(model, part.number, sizes[part.number - 1])
                assert requests.put(part.url, data=data, headers=part.headers, timeout=300).status_code == 200
            except requests.ConnectionError:
                broken += 1
        with suppress(InvalidError):  # parts are missing
            completing.complete_upload(principal=ANYBODY, upload_id=upload.upload_id)
            return digest.hexdigest(), broken
    raise AssertionError("it never got all its parts through")


def parallel_multiparts(sound: Soundness, proxy: Proxy, *, count: int, size: int, one_in: int) -> None:
    """Of the parts that clients send one in so many breaks off, and of all that functions ask for one in a hundred:
    few enough that none does five times in a row, which is where botocore gives up."""
    world = sound.world
    cuts = Cutter(every(one_in, is_part), "up", MIB)
    resets = Reset(every(100, lambda exchange: not is_part(exchange)), times=10**9)
    proxy.troubles += [cuts, resets]
    with ThreadPoolExecutor(count) as pool:
        sent = list(pool.map(lambda model: send(world, model, size), range(count)))
    proxy.troubles.clear()
    assert sum(broken for _, broken in sent) == cuts.struck > 0
    assert resets.left < 10**9
    for model, (digest, _) in enumerate(sent):
        assert world.files(f"model-{model}", "v1") == {"weights.bin": digest}
    sound.check()


@pytest.mark.case("S2", "U2")
def test_20_parallel_multiparts_of_which_some_connections_break(sound: Soundness, proxy: Proxy) -> None:
    parallel_multiparts(sound, proxy, count=20, size=PART + 2 * MIB, one_in=10)


@pytest.mark.long
@pytest.mark.case("S2", "U2")
def test_50_parallel_multiparts_of_100_mib_of_which_1_in_100_connections_break(sound: Soundness, proxy: Proxy) -> None:
    parallel_multiparts(sound, proxy, count=50, size=100 * MIB, one_in=100)


@pytest.mark.case("U22")
def test_functions_go_on_where_their_store_broke_off(sound: Soundness, proxy: Proxy) -> None:
    """A large member is read through connections that end in the middle; every third other exchange, with the table
    too, breaks before it is heard."""
    world, data = sound.world, random.Random(2).randbytes(6 * MIB)
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("large.bin", data)
        archive.writestr("small.txt", b"small")
    upload = world.start("model", archive={"size": len(target.getvalue())})
    event = world.put_archive(upload, target.getvalue())
    reads = Cutter(lambda exchange: exchange.method == "GET" and exchange.host == proxy.store, "down", 5 * MIB // 2)
    others = Reset(every(3, lambda exchange: exchange.method != "GET"), times=1_000)
    proxy.troubles += [reads, others]
    world.receive(event)
    proxy.troubles.clear()
    assert reads.struck >= 2
    assert others.left < 1_000
    world.verify("model", "v1", {"large.bin": data, "small.txt": b"small"})
    sound.check()


def test_slow_store_outlasts_no_lease(sound: Soundness, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease of a second, and a store that takes several: it is renewed meanwhile, or another goes on; never both."""
    monkeypatch.setenv("REGISTRY_LEASE_SECONDS", "1")
    settings.get_settings.cache_clear()
    world, data = sound.world, random.Random(3).randbytes(4 * MIB)
    upload = world.start_files("model", {"a.bin": data})
    event = world.put_files(upload, {"a.bin": data})
    proxy.rate = 3 * MIB
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(world.receive, [event] * 4))
    proxy.rate = None
    world.recover()
    world.verify("model", "v1", {"a.bin": data})
    sound.check()
