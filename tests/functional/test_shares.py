"""An archive with much to inflate is unpacked by several functions side by side, each with a share of its members."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from typing import Any

import pytest

from tests.functional.kit import BUCKET, deliver, event_of, items, make_zip, multiparts, objects, ok, refused, sweep

SHARES = 3
MEMBERS = {f"m{number}/weights.bin": bytes([number]) * (100_000 + number) for number in range(8)}
ZIPPED = make_zip(MEMBERS)


@pytest.fixture(autouse=True)
def spread(setting, monkeypatch) -> None:
    from registry.uploads import long_members, sharing

    setting(unpack_shares=SHARES)
    monkeypatch.setattr(sharing, "_SHARE_BYTES", 1)
    monkeypatch.setattr(long_members, "_ALONE_BYTES", 1)


@pytest.fixture
def written(on_moto, monkeypatch) -> Counter[str]:
    """How often each file of the version was written."""
    from registry.storage import objects as stored

    counted: Counter[str] = Counter()
    real = stored.put_object

    def put(key, *args, **more):
        counted[key.rpartition("v1/")[2]] += key.startswith("models/")
        return real(key, *args, **more)

    monkeypatch.setattr(stored, "put_object", put)
    return counted


def begin(api, data: bytes = ZIPPED) -> tuple[dict[str, Any], dict[str, Any]]:
    upload = ok(api.start(version="v1", archive={"size": len(data)}), 201)
    return upload, event_of(put(upload, data))


def put(upload: dict[str, Any], data: bytes) -> str:
    from registry import naming
    from registry.storage.client import s3

    key = naming.inbox_key(upload["user_id"], upload["upload_id"], naming.ARCHIVE_SLOT)
    s3().put_object(Bucket=BUCKET, Key=key, Body=data)
    return key


def run(started, *, most: int = 60) -> int:
    count = 0
    while started:
        count += 1
        assert count <= most, "this would go on for ever"
        deliver(started.pop(0)[1])
    return count


def verify(api, members: dict[str, bytes] = MEMBERS) -> None:
    shown = ok(api.get())
    assert {file["filename"]: file["file_hash"] for file in shown["files"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in members.items()
    }
    assert shown["file_count"] == len(members)


def share_rows() -> list[str]:
    return [sk for _, sk in items() if sk.startswith("U#")]


def test_each_member_is_done_once_by_whoever_has_its_share(api, started, written):
    upload, event = begin(api)
    deliver(event)
    assert [each[1] for each in started] == [{"upload_id": upload["upload_id"], "share": k} for k in range(SHARES)]
    assert written == {}
    shares = started[:]
    started.clear()
    for number, (_, one) in enumerate(shares):
        refused(api.get(), 404)
        deliver(one)
        assert started.pop() == ("receive_upload", {"upload_id": upload["upload_id"]})
        assert 0 < sum(written.values()) <= len(MEMBERS), number
    deliver({"upload_id": upload["upload_id"]})
    assert started == []
    assert written == dict.fromkeys(MEMBERS, 1)
    verify(api)


def test_shares_are_of_about_as_much_work_and_leave_nothing_out(monkeypatch):
    from registry.archives import DEFLATED, Member
    from registry.uploads import long_members, sharing

    monkeypatch.setattr(long_members, "_ALONE_BYTES", 32 * 1024 * 1024)
    gib = 1024**3
    sizes = [5 * gib, 3 * gib, *[gib // 2] * 8, *[1000] * 500]
    offsets = [sum(sizes[:number]) for number in range(len(sizes))]
    many = [
        Member(number, f"{number}", DEFLATED, 0, size, size, offset, offset)
        for number, (size, offset) in enumerate(zip(sizes, offsets, strict=True))
    ]
    picked = [sharing.pick(many, share, 3) for share in range(3)]
    assert sorted(member.index for each in picked for member in each) == list(range(len(many)))
    loads = [sum(member.size for member in each) for each in picked]
    assert max(loads) == 5 * gib
    assert max(loads) - min(loads) <= 2 * gib
    small = [{member.index for member in each if member.size == 1000} for each in picked]
    assert sorted(map(len, small)) == [0, 0, 500], "neighbours are read by one request"


@pytest.mark.parametrize(
    ("sizes", "shares"), [([500], 1), ([1000, 1000], 2), ([1500, 600], 2), ([9000], 1), ([800] * 10, 3)]
)
def test_only_as_many_shares_as_are_worth_it(on_moto, monkeypatch, sizes, shares):
    from registry.archives import DEFLATED, Member
    from registry.records import UploadRow
    from registry.uploads import sharing

    monkeypatch.setattr(sharing, "_SHARE_BYTES", 1000)
    many = [Member(n, f"{n}", DEFLATED, 0, size, size, 0, 0) for n, size in enumerate(sizes)]
    assert sharing.count_shares(UploadRow("A#x", "#", kind="archive"), many) == shares
    assert sharing.count_shares(UploadRow("A#x", "#", kind="folder"), many) == 1


def test_doubled_events_and_shares_do_nothing_twice(api, started, written):
    _, event = begin(api)
    deliver(event)
    deliver(event)
    once = started[:]
    for name, one in [each for each in once for _ in range(2)]:
        started.append((name, one))
    run(started)
    deliver(event)
    run(started)
    for _, one in once:
        deliver(one)
    assert started == []
    assert written == dict.fromkeys(MEMBERS, 1)
    verify(api)


def test_a_share_that_dies_is_started_again_when_its_lease_has_run_out(api, started, written, move_clock):
    from registry.uploads.leases import ShareLease

    upload, event = begin(api)
    deliver(event)
    assert ShareLease.acquire_share(upload["upload_id"], 1) is not None  # and is not heard of again
    run(started)
    refused(api.get(), 404)
    before = dict(written)
    move_clock(70)
    sweep()
    run(started)
    verify(api)
    assert written == dict.fromkeys(MEMBERS, 1)
    assert 0 < sum(before.values()) < len(MEMBERS)


def test_a_share_out_of_time_starts_its_own_successor(api, started, written, no_time, monkeypatch):
    upload, event = begin(api)
    deliver(event)
    del started[1:]
    with no_time():
        deliver(started.pop()[1])
    assert started == [("receive_upload", {"upload_id": upload["upload_id"], "share": 0})]
    run(started)
    verify(api)
    assert written == dict.fromkeys(MEMBERS, 1)


def test_a_share_that_gets_nothing_done_ends_the_upload(api, started, no_time):
    upload, event = begin(api)
    deliver(event)
    del started[1:]
    with no_time():
        assert run(started, most=5) == 5
    now = ok(api.upload(upload["upload_id"]))
    assert (now["status"], now["code"]) == ("failed", "no_progress")
    assert objects() == {} and share_rows() == []


def test_a_bad_member_ends_the_upload_for_all_shares(api, started, written, move_clock):
    bad = bytearray(make_zip(MEMBERS, method=zipfile.ZIP_STORED))
    bad[bad.index(b"\x03" * 1000)] ^= 1
    upload, event = begin(api, bytes(bad))
    deliver(event)
    run(started)
    now = ok(api.upload(upload["upload_id"]))
    assert now["status"] == "failed" and now["code"] == "archive_bad_crc"
    assert objects() == {} and share_rows() == [] and multiparts() == []
    count = sum(written.values())
    for number in range(SHARES):
        deliver({"upload_id": upload["upload_id"], "share": number})
    assert sum(written.values()) == count
    assert started == []


def test_an_upload_that_ended_stops_whoever_works_on_a_share(api, started, setting):
    from registry.uploads.leases import ShareLease

    upload, event = begin(api)
    deliver(event)
    setting(unpack_shares=SHARES, lease_seconds=1)
    lease = ShareLease.acquire_share(upload["upload_id"], 0)
    assert lease is not None
    with lease:
        assert not lease.was_taken()
        ok(api.abort(upload["upload_id"]))
        lease._thread.join(60)
        assert not lease._thread.is_alive()
        with pytest.raises(Exception, match="has ended"):
            lease.check()
        assert lease.was_taken() and not lease.end(done=True)
    assert share_rows() == []


def test_another_archive_waits_for_the_shares_of_the_one_before(api, started, written):
    from registry.uploads.leases import ShareLease

    upload, event = begin(api, make_zip(MEMBERS, method=zipfile.ZIP_STORED))
    deliver(event)
    lease = ShareLease.acquire_share(upload["upload_id"], 0)
    assert lease is not None
    first = started.pop(1)
    started.clear()
    deliver(first[1])  # a share of the first archive is done
    other = {name: data[:-1] + b"!" for name, data in MEMBERS.items()}
    put(upload, make_zip(other, method=zipfile.ZIP_STORED))
    run(started)
    deliver(event)
    assert started == [], "nothing may begin while the first archive's share is at work"
    assert lease.end()
    deliver(event)
    run(started)
    verify(api, other)
    assert multiparts() == []


def test_shares_that_two_versions_of_the_code_picked_differently_leave_nothing_out(api, started, monkeypatch):
    from registry.uploads import sharing

    _, event = begin(api)
    deliver(event)
    with monkeypatch.context() as patch:
        patch.setattr(sharing, "pick", lambda members, share, shares: members[:2] if share == 0 else [])
        for _, one in [started.pop(0) for _ in range(SHARES)]:
            deliver(one)
    run(started)
    verify(api)


def test_a_request_waits_for_the_shares(api, started, setting, monkeypatch):
    """`complete` looks as long as a request may, and not only until it has handed out the shares."""
    from registry.deadlines import Deadline

    looks = []  # how many functions were started by then

    def passed(self):
        looks.append(len(started))
        return looks.count(SHARES) > 3

    upload, _ = begin(api)
    with monkeypatch.context() as patch:
        patch.setattr(Deadline, "passed", property(passed))
        answer = ok(api.complete(upload["upload_id"]), 202)
    assert answer["status"] == "processing"
    assert len(started) == SHARES and looks.count(SHARES) > 3
    run(started)
    verify(api)


def test_a_folder_is_unpacked_by_its_own_request(api, started):
    ok(api.folder(ZIPPED, version="v1"))
    assert started == [] and share_rows() == []
    verify(api)


def test_a_renewal_that_is_late_takes_nothing_back(api, started):
    """The thread that renews a lease may be on its way while its holder gives it up, and a successor starts at once."""
    from registry.uploads import leases
    from registry.uploads.leases import Lease, ShareLease

    upload, event = begin(api)
    deliver(event)
    share = ShareLease.acquire_share(upload["upload_id"], 0)
    assert share is not None and share._set_lease(leases.first_lease())
    assert share.end()
    assert not share._set_lease(leases.first_lease())
    assert ShareLease.acquire_share(upload["upload_id"], 0) is not None
    lease = Lease.acquire(upload["upload_id"])
    assert lease is not None and lease._set_lease(leases.first_lease())
    assert lease.release()
    assert not lease._set_lease(leases.first_lease())
    assert Lease.acquire(upload["upload_id"]) is not None
