"""complete_upload: all has been sent."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.functional.kit import (
    deliver,
    event_of,
    key_in,
    make_zip,
    multiparts,
    nothing_written,
    objects,
    ok,
    refused,
    send,
)

MIB = 2**20


def send_part(part: dict, content: bytes) -> None:
    from registry.storage.client import s3

    multipart = parse_qs(urlsplit(part["url"]).query)["uploadId"][0]
    s3().upload_part(
        Bucket="modelkeep", Key=key_in(part["url"]), UploadId=multipart, PartNumber=part["number"], Body=content
    )


def test_files_that_arrived_without_any_event_are_published_by_complete(api):
    upload = ok(api.start(files=[{"path": "a.bin", "size": 1}, {"path": "b.bin", "size": 2}]), 201)
    send(upload["files"][0], b"a")
    send(upload["files"][1], b"bb")
    body = ok(api.complete(upload["upload_id"]))
    assert (body["status"], body["bytes_stored"]) == ("ready", 3)
    assert ok(api.download(filename="b.bin")) == b"bb"
    assert all(key.startswith("models/") for key in objects())


@pytest.mark.case("U4")
def test_complete_may_be_repeated_and_called_after_the_event_has_published(api):
    upload = ok(api.start(files=[{"path": "a.bin", "size": 1}]), 201)
    deliver(event_of(send(upload["files"][0], b"a")))
    before = ok(api.get())
    with nothing_written():
        for _ in range(2):
            assert ok(api.complete(upload["upload_id"]))["status"] == "ready"
    assert ok(api.get()) == before


@pytest.mark.case("U3")
def test_missing_files_are_a_400_that_names_them_and_the_upload_stays_open(api):
    upload = ok(api.start(files=[{"path": f"w/{name}", "size": 1} for name in "abc"]), 201)
    send(upload["files"][1], b"b")
    answer = api.complete(upload["upload_id"])
    refused(answer, 400, "upload_incomplete")
    assert [each["path"] for each in answer.body["missing"]] == ["w/a", "w/c"]
    assert ok(api.upload(upload["upload_id"]))["status"] in ("uploading", "processing")
    refused(api.get(), 404)
    for index in (0, 2):
        send(upload["files"][index], b"x")
    assert ok(api.complete(upload["upload_id"]))["status"] == "ready"
    assert ok(api.get())["file_count"] == 3


def test_an_archive_that_is_missing_is_a_400_and_one_that_is_there_is_unpacked(api):
    data = make_zip({"a.pkl": b"a", "w/b.pt": b"b"})
    upload = ok(api.start(archive={"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}), 201)
    answer = api.complete(upload["upload_id"])
    assert answer.status == 400, "an archive of which no byte has come is not complete"
    refused(answer, 400, "upload_incomplete")
    assert answer.body["missing"]
    send(upload["archive"], data)
    body = ok(api.complete(upload["upload_id"]))
    assert body["status"] == "ready" and body["archive"]["status"] == "verified"
    assert ok(api.get())["file_count"] == 2


@pytest.mark.case("U3")
def test_parts_that_are_missing_are_named_and_all_parts_make_the_file(api, setting):
    setting(part_bytes=5 * MIB)
    content = bytes(range(256)) * (11 * MIB // 256)
    upload = ok(
        api.start(files=[{"path": "a.bin", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}]), 201
    )
    multipart = upload["files"][0]["multipart"]
    pieces = [content[n * 5 * MIB : (n + 1) * 5 * MIB] for n in range(3)]
    send_part(multipart["parts"][2], pieces[2])
    answer = api.complete(upload["upload_id"])
    refused(answer, 400, "upload_incomplete")
    assert answer.body["missing"] == [{"path": "a.bin", "parts": [1, 2]}]
    send_part(multipart["parts"][0], pieces[0])
    send_part(multipart["parts"][1], pieces[1][:-1])  # short: not the part that was announced
    assert refused(api.complete(upload["upload_id"]), 400, "upload_incomplete")
    send_part(multipart["parts"][1], pieces[1])
    assert ok(api.complete(upload["upload_id"]))["status"] == "ready"
    file = ok(api.get())["files"][0]
    assert file["file_hash"] == hashlib.sha256(content).hexdigest()  # of the whole, not of the parts
    assert multiparts() == [] and list(objects()) == [file["file_path"]]


@pytest.mark.case("U5")
def test_a_multipart_that_does_not_hash_to_its_digest_fails_and_begins_anew(api, setting):
    setting(part_bytes=5 * MIB)
    good, bad = b"g" * 6 * MIB, b"b" * 6 * MIB
    upload = ok(
        api.start(files=[{"path": "a.bin", "size": len(good), "sha256": hashlib.sha256(good).hexdigest()}]), 201
    )
    for part, content in zip(upload["files"][0]["multipart"]["parts"], (bad[: 5 * MIB], bad[5 * MIB :]), strict=True):
        send_part(part, content)
    api.complete(upload["upload_id"])
    now = ok(api.upload(upload["upload_id"], urls="true"))
    assert now["status"] == "uploading"  # a file has to be sent again
    assert (now["files"][0]["status"], now["files"][0]["code"]) == ("failed", "sha256_mismatch")
    assert objects() == {}
    refused = api.complete(upload["upload_id"])
    assert (refused.status, refused.body["code"]) == (400, "upload_incomplete")
    assert "sha256_mismatch" in refused.body["detail"]
    assert refused.body["missing"] == [{"path": "a.bin", "parts": [1, 2], "code": "sha256_mismatch"}]
    for part, content in zip(now["files"][0]["multipart"]["parts"], (good[: 5 * MIB], good[5 * MIB :]), strict=True):
        send_part(part, content)
    assert ok(api.complete(upload["upload_id"]))["status"] == "ready"
    assert ok(api.get())["files"][0]["file_hash"] == hashlib.sha256(good).hexdigest()


def test_stored_files_need_no_event(api, started):
    known = b"known"
    ok(api.single("old", content=known))
    sha256 = hashlib.sha256(known).hexdigest()
    upload = ok(api.start(files=[{"path": "a", "size": len(known), "sha256": sha256}]), 201)
    started.clear()
    assert ok(api.complete(upload["upload_id"]))["status"] == "ready"
    assert ok(api.download(filename="a")) == known


@pytest.mark.case("U4")
def test_what_has_ended_or_never_was_is_refused(api):
    upload_id = ok(api.start(files=[{"path": "a", "size": 1}]), 201)["upload_id"]
    ok(api.abort(upload_id))
    with nothing_written():
        refused(api.complete(upload_id), 409)
        refused(api.complete("0" * 32), 404, "upload_not_found")
        refused(api.complete("nonsense"), 400, "bad_upload_id")


def test_what_outlasts_the_gateway_is_a_202_and_finished_by_a_successor(api, started, no_time):
    upload = ok(api.start(files=[{"path": f"f{n}", "size": 1} for n in range(3)]), 201)
    for file in upload["files"]:
        send(file, b"x")
    with no_time():
        body = ok(api.complete(upload["upload_id"]), 202)
    assert body["status"] in ("uploading", "processing")
    refused(api.get(), 404)
    started.run()
    assert ok(api.upload(upload["upload_id"]))["status"] == "ready"


def test_no_files_can_be_added_after_complete(api, no_time):
    upload = ok(api.start(files=[{"path": "a", "size": 1}]), 201)
    send(upload["files"][0], b"x")
    with no_time():
        ok(api.complete(upload["upload_id"]), 202)
    with nothing_written():
        refused(api.add(upload["upload_id"], [{"path": "b", "size": 1}]), 409)
