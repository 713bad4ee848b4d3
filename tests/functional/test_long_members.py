"""Members that one function does not live long enough for: the next one goes on where it stopped."""

from __future__ import annotations

import hashlib
import random
import zipfile
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.functional.kit import BUCKET, deliver, event_of, items, make_zip, multiparts, objects, ok, refused
from tests.lives import Life, lives_of

MIB = 1024 * 1024


@pytest.fixture
def lives(monkeypatch) -> Callable[[int], type[Life]]:
    """`lives(50)`: from now on a function may look at the clock 50 times; members of more than 1 MiB are long."""
    from registry import deadlines
    from registry.storage import parts
    from registry.uploads import long_members

    def begin(looks: int) -> type[Life]:
        made = lives_of(looks, successors=1.0)
        monkeypatch.setattr(deadlines, "Deadline", made)
        monkeypatch.setattr(long_members, "_ALONE_BYTES", MIB)
        monkeypatch.setattr(parts, "PART_BYTES", 10 * MIB)
        return made

    return begin


@pytest.fixture
def calls(on_moto, monkeypatch) -> Counter[tuple[str, str]]:
    """What is written to the store, by operation and key, and bytes that are sent in parts."""
    from botocore.client import BaseClient

    counted: Counter[tuple[str, str]] = Counter()
    real = BaseClient._make_api_call

    def call(client, operation, given):
        if isinstance(given.get("Key"), str):
            counted[operation, given["Key"]] += 1
        if operation == "UploadPart":
            counted["bytes", given["Key"]] += len(given["Body"])
        return real(client, operation, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return counted


def run(started, *, most: int = 40) -> int:
    count = 0
    while started:
        count += 1
        assert count <= most, "this would go on for ever"
        deliver(started.pop(0)[1])
    return count


def put(upload: dict[str, Any], zipped: bytes) -> str:
    """The archive, by one PUT whatever its size."""
    from registry import naming
    from registry.storage.client import s3

    key = naming.inbox_key(upload["user_id"], upload["upload_id"], naming.ARCHIVE_SLOT)
    s3().put_object(Bucket=BUCKET, Key=key, Body=zipped)
    return key


def content(size: int) -> bytes:
    """Bytes that deflate a little, in many blocks."""
    return random.Random(size).randbytes(size // 2).hex().encode()[:size]


def member_rows() -> list[str]:
    return [sk for _, sk in items() if sk.startswith("T#")]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED], ids=["deflated", "stored"])
def test_a_long_member_is_gone_on_with(api, started, lives, calls, method):
    data = content(70 * MIB)
    zipped = make_zip({"big.bin": data, "small.txt": b"x"}, method=method)
    upload = ok(api.start(version="v1", archive={"size": len(zipped)}), 201)
    key = put(upload, zipped)
    lived = lives(60 if method == zipfile.ZIP_DEFLATED else 8)  # some 30 MiB
    deliver(event_of(key))
    assert member_rows() == ["T#000000"]
    hops = run(started)
    assert hops >= (2 if method == zipfile.ZIP_DEFLATED else 1) and lived.lived == hops + 1
    shown = ok(api.get())
    digests = {file["filename"]: file["file_hash"] for file in shown["files"]}
    assert digests == {"big.bin": hashlib.sha256(data).hexdigest(), "small.txt": hashlib.sha256(b"x").hexdigest()}
    big, small = (f"models/alice/m/v1/{name}" for name in ("big.bin", "small.txt"))
    assert calls["CreateMultipartUpload", big] == calls["CompleteMultipartUpload", big] == 1
    assert calls["PutObject", small] == 1
    # No part is sent, or copied, twice.
    assert calls["bytes", big] == (len(data) if method == zipfile.ZIP_DEFLATED else 0)
    assert calls["UploadPartCopy", big] == (0 if method == zipfile.ZIP_DEFLATED else 7)
    assert member_rows() == []
    assert multiparts() == []


def long_upload(api, data: bytes) -> tuple[dict[str, Any], str]:
    zipped = make_zip({"big.bin": data})
    upload = ok(api.start(version="v1", archive={"size": len(zipped)}), 201)
    return upload, put(upload, zipped)


