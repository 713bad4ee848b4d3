"""receive_upload: S3 says that objects were created in the inbox."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import pytest

from tests.functional.kit import (
    CREATED_BY_MULTIPART,
    deliver,
    event_of,
    items,
    make_zip,
    nothing_written,
    objects,
    ok,
    read_object,
    refused,
    send,
)


def start(api, *sizes: int, model_id: str = "m", **body):
    files = [{"path": f"f{n}.bin", "size": size} for n, size in enumerate(sizes)]
    return ok(api.start(model_id, files=files, **body), 201)


def put(key: str, content: bytes) -> str:
    from registry.storage.client import s3

    s3().put_object(Bucket="modelkeep", Key=key, Body=content)
    return key


@pytest.mark.case("U12")
def test_the_last_event_publishes_the_version_and_no_earlier_one(api):
    upload = start(api, 1, 2, 3)
    for index in (2, 0):
        deliver(event_of(send(upload["files"][index], b"x" * upload["files"][index]["size"])))
        refused(api.get(), 404)
        assert ok(api.list()) == []
    deliver(event_of(send(upload["files"][1], b"xx")))
    body = ok(api.get())
    assert [file["file_size"] for file in body["files"]] == [1, 2, 3]
    assert {file["file_hash"] for file in body["files"]} == {hashlib.sha256(b"x" * n).hexdigest() for n in (1, 2, 3)}
    for file in body["files"]:
        assert read_object(file["file_path"]) == b"x" * file["file_size"]
    assert sorted(objects()) == sorted(file["file_path"] for file in body["files"])
    assert ok(api.upload(upload["upload_id"]))["status"] == "ready"


def test_one_event_may_tell_of_all_that_has_arrived(api):
    upload = start(api, 1, 1)
    keys = [send(file, b"x") for file in upload["files"]]
    deliver(event_of(keys[0]))
    assert ok(api.get())["file_count"] == 2  # the inbox is listed, the event only wakes
    with nothing_written():
        deliver(event_of(keys[1]))


@pytest.mark.case("U20")
@pytest.mark.parametrize("event_name", ["ObjectCreated:Put", CREATED_BY_MULTIPART, "ObjectCreated:Copy"])
def test_every_way_of_creating_an_object_counts(api, event_name):
    upload = start(api, 1)
    deliver(event_of(send(upload["files"][0], b"x"), event_name=event_name))
    assert ok(api.get())["file_count"] == 1


@pytest.mark.case("U19")
def test_keys_are_decoded_once(api):
    api.user_id = "a|b+c@d"
    upload = start(api, 1)
    event = event_of(send(upload["files"][0], b"x"))
    assert "%3D7C" in event["Records"][0]["s3"]["object"]["key"]
    deliver(event)
    assert ok(api.get())["files"][0]["file_path"] == "models/a=7Cb=2Bc@d/m/v1/f0.bin"


@pytest.mark.case("U21")
def test_test_events_and_empty_ones_do_nothing(api):
    with nothing_written():
        deliver(
            {
                "Service": "Amazon S3",
                "Event": "s3:TestEvent",
                "Time": "2026-01-01T00:00:00.000Z",
                "Bucket": "modelkeep",
                "RequestId": "5582815E1AEA5ADF",
                "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE",
            }
        )
        deliver({"Records": []})
        deliver({"Records": None})
        deliver({})


@pytest.mark.case("U21")
def test_a_bad_record_does_not_keep_the_other_from_being_published_and_is_raised(api, monkeypatch):
    from registry.uploads import working

    bad, good = start(api, 1, model_id="bad"), start(api, 1, model_id="good")
    work = working.work

    def fail(upload_id, *arguments, **named):
        if upload_id == bad["upload_id"]:
            raise ConnectionError("the store is away")
        work(upload_id, *arguments, **named)

    event = event_of(send(bad["files"][0], b"x"), send(good["files"][0], b"x"))
    with monkeypatch.context() as patch:
        patch.setattr(working, "work", fail)
        with pytest.raises(ConnectionError):
            deliver(event)
    assert ok(api.get("good"))["file_count"] == 1
    refused(api.get("bad"), 404)
    deliver(event)  # it comes again
    assert ok(api.get("bad"))["file_count"] == 1


@pytest.mark.case("U21")
def test_a_record_of_another_shape_does_not_keep_the_others_from_being_published(api):
    upload = start(api, 1)
    event = event_of(send(upload["files"][0], b"x"))
    event["Records"].insert(0, {"eventSource": "aws:s3"})
    with suppress(Exception):  # that it is raised is right as well: it then goes to the dead letters
        deliver(event)
    assert ok(api.get())["file_count"] == 1


@pytest.mark.case("U10")
def test_doubled_events_change_nothing(api):
    upload = start(api, 1, 2)
    keys = [send(file, b"x" * file["size"]) for file in upload["files"]]
    event = event_of(*keys, *keys)
    deliver(event)
    before = ok(api.get())
    with nothing_written():
        for _ in range(3):
            deliver(event)
    assert ok(api.get()) == before


@pytest.mark.case("U9")
def test_an_object_that_belongs_to_no_open_upload_is_deleted(api):
    ended = start(api, 1)
    deliver(event_of(send(ended["files"][0], b"x")))
    aborted = start(api, 1)
    ok(api.abort(aborted["upload_id"]))
    published = objects()
    with nothing_written():
        for key in (
            f"modelkeep/uploads/alice/{'0' * 32}/000000",  # nobody's
            f"modelkeep/uploads/alice/{'0' * 32}/archive",
            f"modelkeep/uploads/alice/{ended['upload_id']}/000000",  # overwritten after publication: U9
            f"modelkeep/uploads/alice/{aborted['upload_id']}/000000",
            f"modelkeep/uploads/bob/{aborted['upload_id']}/000000",
        ):
            deliver(event_of(put(key, b"stray")))
            assert objects() == published
    assert ok(api.download(filename="f0.bin")) == b"x"


def test_an_event_with_anothers_user_does_not_touch_the_upload(api):
    upload = start(api, 1)
    key = put(f"modelkeep/uploads/bob/{upload['upload_id']}/000000", b"x")
    deliver(event_of(key))
    refused(api.get(), 404)
    assert objects() == {}
    assert ok(api.upload(upload["upload_id"]))["status"] == "uploading"


@pytest.mark.case("U20")
def test_keys_that_are_none_of_the_inboxs_are_left_alone(api):
    keys = ["models/alice/m/v1/a.bin", "modelkeep/uploads/x", "modelkeep/archives/a.zip", "other/thing"]
    for key in keys:
        put(key, b"x")
    with nothing_written():
        deliver(event_of(*keys))


def test_a_number_that_was_never_announced_publishes_nothing_and_goes_at_the_end(api):
    upload = start(api, 1)
    key = put(f"modelkeep/uploads/alice/{upload['upload_id']}/000077", b"x")
    deliver(event_of(key))
    refused(api.get(), 404)
    deliver(event_of(send(upload["files"][0], b"x")))
    assert ok(api.get())["file_count"] == 1
    assert list(objects()) == ["models/alice/m/v1/f0.bin"]


def test_an_event_whose_object_is_gone_does_nothing(api):
    upload = start(api, 1)
    deliver(event_of(f"modelkeep/uploads/alice/{upload['upload_id']}/000000"))
    now = ok(api.upload(upload["upload_id"], urls="true"))
    assert now["status"] == "uploading" and now["files"][0]["status"] == "pending"


@pytest.mark.case("U5")
def test_a_file_whose_digest_does_not_hold_fails_goes_and_gets_a_fresh_url(api):
    good = hashlib.sha256(b"good").hexdigest()
    upload = ok(api.start(files=[{"path": "a.bin", "size": 4, "sha256": good}, {"path": "b.bin", "size": 1}]), 201)
    deliver(event_of(send(upload["files"][1], b"b")))
    deliver(event_of(send(upload["files"][0], b"evil")))
    now = ok(api.upload(upload["upload_id"], urls="true"))
    assert now["status"] in ("uploading", "processing")  # the upload itself does not fail by it
    assert (now["files"][0]["status"], now["files"][0]["code"]) == ("failed", "sha256_mismatch")
    assert now["files"][0]["sha256"] == good
    assert list(objects()) == ["models/alice/m/v1/b.bin"]
    refused(api.get(), 404)
    deliver(event_of(send(now["files"][0], b"good")))
    assert ok(api.download(filename="a.bin")) == b"good"


@pytest.mark.case("U6")
def test_a_file_of_another_size_than_announced_fails_alike(api):
    upload = start(api, 4)
    for content in (b"", b"abc", b"abcde", b"x" * 40):
        file = ok(api.upload(upload["upload_id"], urls="true"))["files"][0]
        deliver(event_of(send(file, content)))
        now = ok(api.upload(upload["upload_id"]))["files"][0]
        assert (now["status"], now["code"]) == ("failed", "size_mismatch")
        assert objects() == {}
    deliver(event_of(send(ok(api.upload(upload["upload_id"], urls="true"))["files"][0], b"abcd")))
    assert ok(api.download(filename="f0.bin")) == b"abcd"


def test_empty_files_are_files(api):
    upload = start(api, 0)
    deliver(event_of(send(upload["files"][0], b"")))
    assert ok(api.get())["files"][0]["file_hash"] == hashlib.sha256(b"").hexdigest()


FILES = {"w/a.pt": b"a" * 3000, "requirements.txt": b"numpy\n", "b.json": b"{}"}


def test_an_archive_is_unpacked_into_a_version(api):
    data = make_zip(FILES)
    upload = ok(api.start(archive={"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}, tags=["z"]), 201)
    deliver(event_of(send(upload["archive"], data)))
    now = ok(api.upload(upload["upload_id"]))
    assert (now["status"], now["archive"]["status"], now["file_count"]) == ("ready", "verified", 3)
    body = ok(api.get())
    assert {file["filename"]: read_object(file["file_path"]) for file in body["files"]} == FILES
    assert (body["dependencies"], body["tags"], body["framework"]) == (["numpy"], ["z"], "pytorch")
    assert all(key.startswith("models/") for key in objects())
    with nothing_written():
        deliver(event_of(f"modelkeep/uploads/alice/{upload['upload_id']}/archive"))


def test_an_archive_may_lose_its_folders(api):
    data = make_zip(FILES)
    upload = ok(api.start(archive={"size": len(data), "preserve_structure": False}), 201)
    deliver(event_of(send(upload["archive"], data)))
    assert sorted(file["filename"] for file in ok(api.get())["files"]) == ["a.pt", "b.json", "requirements.txt"]


@pytest.mark.parametrize(
    ("code", "announced", "data"),
    [
        ("archive_traversal", {}, make_zip({"a": b"1", "../e": b"2"})),
        ("size_mismatch", {"size": 7}, make_zip({"a": b"1"})),
        ("sha256_mismatch", {"sha256": "0" * 64}, make_zip({"a": b"1"})),
        ("archive_empty", {}, make_zip({})),
    ],
)
def test_a_refused_archive_fails_the_upload_leaves_nothing_and_is_not_retried(api, code, announced, data):
    upload = ok(api.start(version="v1", archive={"size": len(data), **announced}), 201)
    event = event_of(send(upload["archive"], data))
    deliver(event)  # returns: asking again cannot help
    now = ok(api.upload(upload["upload_id"]))
    assert (now["status"], now["code"]) == ("failed", code)
    assert now["detail"] and now["archive"]["status"] == "failed"
    assert objects() == {}
    refused(api.get(), 404)
    deliver(event)
    assert objects() == {}
    assert ok(api.single(version="v1"))["version"] == "v1"


def test_our_own_word_works_like_an_event(api):
    upload = start(api, 1)
    send(upload["files"][0], b"x")
    deliver({"upload_id": upload["upload_id"]})
    assert ok(api.get())["file_count"] == 1


def test_after_publication_only_the_purge_of_the_inbox_is_due(api):
    upload = start(api, 1)
    deliver(event_of(send(upload["files"][0], b"x")))
    work = {key: item for key, item in items().items() if key[0].startswith("WK#")}
    assert len(work) == 1 and '"purge"' in next(iter(work.values()))


def bridged(key: str, *, bucket: str = "modelkeep", reason: str = "PutObject"):
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": "2026-01-01T00:00:00Z",
        "region": "us-east-1",
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": bucket},
            "object": {"key": key, "size": 1, "etag": "e", "sequencer": "617f08299329d189"},
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "192.0.2.1",
            "reason": reason,
        },
    }


@pytest.mark.parametrize("user_id", ["alice", "a|b+c@d", "a@b.example"])
@pytest.mark.parametrize("reason", ["PutObject", "CompleteMultipartUpload", "CopyObject"])
def test_eventbridge_wakes_an_upload_as_a_notification_does(api, user_id, reason):
    api.user_id = user_id
    upload = start(api, 1)
    event = bridged(send(upload["files"][0], b"x"), reason=reason)
    deliver(event)
    assert ok(api.get())["file_count"] == 1
    with nothing_written():
        deliver(event)


@pytest.mark.case("U19")
@pytest.mark.parametrize("user", ["a b", "a%40b", "a+b"])
def test_keys_by_eventbridge_are_not_decoded(api, user):
    upload = start(api, 1)
    key = put(f"modelkeep/uploads/{user}/{upload['upload_id']}/000000", b"x")
    with nothing_written():
        deliver(bridged(key))  # no user is written so: it is no key of the inbox's
    assert key in objects()


def test_eventbridge_too_has_what_nobody_waits_for_deleted(api):
    upload = start(api, 1)
    deliver(bridged(put(f"modelkeep/uploads/bob/{upload['upload_id']}/000000", b"x")))
    assert objects() == {}


def test_another_buckets_objects_are_none_of_ours(api):
    upload = start(api, 1)
    key = send(upload["files"][0], b"x")
    other = event_of(key)
    other["Records"][0]["s3"]["bucket"]["name"] = "other"
    with nothing_written():
        deliver(bridged(key, bucket="other"))
        deliver(other)
