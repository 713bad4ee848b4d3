"""A byte that flips on the disk of a real store: it is found, and gets into no copy and no ZIP."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Started
from tests.functional.kit import Api, deliver, event_of, key_in, ok, refused

MIB = 1024 * 1024
FIXTURES = {"seaweedfs": "on_servers", "minio": "on_minio"}


@pytest.fixture(params=FIXTURES)
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, user_id: str) -> Path:
    """Where the store keeps its bytes; and a table of one's own."""
    from registry import records
    from registry.settings import get_settings
    from registry.storage import client

    stack = request.getfixturevalue(FIXTURES[request.param])
    monkeypatch.setenv("REGISTRY_TABLE", f"table-{user_id}")
    get_settings.cache_clear()
    records.reset_connection()
    records.create_table()
    # SeaweedFS looks for 13 s for another copy of what it finds damaged: once is enough here.
    client.s3().meta.events.unregister("needs-retry.s3", unique_id="retry-config-s3")
    return stack.data.path / stack.store.folder


def flip(disk: Path, data: bytes) -> None:
    """One bit in the middle of what lies there, wherever that is."""
    at = len(data) // 2 + 1000
    flipped = 0
    for path in disk.rglob("*"):
        if not path.is_file() or not path.stat().st_size:
            continue
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            found = mapped.find(data[at : at + 64])
            while found >= 0:
                mapped[found] ^= 1
                flipped += 1
                found = mapped.find(data[at : at + 64])
    assert flipped, "these bytes lie nowhere"


@pytest.mark.parametrize("size", [300_000, pytest.param(6 * MIB, marks=pytest.mark.long)])
def test_a_flipped_byte_is_found_and_gets_nowhere(
    disk: Path, call: Callable[..., Any], started: Started, user_id: str, size: int
) -> None:
    from registry.catalog.verifying import Finding, Walk
    from registry.storage import objects

    api = Api(call, user_id)
    data = os.urandom(size)
    digest = hashlib.sha256(data).hexdigest()
    ok(api.single(content=data, filename="a.bin"))
    ok(api.single(content=b"good", filename="good.bin", version="v0"))
    flip(disk, data)

    findings: list[Finding] = []
    assert Walk(findings.append).look_at_files()
    assert [(each.version, each.path) for each in findings] == [("v1", "a.bin")]
    assert findings[0].what in ("damaged", "unreadable")
    # Whoever does not read can't know.
    assert Walk(pytest.fail, read=False).look_at_files()

    files = [{"path": "b.bin", "size": size, "sha256": digest}]
    upload = ok(api.start(version="v2", files=files), 201)
    assert [file["status"] for file in upload["files"]] == ["stored"]
    started.run()
    (file,) = ok(api.upload(upload["upload_id"], urls="true"))["files"]
    assert (file["status"], file["code"]) == ("pending", "source_damaged")
    refused(api.get(version="v2"), 404)
    assert [entry.key for entry in objects.list_objects(f"models/{user_id}/m/v2/")] == []

    requests.put(file["put"]["url"], data=data, headers=file["put"]["headers"], timeout=60).raise_for_status()
    deliver(event_of(key_in(file["put"]["url"])))
    assert ok(api.download(version="v2", filename="b.bin")) == data

    if size < MIB:
        return  # and as that of the other size takes long enough
    with pytest.raises(Exception):  # noqa: B017  # each store says it in its own way
        deliver_archive({"user_id": user_id, "model_id": "m", "version": "v1"})
    assert [entry.key for entry in objects.list_objects(f"modelkeep/archives/{user_id}/m/v1/")] == []


def deliver_archive(event: dict[str, Any]) -> None:
    from functions.build_archive.app import lambda_handler

    lambda_handler(event, None)
