"""verify_files: whether what lies in the store still is what was recorded; and a flipped byte that no copy spreads."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections import Counter
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from tests.functional.kit import BUCKET, CLAIM, deliver, event_of, items, ok, refused, send, sweep
from tests.lives import lives_of

MIB = 1024 * 1024
ROW = ("V#files", "#")


def flip(key: str, at: int = 0) -> None:
    """One bit of what the store has on its disk: its ETag and all that it says of the object stay as they are."""
    stored = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET].keys[key]
    etag, data = stored.etag, bytearray(stored.value)
    data[at] ^= 1
    stored.value = bytes(data)
    assert stored.etag == etag


def replace(key: str, data: bytes) -> None:
    from registry.storage.client import s3

    s3().put_object(Bucket=BUCKET, Key=key, Body=data)


def verify(gibibytes: float = 1) -> None:
    importlib.import_module("functions.verify_files.app").lambda_handler({"gibibytes": gibibytes}, None)


@pytest.fixture(autouse=True)
def unlimited(setting) -> None:
    """Forms and answers of any size."""
    setting(request_limit_bytes=0, inline_limit_bytes=0)


@pytest.fixture
def found(api, caplog):
    """Runs a whole round, and says what was found: what, model, version, path."""

    def look() -> list[tuple[str, str, str, str]]:
        caplog.clear()
        verify()
        assert json.loads(items()[ROW])["place"]
        verify()
        lines = [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]
        assert all("://" not in str(vars(line)) and "Signature" not in str(vars(line)) for line in lines)
        assert {line.user_id for line in lines} <= {"alice"}
        return sorted((line.what, line.model_id, line.version, line.path) for line in lines)

    return look


@pytest.fixture
def reads(on_moto, monkeypatch) -> Counter[str]:
    """How often each object was asked for its bytes, and the table for any."""
    from botocore.client import BaseClient

    counted: Counter[str] = Counter()
    real = BaseClient._make_api_call

    def call(client: Any, operation: str, given: dict[str, Any]) -> Any:
        if operation == "GetObject" and given["Key"] != CLAIM:
            counted[given["Key"]] += 1
        elif operation in ("PutItem", "UpdateItem", "DeleteItem", "PutObject", "DeleteObject"):
            counted[operation] += 1
        return real(client, operation, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return counted


def test_what_is_as_recorded_is_found_to_be_so_and_nothing_is_changed(api, found, reads):
    ok(api.single("one"))
    ok(api.folder({"a.bin": b"a", "b/empty": b"", "c.txt": b"c"}, "two"))
    many = {f"{number:03d}-{'long' * 20}.json": str(number).encode() for number in range(150)}  # more than fit inline
    ok(api.folder(many, "many"))
    reads.clear()
    assert found() == []
    assert reads.pop("PutItem") == 2  # how far it is, at the end of each run
    keys = {key for key in reads if key.startswith("models/")}
    assert len(keys) == 1 + 2 + 150 and set(reads.values()) == {1} and set(reads) == keys


@pytest.mark.parametrize("size", [1, 6 * MIB, 65 * MIB])
def test_a_flipped_byte_is_found(api, found, size):
    ok(api.single("bad", content=bytes(size)))
    ok(api.single("good"))
    flip("models/alice/bad/v1/model.pkl", size - 1)
    assert found() == [("damaged", "bad", "v1", "model.pkl")]


def test_what_is_missing_cut_short_or_another_object_is_found(api, found):
    ok(api.folder({name: name.encode() for name in ("cut", "empty", "gone", "other", "right")} | {"nil": b""}))
    from registry.storage.client import s3

    place = "models/alice/m/v1/"
    s3().delete_object(Bucket=BUCKET, Key=place + "gone")
    replace(place + "cut", b"cu")
    replace(place + "other", b"OTHER")
    replace(place + "nil", b"x")
    assert found() == [
        ("damaged", "m", "v1", "cut"),
        ("damaged", "m", "v1", "nil"),
        ("damaged", "m", "v1", "other"),
        ("missing", "m", "v1", "gone"),
    ]


def copy_in_parts(key: str, data: bytes) -> None:
    """As some tools restore large objects."""
    from registry.storage.client import s3

    where = {"Bucket": BUCKET, "Key": key}
    where["UploadId"] = s3().create_multipart_upload(**where)["UploadId"]
    parts = [
        {"PartNumber": number, "ETag": s3().upload_part(**where, PartNumber=number, Body=piece)["ETag"]}
        for number, piece in enumerate((data[: 5 * MIB], data[5 * MIB :]), 1)
    ]
    s3().complete_multipart_upload(**where, MultipartUpload={"Parts": parts})


@pytest.mark.parametrize("many", [False, True])
def test_the_right_bytes_of_another_object_are_told_apart_and_can_be_accepted(api, started, found, many):
    from registry.catalog.verifying import Walk

    data = os.urandom(6 * MIB)
    others = {f"{number:03d}-{'long' * 20}.json": b"{}" for number in range(150)} if many else {}
    ok(api.folder({"model.pkl": data} | others))
    key = "models/alice/m/v1/model.pkl"
    copy_in_parts(key, data)
    assert found() == [("replaced", "m", "v1", "model.pkl")]
    flip(key)
    assert found() == [("damaged", "m", "v1", "model.pkl")]
    told: list[Any] = []
    assert Walk(told.append, accept=True).look_at_files()
    assert [finding.what for finding in told] == ["damaged"]
    copy_in_parts(key, data)
    walk = Walk(pytest.fail, accept=True)
    assert walk.look_at_files() and walk.accepted == 1
    assert found() == []
    assert ok(api.download(filename="model.pkl")) == data
    same = [{"path": "b.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}]
    again = ok(api.start(version="v2", files=same), 201)
    started.run()
    assert ok(api.upload(again["upload_id"]))["status"] == "ready"


def test_what_the_store_does_not_give_is_found_and_a_store_that_is_away_is_an_error(api, found, monkeypatch):
    from botocore.exceptions import ClientError
    from registry.storage import objects
    from registry.storage.client import s3

    ok(api.folder({"bad": b"bad", "good": b"good"}))
    real = objects._open

    def broken(key: str, *arguments: Any) -> Any:
        if key.endswith("/bad"):
            raise ClientError({"Error": {"Code": "InternalError"}, "ResponseMetadata": {"HTTPStatusCode": 500}}, "x")
        return real(key, *arguments)

    monkeypatch.setattr(objects, "_open", broken)
    assert found() == [("unreadable", "m", "v1", "bad")]

    def away(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "x")

    monkeypatch.setattr(s3(), "head_object", away)
    with pytest.raises(ClientError, match="SlowDown"):
        verify()


def test_rows_of_files_that_are_lost_are_found(api, found):
    from registry.records import ManifestRow

    many = {f"{number:03d}-{'long' * 20}.json": b"{}" for number in range(150)}
    upload = ok(api.folder(many))
    assert upload["file_count"] == 150
    (pk,) = {pk for pk, _ in items() if pk.startswith("F#")}
    last = max(sk for key, sk in items() if key == pk)
    ManifestRow(pk, last).delete()
    assert ("incomplete", "m", "v1", "") in found()


def test_objects_that_no_record_names_are_found(api, found):
    ok(api.single())
    replace("models/alice/m/v1/more.bin", b"x")
    replace("models/alice/m/v2/a", b"x")
    replace("models/alice/m/v2/b/c", b"x")
    replace("models/others-readme.txt", b"what others keep there is not ours to judge")
    assert found() == [("unrecorded", "m", "v1", "more.bin"), ("unrecorded", "m", "v2", "a")]


def test_what_is_on_its_way_is_not_found(api, found, move_clock):
    """Of uploads that are open, or ended and not yet swept."""
    files = [{"path": "a", "size": 1}, {"path": "b", "size": 1}]
    upload = ok(api.start("open", version="v1", files=files), 201)
    deliver(event_of(send(upload["files"][0], b"x")))
    aborted = ok(api.start("aborted", version="v1", files=files), 201)
    ok(api.abort(aborted["upload_id"]))
    replace("models/alice/aborted/v1/a", b"x")  # by a worker that was late
    assert found() == []
    move_clock(2 * 3600)
    sweep()
    assert found() == []
    replace("models/alice/aborted/v1/a", b"x")  # and this is one that should not be
    assert found() == [("unrecorded", "aborted", "v1", "a")]


def test_a_version_that_is_deleted_meanwhile_is_no_finding(api, found, monkeypatch, caplog):
    from registry.storage import objects, verifying

    real = verifying.read
    ok(api.single())

    def read(*arguments: Any, **more: Any) -> Any:
        ok(api.delete())
        return real(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(verifying, "read", read)
        assert found() == []
    ok(api.single(version="v2"))
    listed = objects.list_objects

    def list_then_delete(*arguments: Any, **more: Any) -> Any:
        entries = list(listed(*arguments, **more))
        with monkeypatch.context() as patch:
            patch.setattr(objects, "list_objects", listed)
            ok(api.delete())
        return iter(entries)

    verify()
    monkeypatch.setattr(objects, "list_objects", list_then_delete)
    verify()
    refused(api.get(), 404)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]


# -- runs -------------------------------------------------------------------------------------------------------------


def is_through() -> bool:
    """Whether all files have been read, and it is the objects' turn."""
    return ROW in items() and json.loads(json.loads(items()[ROW])["place"]["S"])["key"] == ""


