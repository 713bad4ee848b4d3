"""What others do at the worst moment of somebody's work: while a copy is about to land, an object about to be read, a
delete about to take what it found."""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from registry import naming
from registry.errors import NotFoundError
from registry.storage import objects

from tests.integration.harness import MIB, Fault, World, at_once, event_of, make_zip
from tests.integration.soundness import Soundness

LARGE = os.urandom(5 * MIB + 1)
SMALL = {"a.onnx": b"one", "b.txt": b"two"}
COPIES = {"small": ("PutObject", b"small"), "large": ("UploadPartCopy", LARGE)}
copied = pytest.mark.parametrize("size", COPIES)


def remake(world: World, contents: dict[str, bytes]) -> None:
    """The version under the same name, published by another upload."""
    upload = world.start_files("model", contents)
    world.receive(world.put_files(upload, contents))
    world.verify("model", "v1", contents)


@pytest.mark.case("U15", "U16")
@copied
def test_copy_that_lands_after_its_upload_was_aborted_and_the_version_made_again(sound: Soundness, size: str) -> None:
    world, (call, data) = sound.world, COPIES[size]
    upload = world.start_files("model", {"a.onnx": data})
    event = world.put_files(upload, {"a.onnx": data})
    new = {"a.onnx": b"new", "c.txt": b"new too"}

    def meanwhile() -> None:
        world.abort(upload.upload_id)
        remake(world, new)

    world.process.stall(lambda: world.receive(event), call, meanwhile, key="a.onnx")
    world.verify("model", "v1", new)
    sound.check()
    world.verify("model", "v1", new)


@pytest.mark.case("U15", "U16")
def test_member_that_lands_after_its_upload_was_aborted_and_the_version_made_again(sound: Soundness) -> None:
    world = sound.world
    archive = make_zip(SMALL)
    upload = world.start("model", archive={"size": len(archive)})
    event = world.put_archive(upload, archive)

    def meanwhile() -> None:
        with pytest.raises(NotFoundError):
            world.delete("model")  # there is nothing yet that could be deleted
        world.abort(upload.upload_id)
        remake(world, {"a.onnx": b"new"})

    world.process.stall(lambda: world.receive(event), "PutObject", meanwhile, key="a.onnx")
    world.verify("model", "v1", {"a.onnx": b"new"})
    sound.check()


@pytest.mark.case("U13", "U16")
@pytest.mark.parametrize("call", ["DeleteObjects", "BatchWriteItem", "DeleteItem"])
def test_deleter_that_stalls_until_its_version_was_made_again(sound: Soundness, call: str) -> None:
    """The sweep finishes its delete; when it goes on there is another version of that name."""
    world, new = sound.world, {"a.onnx": b"new", "c.txt": b"new too"}
    remake(world, SMALL)

    def meanwhile() -> None:
        for _ in range(2):
            world.clock.forward(130)
            world.sweep()
        remake(world, new)

    world.process.stall(lambda: world.delete("model", "v1"), call, meanwhile)
    world.verify("model", "v1", new)
    world.recover()
    world.verify("model", "v1", new)
    sound.check()


@pytest.mark.case("U8", "U11")
@copied
def test_object_replaced_between_its_event_and_its_reading(sound: Soundness, size: str) -> None:
    """And the older event comes last."""
    world, (call, data) = sound.world, COPIES[size]
    upload = world.start_files("model", {"a.onnx": data})
    event = world.put_files(upload, {"a.onnx": data})
    newer = bytes(reversed(data))
    reading = "GetObject" if size == "small" else call
    world.process.stall(
        lambda: world.receive(event), reading, lambda: world.put_files(upload, {"a.onnx": newer}), key=""
    )
    assert world.get("model") is None, "what was looked at is not what was read"
    world.receive(event_of(naming.inbox_key(world.user_id, upload.upload_id, 0)))
    world.verify("model", "v1", {"a.onnx": newer})
    world.receive(event)
    world.verify("model", "v1", {"a.onnx": newer})
    sound.check()