def test_what_is_saved_can_be_of_use_to_the_holder_alone(api, started, lives, calls):
    """A worker that lost its lease without noticing writes nothing that its successor would go on from."""
    from registry.records import MemberRow, UploadRow
    from registry.storage import objects as stored_objects
    from registry.uploads.leases import Lease, LeaseLostError
    from registry.uploads.long_copies import Progress

    data = content(40 * MIB)
    upload, key = long_upload(api, data)
    lives(60)
    deliver(event_of(key))
    before = MemberRow.find(f"A#{upload['upload_id']}", "T#000000")
    source = stored_objects.find_object(key)
    assert before is not None and before.state and source is not None
    from registry.uploads import unpacking

    lease = Lease.acquire(upload["upload_id"])
    assert lease is not None
    (member,) = unpacking._read(lease.upload, source).members
    old = Progress(lease, source, before.key, member.index)
    UploadRow(f"A#{upload['upload_id']}", "#").update(actions=[UploadRow.lease_until.set(0)])
    successor = Lease.acquire(upload["upload_id"])
    assert successor is not None
    Progress(successor, source, before.key, member.index)
    with pytest.raises(LeaseLostError):
        old.save("of no use")
    with pytest.raises(LeaseLostError):
        Progress(lease, source, before.key, member.index)
    after = MemberRow.find(f"A#{upload['upload_id']}", "T#000000")
    assert after is not None
    assert (after.fence, after.state) == (successor.fence, before.state)
    UploadRow(f"A#{upload['upload_id']}", "#").update(actions=[UploadRow.lease_until.set(0)])
    run(started)
    assert ok(api.get())["files"][0]["file_hash"] == hashlib.sha256(data).hexdigest()


def test_a_multipart_that_is_lost_is_begun_anew(api, started, lives, calls):
    from registry.records import MemberRow
    from registry.storage import multiparts as stored_multiparts

    data = content(40 * MIB)
    upload, key = long_upload(api, data)
    lives(60)
    deliver(event_of(key))
    row = MemberRow.find(f"A#{upload['upload_id']}", "T#000000")
    assert row is not None
    stored_multiparts.abort_multipart(row.key, row.multipart)
    run(started)
    assert ok(api.get())["files"][0]["file_hash"] == hashlib.sha256(data).hexdigest()
    assert multiparts() == []


def test_an_archive_that_is_sent_anew_takes_nothing_from_the_one_before(api, started, lives, calls):
    data = content(40 * MIB)
    other = data[:-1] + b"!"
    first, second = (make_zip({"big.bin": each}, method=zipfile.ZIP_STORED) for each in (data, other))
    upload = ok(api.start(version="v1", archive={"size": len(first)}), 201)
    lives(4)
    deliver(event_of(put(upload, first)))
    assert member_rows()
    deliver(event_of(put(upload, second)))
    run(started)
    assert ok(api.get())["files"][0]["file_hash"] == hashlib.sha256(other).hexdigest()
    assert multiparts() == [] and member_rows() == []


def test_abort_leaves_nothing_of_a_member_that_was_begun(api, started, lives, calls):
    upload, key = long_upload(api, content(40 * MIB))
    lives(60)
    deliver(event_of(key))
    assert member_rows() and multiparts()
    ok(api.abort(upload["upload_id"]))
    assert (member_rows(), multiparts(), objects()) == ([], [], {})


def test_a_damaged_member_is_refused_by_whoever_comes_to_its_end(api, started, lives, calls):
    data = content(40 * MIB)
    zipped = bytearray(make_zip({"big.bin": data}, method=zipfile.ZIP_STORED))
    zipped[39 * MIB] ^= 1
    upload = ok(api.start(version="v1", archive={"size": len(zipped)}), 201)
    key = put(upload, bytes(zipped))
    lives(4)
    deliver(event_of(key))
    run(started)
    now = ok(api.upload(upload["upload_id"]))
    assert (now["status"], now["code"]) == ("failed", "archive_bad_crc")
    assert (member_rows(), multiparts(), objects()) == ([], [], {})


