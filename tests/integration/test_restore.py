"""Backup and restore, as docs/deploy.md says: table and bucket are never copied at the same moment."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from registry import naming

from local.ports import Ports
from local.servers import Stack
from tests.conftest import forget_everything, set_environment
from tests.integration.harness import World

ONE = {"a.onnx": b"weights", "b.json": b"{}"}
HALF = {"first.bin": b"first", "second.bin": b"second"}
Items = list[dict[str, Any]]
Objects = dict[str, bytes]


def take_table() -> Items:
    from registry.records import Row
    from registry.settings import get_settings

    client = Row._get_connection().connection.client
    pages = client.get_paginator("scan").paginate(TableName=get_settings().table, ConsistentRead=True)
    return [item for page in pages for item in page["Items"]]


def take_bucket(world: World) -> Objects:
    from registry.storage.client import bucket, s3

    keys = [naming.claim_key(), *world.objects()]
    return {key: s3().get_object(Bucket=bucket(), Key=key)["Body"].read() for key in keys}


@contextmanager
def restored(stack: Stack, table: Items, bucket: Objects) -> Iterator[None]:
    """On other servers: the objects first, then the table."""
    from registry import records, settings
    from registry.storage import objects

    name = f"table-{secrets.token_hex(6)}"
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, {**stack.environment(), "REGISTRY_TABLE": name, "REGISTRY_INSTALLATION": "tests"})
        for key, data in bucket.items():
            objects.put_object(key, data)
        records.create_table()
        client = records.Row._get_connection().connection.client
        for item in table:
            client.put_item(TableName=settings.get_settings().table, Item=item)
        yield
    forget_everything()


def findings(world: World) -> list[tuple[str, str, str]]:
    """What `make verify` finds: what, model, path."""
    from registry.catalog.verifying import Finding, Walk

    found: list[Finding] = []
    walk = Walk(found.append)
    assert walk.look_at_files() and walk.look_at_objects()
    return sorted((each.what, each.model_id, each.path) for each in found if each.user_id == world.user_id)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("elsewhere"), Ports.free()) as stack:
        yield stack


def publish(world: World, model_id: str, contents: dict[str, bytes]) -> None:
    world.receive(world.put_files(world.start_files(model_id, contents), contents))
    world.verify(model_id, "v1", contents)


def test_a_bucket_that_is_newer_than_the_table_restores_all_that_the_table_names(
    world: World, elsewhere: Stack
) -> None:
    publish(world, "kept", ONE)
    publish(world, "doomed", ONE)
    half = world.start_files("half", HALF)  # one file of two has arrived and been promoted
    first = naming.inbox_key(world.user_id, half.upload_id, 0)
    from registry.storage import objects

    objects.put_object(first, HALF["first.bin"])
    world.receive({"upload_id": half.upload_id})
    full = world.start_files("full", ONE)  # all has arrived, and nobody has looked
    world.put_files(full, ONE)
    lost = world.start_files("lost", ONE)  # its client never comes again

    table = take_table()
    world.delete("doomed")
    world.update("kept", name="another name")
    objects.put_object(naming.inbox_key(world.user_id, half.upload_id, 1), HALF["second.bin"])
    world.receive({"upload_id": half.upload_id})
    world.verify("half", "v1", HALF)
    publish(world, "later", ONE)
    bucket = take_bucket(world)

    with restored(elsewhere, table, bucket):
        # Deleted since, and so in the table still; published since, and so in no record. All else is whole.
        assert findings(world) == [
            ("missing", "doomed", "a.onnx"),
            ("missing", "doomed", "b.json"),
            ("unrecorded", "later", "a.onnx"),
        ]
        world.verify("kept", "v1", ONE)
        assert {each.model_id for each in world.list()} == {"kept", "doomed"}
        world.delete("doomed")  # once more
        # Now the sweep is switched on again.
        world.recover()
        world.verify("full", "v1", ONE)
        # The client of an upload that was open goes on with what the registry says is missing.
        from registry.auth import ANYBODY
        from registry.uploads import showing

        shown, _ = showing.get_upload(
            principal=ANYBODY, upload_id=half.upload_id, urls=False, limit=10, cursor=None, state=None
        )
        assert [file.status for file in shown.files] == ["verified", "pending"]
        objects.put_object(naming.inbox_key(world.user_id, half.upload_id, 1), HALF["second.bin"])
        world.receive({"upload_id": half.upload_id})
        world.verify("half", "v1", HALF)
        publish(world, "later", ONE)  # and what is not on record is pushed again
        world.end()
        assert world.get("lost") is None and lost.upload_id not in "".join(world.objects())
        assert findings(world) == []
        assert {each.model_id for each in world.list()} == {"kept", "full", "half", "later"}
        for model_id, contents in (("kept", ONE), ("full", ONE), ("half", HALF), ("later", ONE)):
            world.verify(model_id, "v1", contents)


def test_a_bucket_that_is_older_than_the_table_is_detected(world: World, elsewhere: Stack) -> None:
    publish(world, "before", ONE)
    bucket = take_bucket(world)
    publish(world, "between", ONE)
    table = take_table()
    with restored(elsewhere, table, bucket):
        assert findings(world) == [("missing", "between", "a.onnx"), ("missing", "between", "b.json")]
        world.verify("before", "v1", ONE)