@pytest.mark.case("U8")
def test_archive_replaced_while_it_is_unpacked(sound: Soundness) -> None:
    world = sound.world
    old, new = (make_zip({"a.onnx": text * 10, "b.txt": text}) for text in (b"old", b"new"))
    assert len(old) == len(new)
    upload = world.start("model", archive={"size": len(old)})
    event = world.put_archive(upload, old)
    world.process.stall(lambda: world.receive(event), "PutObject", lambda: world.put_archive(upload, new), key="a.onnx")
    world.receive(event)
    world.recover()
    shown = world.get("model")
    assert shown is not None
    assert world.read(shown) in ({"a.onnx": text * 10, "b.txt": text} for text in (b"old", b"new")), "a mixture"
    sound.check()


@pytest.mark.parametrize("moment", ["before", "while"])
def test_source_that_is_deleted_before_its_bytes_are_copied(sound: Soundness, moment: str) -> None:
    """The file is pending again, and the version is made of what the client then sends."""
    world = sound.world
    source = world.upload_single("source", LARGE)
    file = {"path": "a.onnx", "size": len(LARGE), "sha256": source.files[0].file_hash}
    upload = world.start("model", files=[file])
    if moment == "before":
        world.delete("source")
        world.started.run()
    else:
        world.process.stall(world.started.run, "UploadPartCopy", lambda: world.delete("source"))
    assert world.get("model") is None
    world.receive(world.put_files(upload, {"a.onnx": LARGE}))
    world.verify("model", "v1", {"a.onnx": LARGE})
    sound.check()


@pytest.mark.case("U13")
def test_second_run_while_the_first_lives_writes_nothing(sound: Soundness) -> None:
    """And one that comes when the first has lost its lease makes the version; the first then adds nothing to it."""
    world = sound.world
    one = {"a.onnx": b"one"}
    upload = world.start_files("model", one)
    event = world.put_files(upload, one)
    before = world.objects()

    def meanwhile() -> None:
        world.receive(event)
        assert world.objects() == before
        world.clock.forward(70)
        world.receive(event)
        world.verify("model", "v1", one)

    world.process.stall(lambda: world.receive(event), "PutObject", meanwhile)
    world.verify("model", "v1", one)
    sound.check()


@pytest.mark.case("U10")
@pytest.mark.parametrize("kind", ["files", "archive"])
def test_one_event_a_hundred_times_at_once(sound: Soundness, kind: str) -> None:
    world = sound.world
    if kind == "files":
        upload = world.start_files("model", SMALL)
        event = world.put_files(upload, SMALL)
    else:
        archive = make_zip(SMALL)
        upload = world.start("model", archive={"size": len(archive)})
        event = world.put_archive(upload, archive)
    failures = [each for each in at_once([lambda: world.receive(event)] * 100) if isinstance(each, Exception)]
    assert failures == []
    shown = world.verify("model", "v1", SMALL)
    world.receive(event)
    assert world.get("model") == shown
    assert len([key for key in world.rows() if key[0] == f"P#{world.user_id}#a#m:model"]) == 1
    sound.check()


def shuffled(sound: Soundness, *, models: int, times: int) -> None:
    """Events of many uploads of all kinds, each many times, in any order, some before their object is there and some
    after their upload was aborted."""
    world, order = sound.world, random.Random(models)
    events: list[dict[str, Any]] = []
    wanted: dict[str, dict[str, bytes] | None] = {}
    for number in range(models):
        model_id = f"model-{number}"
        contents = {"a.onnx": f"{number}".encode(), "b.txt": f"of {number}".encode()}
        wanted[model_id] = contents
        if number % 5 == 1:
            archive = make_zip(contents)
            upload = world.start(model_id, archive={"size": len(archive)})
            made = [world.put_archive(upload, archive)]
        else:
            upload = world.start_files(model_id, contents)
            world.put_files(upload, contents)
            made = [event_of(naming.inbox_key(world.user_id, upload.upload_id, slot)) for slot in range(2)]
        if number % 7 == 3:
            world.abort(upload.upload_id)
            wanted[model_id] = None
        events += [made[turn % len(made)] for turn in range(times)]
    order.shuffle(events)
    assert len(events) == models * times
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(world.receive, events))
    for model_id, contents in wanted.items():
        if contents is None:
            assert world.get(model_id) is None
        else:
            world.verify(model_id, "v1", contents)
    sound.check()


