"""Versions of thousands of files: how they begin, and how they go."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.harness import World, sha256


def publish_many(world: World, count: int) -> Any:
    """A published version of `count` tiny files, made directly."""
    from registry import naming
    from registry.catalog import publishing
    from registry.files import StoredFile
    from registry.storage import objects
    from registry.uploads import ending

    upload = world.start_files("large", {"first": b"0"})

    def put(number: int) -> StoredFile:
        data = str(number).encode()
        path = f"folder {number % 7}/file-{number:05d}.bin"
        return StoredFile(path, len(data), sha256(data), objects.put_object(naming.file_key(upload.prefix, path), data))

    with ThreadPoolExecutor(16) as pool:
        stored = list(pool.map(put, range(count)))
    row = publishing.publish(upload, stored)
    assert row is not None
    ending.finish(upload, row, stored)
    return row


def check_gone(world: World) -> None:
    assert world.get("large") is None
    assert world.list() == []
    assert world.objects() == []
    left = {pk.split("#")[0] for pk, _ in world.rows()}
    assert left <= {"M", "WK"}, "only the tombstone and what looks at it once more"
    again = world.upload_single("large", b"again")
    assert world.read(again) == {"model.onnx": b"again"}
    world.end()
    world.check_clean()


def delete_many(world: World, count: int) -> None:
    began = time.monotonic()
    publish_many(world, count)
    made = time.monotonic()
    assert len(world.files("large", "v1")) == count
    listed = time.monotonic()
    with world.process.watched() as calls:
        answer, gone = world.delete("large")
    print(
        f"\n{count} files: made in {made - began:.1f} s, deleted in {time.monotonic() - listed:.1f} s: {calls.count()}"
    )
    assert gone
    assert answer.status == "deleted"
    check_gone(world)


def test_delete_of_1_000_files(world: World) -> None:
    delete_many(world, 1_000)


@pytest.mark.long
def test_delete_of_5_000_files(world: World) -> None:
    delete_many(world, 5_000)


@pytest.mark.case("U12")
@pytest.mark.parametrize("n", [4, 20])
def test_delete_that_dies_is_finished_by_the_sweep(world: World, n: int) -> None:
    publish_many(world, 250)
    assert world.process.run_to_death(lambda: world.delete("large"), n)
    assert world.get("large") is None
    world.recover(rounds=1)
    assert world.objects() == []
    check_gone(world)


@pytest.mark.case("U18")
def test_delete_where_the_store_fails_keeps_its_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """an object that the store keeps is looked for again."""
    from registry.storage import objects

    publish_many(world, 20)
    kept = objects._delete_batch
    monkeypatch.setattr(objects, "_delete_batch", lambda keys: (_ for _ in ()).throw(RuntimeError("kept")))
    with pytest.raises(RuntimeError):
        world.delete("large")
    world.recover(rounds=1)
    assert len(world.objects()) == 20
    assert world.get("large") is None
    monkeypatch.setattr(objects, "_delete_batch", kept)
    world.recover(rounds=1)
    check_gone(world)


@pytest.mark.parametrize("known", [False, pytest.param(True, marks=pytest.mark.long)], ids=["new", "some known"])
def test_start_of_5_000_files(world: World, known: bool) -> None:
    """Each digest is looked up; that is what a start costs."""
    digests = [secrets.token_hex(32) for _ in range(5_000)]
    if known:
        row = publish_many(world, 300)
        found = list(world.files("large", row.version).values())
        digests[: len(found)] = found
    files = [{"path": f"f/{number:05d}", "size": 3, "sha256": digest} for number, digest in enumerate(digests)]
    began = time.monotonic()
    with world.process.watched() as calls:
        upload = world.start("many", files=files)
    print(f"\nstart of 5,000 files: {time.monotonic() - began:.1f} s, {calls.consumed:.0f} units, {calls.count()}")
    assert calls.count()["Query"] == 5_000
    assert sum(calls.table_calls().values()) < 5_000 + 40
    assert upload.file_count == 5_000
    assert bool(upload.source_rows) == known
