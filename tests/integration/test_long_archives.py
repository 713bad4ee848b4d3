"""Archives that several functions work on, one after another or side by side, on the embedded servers: whoever dies
wherever, in the end there is a whole version."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.integration.harness import MIB, World, make_zip
from tests.integration.test_death import see_nothing_or, skip_if_alive
from tests.lives import Life, lives_of

BIG = os.urandom(20 * MIB + 5)
TEXT = os.urandom(10 * MIB).hex().encode()


def every(last: int) -> Any:
    """As test_death's; the normal run takes fewer, as each is several functions' work."""
    return pytest.mark.parametrize(
        "n", [pytest.param(n, marks=[] if n % 12 == 5 or n == last else [pytest.mark.long]) for n in range(1, last + 1)]
    )


@pytest.fixture
def lives(world: World, monkeypatch: pytest.MonkeyPatch) -> type[Life]:
    from registry import deadlines
    from registry.archives import resuming
    from registry.storage import copying, hashing, parts
    from registry.uploads import long_members

    copying.checks_crcs()  # the probe is not among the calls that are counted
    life = lives_of(0)
    monkeypatch.setattr(deadlines, "Deadline", life)
    monkeypatch.setattr(long_members, "_ALONE_BYTES", MIB)
    monkeypatch.setattr(parts, "PART_BYTES", 5 * MIB)
    monkeypatch.setattr(hashing, "_RANGE_BYTES", 4 * MIB)
    monkeypatch.setattr(resuming, "_EVERY_BYTES", 4 * MIB)  # less than each life gets through
    return life


def begin(world: World, zipped: bytes) -> dict[str, Any]:
    return world.put_archive(world.start("zipped", archive={"size": len(zipped)}), zipped)


MEMBERS = {"big.bin": BIG, "text.txt": TEXT}
ZIPPED = make_zip(MEMBERS, deflated=["text.txt"])


def test_a_stored_member_is_copied_in_the_store_over_several_lives(world: World, lives: type[Life]) -> None:
    zipped = make_zip({"big.bin": BIG})
    lives.looks = 5
    event = begin(world, zipped)
    copied, rounds = 0, 0
    with world.process.watched() as calls:
        world.receive(event)
        while world.started:
            rounds += 1
            assert rounds < 20
            world.receive(world.started.pop(0)[1])
        copied = calls.count()["UploadPartCopy"]
        sent = calls.count().get("UploadPart", 0)
    assert rounds >= 1
    assert (copied, sent) == (5, 0)
    assert calls.count()["CreateMultipartUpload"] == calls.count()["CompleteMultipartUpload"] == 1
    world.verify("zipped", "v1", {"big.bin": BIG})
    world.end()
    world.check_clean()


LAST_LONG = 110  # some 75; threads differ


@every(LAST_LONG)
def test_dead_work_on_long_members_is_gone_on_with(world: World, lives: type[Life], n: int) -> None:
    lives.looks = 30
    event = begin(world, ZIPPED)

    def work() -> None:
        world.receive(event)
        while world.started:
            world.receive(world.started.pop(0)[1])

    died = world.process.run_to_death(work, n)
    skip_if_alive(world, n, LAST_LONG, died=died)
    see_nothing_or(world, "zipped", "v1", MEMBERS)()
    lives.looks = 100
    world.recover()
    world.verify("zipped", "v1", MEMBERS)
    world.check_no_work()
    world.end()
    world.check_clean()


SHARED = {f"{number}.bin": bytes([number]) * 1000 for number in range(6)}
SHARED_ZIP = make_zip(SHARED, deflated=list(SHARED))


@pytest.fixture
def spread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.settings import get_settings
    from registry.uploads import long_members, sharing

    monkeypatch.setenv("REGISTRY_UNPACK_SHARES", "3")
    get_settings.cache_clear()
    monkeypatch.setattr(sharing, "_SHARE_BYTES", 1)
    monkeypatch.setattr(long_members, "_ALONE_BYTES", 1)


LAST_SHARED = 46


@every(LAST_SHARED)
def test_dead_work_in_shares_is_gone_on_with(world: World, spread: None, n: int) -> None:
    event = begin(world, SHARED_ZIP)

    def work() -> None:
        world.receive(event)
        while world.started:
            world.receive(world.started.pop(0)[1])

    died = world.process.run_to_death(work, n)
    skip_if_alive(world, n, LAST_SHARED, died=died)
    see_nothing_or(world, "zipped", "v1", SHARED)()
    if n % 2:
        world.receive(event)  # while the dead one's lease still runs
        world.clock.forward(70)
        world.receive(event)
    world.recover()
    world.verify("zipped", "v1", SHARED)
    world.check_no_work()
    world.end()
    world.check_clean()
    world.verify("zipped", "v1", SHARED)


LAST_BAD = 34


@every(LAST_BAD)
def test_dead_refusal_by_a_share_leaves_nothing(world: World, spread: None, n: int) -> None:
    bad = bytearray(make_zip(SHARED))
    bad[bad.index(b"\x04" * 1000)] ^= 1
    upload = world.start("bad", archive={"size": len(bad)})
    event = world.put_archive(upload, bytes(bad))

    def work() -> None:
        world.receive(event)
        while world.started:
            world.receive(world.started.pop(0)[1])

    died = world.process.run_to_death(work, n)
    world.recover()
    from registry.records import UploadRow

    now = UploadRow.find(f"A#{upload.upload_id}")
    assert now is not None
    assert (now.status, now.code) == ("failed", "archive_bad_crc")
    assert [key for key in world.objects() if key.startswith("models/")] == []
    world.check_no_work()
    world.end()
    world.check_clean()
    skip_if_alive(world, n, LAST_BAD, died=died)
