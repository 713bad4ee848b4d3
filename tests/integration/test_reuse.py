"""A version's name used again: nothing of the earlier attempt gets into the later one."""

from __future__ import annotations

from typing import Any

import pytest
from registry import naming
from registry.storage import objects

from tests.integration.harness import World, event_of

pytestmark = pytest.mark.case("U16")

OLD = {"a.onnx": b"old a", "b.txt": b"old b"}
NEW = {"a.onnx": b"new a", "c.txt": b"new c"}


def publish(world: World, contents: dict[str, bytes]) -> Any:
    upload = world.start_files("model", contents)
    world.receive(world.put_files(upload, contents))
    world.verify("model", "v1", contents)
    return upload


def write_late(prefix: str) -> list[str]:
    """What a worker of an attempt that has ended may still write."""
    keys = [prefix + path for path in ("a.onnx", "c.txt", "late.bin")]
    for key in keys:
        objects.put_object(key, b"late")
    return keys


def abort(world: World) -> Any:
    upload = world.start_files("model", OLD)
    world.put_files(upload, OLD)
    world.abort(upload.upload_id)
    return upload


def fail(world: World) -> Any:
    upload = world.start("model", archive={"size": 9})
    world.receive(world.put_archive(upload, b"not a zip"))
    return upload


def delete(world: World) -> Any:
    upload = publish(world, OLD)
    world.delete("model")
    return upload


def expire(world: World) -> Any:
    upload = world.start_files("model", OLD)
    world.put_files(upload, OLD)
    world.clock.forward(7 * 86_400 + 60)
    world.sweep()
    return upload


ENDINGS = [abort, fail, delete, expire]


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
def test_late_writes_do_not_touch_the_next_attempt(world: World, end: Any) -> None:
    old = end(world)
    assert world.get("model") is None
    assert world.objects() == []
    new = publish(world, NEW)
    assert old.prefix == f"models/{world.user_id}/model/v1/"
    assert new.prefix == f"models/{world.user_id}/model/v1~{new.upload_id}/"
    late = write_late(old.prefix)
    late += [naming.inbox_key(world.user_id, old.upload_id, 0)]
    objects.put_object(late[-1], b"late")
    world.receive(event_of(late[-1]))
    world.recover()
    world.verify("model", "v1", NEW)
    world.end()
    world.verify("model", "v1", NEW)
    world.check_clean()


@pytest.mark.parametrize("first", ENDINGS, ids=lambda end: end.__name__)
def test_a_third_attempt_is_apart_from_both(world: World, first: Any) -> None:
    first(world)
    second = publish(world, OLD)
    world.delete("model")
    third = publish(world, NEW)
    assert third.prefix == f"models/{world.user_id}/model/v1~{third.upload_id}/"
    write_late(second.prefix)
    world.recover()
    world.end()
    world.verify("model", "v1", NEW)
    world.check_clean()


def test_tombstone_expires(world: World) -> None:
    """After its time the plain prefix is used again, whether DynamoDB has taken the row away or not."""
    abort(world)
    world.clock.forward(7 * 86_400 + 60)
    world.sweep()
    assert publish(world, NEW).prefix == f"models/{world.user_id}/model/v1/"


def test_deleting_one_leaves_its_neighbours(world: World) -> None:
    """`v1` is a beginning of `v10` and of `v1~…`, and models' names of each other's."""
    for model_id, version in (("model", "v10"), ("model", "v1.1"), ("model2", "v1"), ("mode", "v1")):
        world.upload_single(model_id, b"stays", version=version)
    world.upload_single("model", b"goes")
    world.delete("model", "v1")
    again = world.upload_single("model", b"again")
    assert "~" in again.files[0].file_path
    world.delete("model", "v1")
    world.end()
    left = {(each.model_id, each.version): world.read(each) for each in world.list()}
    assert left == {
        (model_id, version): {"model.onnx": b"stays"}
        for model_id, version in (("model", "v10"), ("model", "v1.1"), ("model2", "v1"), ("mode", "v1"))
    }
    world.check_clean()


@pytest.mark.case("U9")
def test_url_that_still_works_after_publication_changes_nothing(world: World) -> None:
    """the inbox may be written to until its URLs expire; what is published is a copy."""
    from registry.auth import ANYBODY
    from registry.uploads import showing

    upload = world.start_files("model", OLD)
    view, _ = showing.get_upload(
        principal=ANYBODY, upload_id=upload.upload_id, urls=True, limit=10, cursor=None, state=None
    )
    world.receive(world.put_files(upload, OLD))
    import requests

    put = view.files[0].put
    assert put is not None
    answer = requests.put(put.url, data=b"evil!", headers=put.headers, timeout=60)
    assert answer.status_code == 200
    world.receive(event_of(naming.inbox_key(world.user_id, upload.upload_id, 0)))
    world.verify("model", "v1", OLD)
    assert [key for key in world.objects() if not key.startswith("models/")] == []
    requests.put(put.url, data=b"evil!", headers=put.headers, timeout=60)  # and this event is lost
    world.end()
    world.verify("model", "v1", OLD)
    world.check_clean()