def test_runs_go_on_where_the_last_one_stopped_and_begin_anew_at_the_end(api, reads, monkeypatch):
    from registry.catalog import verifying

    monkeypatch.setattr(verifying, "_FILES_AT_ONCE", 2)
    monkeypatch.setattr(verifying, "_FILE_WEIGHT", 1 << 28)  # so that four files are a gibibyte
    for number in range(3):
        ok(api.folder({name: name.encode() for name in "abcde"}, f"m{number}"))
    reads.clear()
    runs = []
    while not is_through():
        before = sum(reads.values())
        verify()
        runs.append(sum(reads.values()) - before - 1)  # its own place
    assert runs == [4, 5, 5, 1]
    assert {count for key, count in reads.items() if key.startswith("models/")} == {1}
    verify()  # the objects
    verify()  # and from the beginning
    assert max(count for key, count in reads.items() if key.startswith("models/")) == 2


def test_nothing_is_done_where_nothing_shall_be(api, reads):
    ok(api.single())
    reads.clear()
    verify(0)
    assert not reads
    assert ROW not in items()


def test_a_file_that_outlasts_a_run_is_gone_on_with(api, reads, monkeypatch, caplog):
    from registry import deadlines
    from registry.storage import hashing

    data = os.urandom(70 * MIB)
    ok(api.single("long", content=data))
    ok(api.single("short"))
    monkeypatch.setattr(hashing, "_RANGE_BYTES", 10 * MIB)
    monkeypatch.setattr(hashing, "_AHEAD", 1)
    monkeypatch.setattr(deadlines, "Deadline", lives_of(4, successors=1.0))
    reads.clear()
    runs = 0
    while not is_through():
        verify()
        runs += 1
        assert runs < 10
    assert runs >= 3
    assert 7 <= reads["models/alice/long/v1/model.pkl"] <= 7 + runs  # ranges: none is hashed twice
    assert reads["models/alice/short/v1/model.pkl"] == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_file_that_no_run_can_come_to_the_end_of_keeps_no_other_from_its_turn(api, reads, monkeypatch, caplog):
    from registry import deadlines, hashing

    ok(api.single("long", content=bytes(70 * MIB)))
    ok(api.single("short"))
    monkeypatch.setattr(hashing, "can_resume", lambda: False)
    monkeypatch.setattr(deadlines, "Deadline", lives_of(3, successors=1.0))
    for _ in range(4):
        verify()
    assert reads["models/alice/short/v1/model.pkl"] >= 1
    assert any("no run lives long enough" in record.message for record in caplog.records)