@pytest.mark.case("S3", "U10", "U11")
def test_300_shuffled_events_of_15_models(sound: Soundness) -> None:
    shuffled(sound, models=15, times=20)


@pytest.mark.long
@pytest.mark.case("S3", "U10", "U11")
def test_10_000_shuffled_events_of_500_models(sound: Soundness) -> None:
    shuffled(sound, models=500, times=20)


@pytest.mark.case("U17")
def test_a_week_later_what_was_abandoned_goes_and_nothing_else(sound: Soundness) -> None:
    """Expired or fresh; referenced by a version or by none: only what is neither fresh nor referenced goes."""
    world = sound.world
    upload = world.start_files("published", SMALL)  # expired and referenced: its version stays
    world.receive(world.put_files(upload, SMALL))
    abandoned = world.start_files("abandoned", {"a.onnx": b"one", "b.txt": b"two", "never.bin": b"never sent"})
    world.receive(world.put_files(abandoned, SMALL))  # the same bytes as those of the version
    begun = world.start_files("begun", {"large.bin": bytes(40 * MIB)})
    from registry.auth import ANYBODY
    from registry.storage import multiparts
    from registry.uploads import showing

    showing.get_upload(principal=ANYBODY, upload_id=begun.upload_id, urls=True, limit=10, cursor=None, state=None)
    multiparts.create_multipart(naming.file_key(abandoned.prefix, "never.bin"))
    assert len(world.multiparts()) == 2
    world.clock.forward(7 * 86_400 + 60)
    fresh = world.start_files("fresh", {"a.onnx": b"one", "b.txt": b"two"})
    world.put_files(fresh, {"a.onnx": b"one"})
    world.upload_single("fresh-too", b"one")  # fresh and referenced
    world.sweep()
    world.verify("published", "v1", SMALL)
    world.verify("fresh-too", "v1", {"model.onnx": b"one"})
    assert world.multiparts() == []
    left = {key for key in world.objects() if "/published/" not in key and "/fresh-too/" not in key}
    assert left and all(fresh.upload_id in key or key.startswith(fresh.prefix) for key in left), left
    world.receive(world.put_files(fresh, SMALL))
    world.verify("fresh", "v1", SMALL)
    sound.check()


@pytest.mark.case("U14")
def test_20_publishers_of_one_version(sound: Soundness) -> None:
    """By three ways at once: forms, folders, and direct uploads that have all their files."""
    world = sound.world
    archive = make_zip(SMALL)
    lock, events = threading.Lock(), list[Any]()

    def direct() -> Any:
        upload = world.start_files("model", SMALL)
        event = world.put_files(upload, SMALL)
        with lock:
            events.append(event)
        return upload

    works: list[Any] = [lambda: world.upload_single("model", b"x")] * 7
    works += [lambda: world.upload_folder("model", archive)] * 7 + [direct] * 6
    results = at_once(works)
    lost = [each for each in results if isinstance(each, Exception)]
    assert len(lost) == 19
    assert {getattr(each, "code", repr(each)) for each in lost} <= {"version_exists", "version_uploading"}
    for event in events:
        world.receive(event)
    assert [each.version for each in world.list()] == ["v1"]
    sound.check()


@pytest.mark.case("U12", "U13")
def test_worker_that_died_is_followed_by_one_that_dies(sound: Soundness) -> None:
    """Each a little further on; the last one finds little left to do."""
    world = sound.world
    contents = {f"{number}.bin": bytes([number]) * 10 for number in range(6)}
    upload = world.start_files("model", contents)
    event = world.put_files(upload, contents)
    for at in (4, 9, 14, 19, 24):
        world.process.run_to_fault(lambda: world.receive(event), Fault(at))
        world.clock.forward(70)
    world.receive(event)
    world.verify("model", "v1", contents)
    sound.check()


def test_purge_of_what_a_dead_attempt_left_spares_the_next(sound: Soundness) -> None:
    """A late write under the first attempt's prefix, of a name that the second has too."""
    world = sound.world
    upload = world.start_files("model", SMALL)
    world.abort(upload.upload_id)
    remake(world, SMALL)
    objects.put_object(naming.file_key(upload.prefix, "a.onnx"), b"late")
    world.end()
    world.verify("model", "v1", SMALL)
    sound.check()