def test_what_could_not_be_resumed_is_refused_at_once(api, started, lives, calls, monkeypatch):
    from registry import archives

    monkeypatch.setattr(archives, "can_resume", lambda member: False)
    upload, key = long_upload(api, content(40 * MIB))
    lives(60)
    deliver(event_of(key))
    now = ok(api.upload(upload["upload_id"]))
    assert (now["status"], now["code"]) == ("failed", "member_too_large")
    assert "big.bin has 41943040 bytes" in now["detail"] and "16777216 bytes" in now["detail"]
    assert calls["UploadPart", "models/alice/m/v1/big.bin"] == 0
    assert objects() == {}
    refused(api.get(), 404)


def test_a_member_that_took_longer_than_reckoned_is_dropped_and_begun_so_that_it_can_be_gone_on_with(
    api, started, lives, calls
):
    data = content(40 * MIB)
    _, key = long_upload(api, data)
    lived = lives(1)
    lived.seconds_left, lived.over = 1_000.0, True
    deliver(event_of(key))
    assert member_rows() == ["T#000000"]
    assert calls["bytes", "models/alice/m/v1/big.bin"] == 0
    lived.looks, lived.over = 60, False
    run(started)
    assert lived.lived > 2, "one of 30 MiB a life"
    assert ok(api.get())["files"][0]["file_hash"] == hashlib.sha256(data).hexdigest()
    assert member_rows() == [] and multiparts() == []


def test_a_member_that_gets_no_further_ends_its_upload(api, started, lives, calls):
    """What was found on record is no progress, however often it is saved."""
    upload, key = long_upload(api, content(40 * MIB))
    lived = lives(60)
    deliver(event_of(key))
    lived.looks = 2
    run(started)
    now = ok(api.upload(upload["upload_id"]))
    assert (now["status"], now["code"]) == ("failed", "no_progress")
    assert lived.lived == 6
    assert (member_rows(), multiparts(), objects()) == ([], [], {})


@pytest.mark.parametrize("right", [True, False])
def test_the_digest_of_a_long_archive_is_read_over_several_lives(api, started, lives, calls, monkeypatch, right):
    from registry.storage import copying

    monkeypatch.setattr(copying, "digest_method", lambda: "read")
    data = content(100 * MIB)
    zipped = make_zip({"big.bin": data}, method=zipfile.ZIP_STORED)
    digest = hashlib.sha256(zipped).hexdigest() if right else "0" * 64
    upload = ok(api.start(version="v1", archive={"size": len(zipped), "sha256": digest}), 201)
    key = put(upload, zipped)
    lived = lives(3)
    deliver(event_of(key))
    assert (lived.lived, len(started)) == (1, 1)
    assert calls["CreateMultipartUpload", "models/alice/m/v1/big.bin"] == 0
    before = calls["GetObject", key]
    run(started)
    now = ok(api.upload(upload["upload_id"]))
    assert (now["status"], now["code"]) == (("ready", None) if right else ("failed", "sha256_mismatch"))
    assert before < 7
    assert lived.lived >= 3
    assert (member_rows(), multiparts()) == ([], [])


def test_a_reserve_is_kept_of_short_lives_too(monkeypatch):
    from registry.deadlines import deadline_of

    monkeypatch.setattr("registry.deadlines.time.monotonic", lambda: 1_000.0)

    class Context:
        def __init__(self, seconds: float) -> None:
            self._seconds = seconds

        def get_remaining_time_in_millis(self) -> int:
            return int(self._seconds * 1000)

    for seconds, left in ((900, 870), (90, 60), (20, 40 / 3), (3, 2)):
        deadline = deadline_of(Context(seconds))
        assert deadline.seconds_left == pytest.approx(left, abs=0.1)
        assert deadline.whole == pytest.approx(left, abs=0.1)
        assert not deadline.passed and not deadline.over
    dead = deadline_of(Context(0))
    assert dead.passed and dead.over
    assert deadline_of(None).seconds_left is None