def test_findings_are_counted_and_none_is_not(api, monkeypatch, capsys):
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Modelkeep")
    ok(api.folder({"a": b"a", "b": b"b", "c": b"c"}))
    replace("models/alice/m/v9/a", b"nobody's")

    def counted() -> list[list[float]]:
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
        return [line["DamagedFiles"] for line in lines if "DamagedFiles" in line]

    verify()
    verify()
    assert counted() == []
    flip("models/alice/m/v1/a")
    flip("models/alice/m/v1/c")
    verify()
    verify()
    assert counted() == [[2.0]]


# -- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 6 * MIB, 12 * MIB], ids=["passes here", "told by the store", "in parts"])
def test_a_copy_never_spreads_a_flipped_byte(api, started, monkeypatch, caplog, size):
    from registry.storage import multiparts

    if size > 10 * MIB:
        monkeypatch.setattr(multiparts, "MAX_PART_BYTES", 10 * MIB)
    data = os.urandom(size)
    digest = hashlib.sha256(data).hexdigest()
    ok(api.single(content=data, filename="a.bin"))
    flip("models/alice/m/v1/a.bin", size // 2)
    files = [{"path": "b.bin", "size": size, "sha256": digest}]
    upload = ok(api.start(version="v2", files=files), 201)
    assert [file["status"] for file in upload["files"]] == ["stored"]
    started.run()
    (file,) = ok(api.upload(upload["upload_id"], urls="true"))["files"]
    assert (file["status"], file["code"]) == ("pending", "source_damaged")
    assert "models/alice/m/v2/b.bin" not in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET].keys
    refused(api.get(version="v2"), 404)
    assert [record.key for record in caplog.records if record.levelname == "ERROR"] == ["models/alice/m/v1/a.bin"]
    if size > 10 * MIB:
        return  # in parts, which are another test's
    deliver(event_of(send(file, data)))
    assert ok(api.download(version="v2", filename="b.bin")) == data
    # And from now on copies are made of the good one.
    again = ok(api.start(version="v3", files=files), 201)
    started.run()
    assert ok(api.upload(again["upload_id"]))["status"] == "ready"
    assert ok(api.download(version="v3", filename="b.bin")) == data


def test_no_zip_is_built_of_a_flipped_byte_whose_crc_is_not_known_yet(api, started):
    """The digest is held while the CRC-32 is found out; later it is the ZIP's own CRC-32s that tell."""
    data = os.urandom(6 * MIB)
    upload = ok(api.start(version="v1", files=[{"path": "a.bin", "size": len(data)}]), 201)
    deliver(event_of(send(upload["files"][0], data)))
    flip("models/alice/m/v1/a.bin")
    from registry import exports
    from registry.storage.client import ChecksumError

    with pytest.raises(ChecksumError):
        exports.build_archive({"user_id": "alice", "model_id": "m", "version": "v1"})
    assert not [key for key in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET].keys if "archives" in key]
