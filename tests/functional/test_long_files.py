"""Direct files that one function does not live long enough for: the next one goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from typing import Any

import pytest

from tests.functional.kit import BUCKET, deliver, event_of, items, multiparts, objects, ok
from tests.lives import lives_of

MIB = 1024 * 1024
SIZE = 70 * MIB
KEY = "models/alice/m/v1/big.bin"


@pytest.fixture
def looks(monkeypatch):
    """`looks(8)`: from now on a function may look at the clock 8 times; the store tells no digests."""
    from registry import deadlines
    from registry.storage import copying, parts
    from registry.uploads import promoting

    monkeypatch.setattr(copying, "digest_method", lambda: "read")
    monkeypatch.setattr(promoting, "_ALONE_BYTES", MIB)
    monkeypatch.setattr(parts, "PART_BYTES", 10 * MIB)

    def begin(count: int) -> None:
        monkeypatch.setattr(deadlines, "Deadline", lives_of(count, successors=1.0))

    return begin


@pytest.fixture
def calls(on_moto, monkeypatch) -> Counter[tuple[str, str]]:
    """What the store is asked, by operation and key."""
    from botocore.client import BaseClient

    counted: Counter[tuple[str, str]] = Counter()
    real = BaseClient._make_api_call

    def call(client, operation, given):
        if isinstance(given.get("Key"), str):
            counted[operation, given["Key"]] += 1
        return real(client, operation, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return counted


def arrive(api, data: bytes, **more: Any) -> tuple[dict[str, Any], str]:
    from registry import naming
    from registry.storage.client import s3

    upload = ok(api.start(version="v1", files=[{"path": "big.bin", "size": len(data), **more}]), 201)
    key = naming.inbox_key(upload["user_id"], upload["upload_id"], 0)
    s3().put_object(Bucket=BUCKET, Key=key, Body=data)
    return upload, key


def run(started, *, most: int = 40) -> int:
    count = 0
    while started:
        count += 1
        assert count <= most, "this would go on for ever"
        deliver(started.pop(0)[1])
    return count


def rows() -> list[str]:
    return [sk for _, sk in items() if sk.startswith("T#")]


def test_a_long_file_is_gone_on_with(api, started, looks, calls):
    data = os.urandom(SIZE)
    _, key = arrive(api, data, sha256=hashlib.sha256(data).hexdigest())
    looks(8)
    deliver(event_of(key))
    assert rows() == ["T#000000"]
    assert KEY not in objects()
    assert run(started) >= 1
    (file,) = ok(api.get())["files"]
    assert file["file_hash"] == hashlib.sha256(data).hexdigest()
    assert calls["CreateMultipartUpload", KEY] == calls["CompleteMultipartUpload", KEY] == 1
    assert calls["UploadPartCopy", KEY] == 7, "no part is copied twice"
    assert multiparts() == []
    assert rows() == []


def test_a_long_file_of_another_digest_leaves_nothing(api, started, looks, calls):
    upload, key = arrive(api, os.urandom(SIZE), sha256="0" * 64)
    looks(8)
    deliver(event_of(key))
    run(started)
    (file,) = ok(api.upload(upload["upload_id"]))["files"]
    assert (file["status"], file["code"]) == ("failed", "sha256_mismatch")
    assert calls["CompleteMultipartUpload", KEY] == 0
    assert (objects(), rows()) == ({}, [])
    assert KEY not in multiparts(), "the one in the inbox is to be sent to again"


def test_abort_leaves_nothing_of_a_file_that_was_begun(api, started, looks, calls):
    upload, key = arrive(api, os.urandom(SIZE))
    looks(8)
    deliver(event_of(key))
    assert rows() and KEY in multiparts()
    ok(api.abort(upload["upload_id"]))
    assert (objects(), multiparts(), rows()) == ({}, [], [])


def test_a_file_that_is_sent_anew_takes_nothing_from_the_one_before(api, started, looks, calls):
    data = os.urandom(SIZE)
    _, key = arrive(api, data[:-1] + b"!")
    looks(8)
    deliver(event_of(key))
    assert rows()
    from registry.storage.client import s3

    s3().put_object(Bucket=BUCKET, Key=key, Body=data)
    deliver(event_of(key))
    run(started)
    assert ok(api.get())["files"][0]["file_hash"] == hashlib.sha256(data).hexdigest()
    assert (multiparts(), rows()) == ([], [])


@pytest.mark.parametrize("checked", [True, False], ids=["checked by the store", "read"])
def test_bytes_that_are_there_are_copied_over_several_lives(api, started, looks, calls, monkeypatch, checked):
    """Above 5 GiB: by parts, which a store that checks CRC-32s holds against the one on record; else they are read."""
    from registry.storage import copying
    from registry.storage import multiparts as stored_multiparts

    monkeypatch.setattr(copying, "digest_method", lambda: "read")
    monkeypatch.setattr(copying, "checks_crcs", lambda: checked)
    data = os.urandom(SIZE)
    digest = hashlib.sha256(data).hexdigest()
    _, key = arrive(api, data, sha256=digest)
    deliver(event_of(key))
    assert ok(api.get())["version"] == "v1"
    monkeypatch.setattr(stored_multiparts, "MAX_PART_BYTES", 10 * MIB)
    upload = ok(api.start(version="v2", files=[{"path": "big.bin", "size": SIZE, "sha256": digest}]), 201)
    assert upload["files"][0]["status"] == "stored"
    calls.clear()
    looks(4 if checked else 8)
    started.clear()
    deliver({"upload_id": upload["upload_id"]})
    assert rows() == ["T#000000"]
    run(started)
    assert ok(api.get(version="v2"))["files"][0]["file_hash"] == digest
    assert calls["UploadPartCopy", KEY.replace("v1", "v2")] == 7
    assert (calls["GetObject", KEY] == 0) == checked
    assert (multiparts(), rows()) == ([], [])


def test_a_long_file_that_was_refused_before_is_gone_on_with(api, started, looks, calls):
    """What is on record of the first one is not what became of the second."""
    from registry.storage.client import s3

    data = os.urandom(SIZE)
    _, key = arrive(api, data[:-1] + b"!", sha256=hashlib.sha256(data).hexdigest())
    deliver(event_of(key))
    assert key not in objects("")
    calls.clear()
    s3().put_object(Bucket=BUCKET, Key=key, Body=data)
    looks(8)
    deliver(event_of(key))
    assert rows() == ["T#000000"]
    run(started)
    assert ok(api.get())["files"][0]["file_hash"] == hashlib.sha256(data).hexdigest()
    assert calls["CreateMultipartUpload", KEY] == 1
    assert calls["UploadPartCopy", KEY] == 7
    assert (multiparts(), rows()) == ([], [])


def test_a_file_that_took_longer_than_reckoned_is_dropped_and_gone_on_with(api, started, looks, calls, monkeypatch):
    from registry import deadlines
    from registry.uploads import promoting

    data = os.urandom(SIZE)
    _, key = arrive(api, data)
    looks(2)
    monkeypatch.setattr(deadlines.Deadline, "seconds_left", 1_000.0)
    monkeypatch.setattr(deadlines.Deadline, "over", True)
    deliver(event_of(key))
    assert rows() == ["T#000000"]
    assert calls["CompleteMultipartUpload", KEY] == 0
    assert KEY not in multiparts()
    looks(8)
    monkeypatch.setattr(promoting, "_is_long", lambda *_: False)
    run(started)
    assert ok(api.get())["files"][0]["file_hash"] == hashlib.sha256(data).hexdigest()
    assert calls["CreateMultipartUpload", KEY] == 2
    assert (multiparts(), rows()) == ([], [])


def test_a_source_that_vanishes_leaves_nothing_of_its_copy(api, started, looks, calls, monkeypatch):
    from registry.storage import multiparts as stored_multiparts
    from registry.storage.client import s3

    data = os.urandom(SIZE)
    digest = hashlib.sha256(data).hexdigest()
    _, key = arrive(api, data, sha256=digest)
    deliver(event_of(key))
    started.clear()
    monkeypatch.setattr(stored_multiparts, "MAX_PART_BYTES", 10 * MIB)
    upload = ok(api.start(version="v2", files=[{"path": "big.bin", "size": SIZE, "sha256": digest}]), 201)
    looks(4)
    started.clear()
    deliver({"upload_id": upload["upload_id"]})
    assert KEY.replace("v1", "v2") in multiparts()
    s3().delete_object(Bucket=BUCKET, Key=KEY)
    run(started)
    (file,) = ok(api.upload(upload["upload_id"]))["files"]
    assert (file["status"], file["code"]) == ("pending", "source_gone")
    assert (KEY.replace("v1", "v2") in multiparts(), rows()) == (False, [])
