"""Uploads straight to the store: what a client with nothing but HTTP can do, and what it is kept from doing."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import zipfile
from typing import Any

import pytest
import requests

from tests.end_to_end import making
from tests.end_to_end.client import PART, Client, eventually, send, send_all, sha256
from tests.end_to_end.conftest import Keys

LARGE = 2 * PART + PART // 2  # 40 MiB: three parts
SENDER = """
import http.client, json, sys, urllib.parse
plan = json.load(sys.stdin)
for part in plan["parts"]:
    url = urllib.parse.urlsplit(part["url"])
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.netloc)
    connection.putrequest("PUT", url.path + "?" + url.query, skip_accept_encoding=True)
    connection.putheader("Content-Length", str(part["length"]))
    connection.endheaders()
    with open(plan["file"], "rb") as file:
        file.seek((part["number"] - 1) * plan["part_size"])
        connection.send(file.read(part["length"] // 2))
        if part["number"] == plan["hangs_in"]:
            print("hanging", flush=True)
            sys.stdin.close()
            import time
            time.sleep(600)
        connection.send(file.read(part["length"] - part["length"] // 2))
    assert connection.getresponse().status == 200
"""


@pytest.fixture(scope="module")
def large() -> bytes:
    return random.Random(1).randbytes(LARGE)


def complete(client: Client, upload_id: str) -> None:
    """It works until the version is published, or for 20 s: a slow machine goes on behind a 202."""
    answer = client.complete(upload_id)
    assert answer.status_code in (200, 202), answer.text
    client.wait(upload_id)


def publish(client: Client, path: str, data: bytes, model_id: str) -> None:
    """A version of one file, of any size."""
    started = client.start(model_id, files=[{"path": path, "size": len(data)}])
    send_all(started["files"][0], data)
    client.complete(started["upload_id"])
    client.wait(started["upload_id"])


def test_the_last_event_publishes_where_every_file_is_one_put(client: Client, keys: Keys) -> None:
    contents = {"weights/model.onnx": b"model" * 1000, "config.json": b"{}", "empty.txt": b"", "note": b"plain"}
    digests = {"weights/model.onnx", "empty.txt"}  # the others come without
    files = [
        {"path": path, "size": len(data), **({"sha256": sha256(data)} if path in digests else {})}
        for path, data in contents.items()
    ]
    started = client.start(name="Direct", tags=["a", "b"], num_parameters=12, files=files)
    assert (started["status"], started["version"], started["file_count"]) == ("uploading", "v1", 4)
    assert started["bytes_total"] == sum(map(len, contents.values()))
    assert {entry["status"] for entry in started["files"]} == {"pending"}
    for entry in started["files"]:
        client.assert_invisible()
        send_all(entry, contents[entry["path"]])
    ready = client.wait(started["upload_id"])
    assert {entry["status"] for entry in ready["files"]} == {"verified"}
    assert ready["bytes_stored"] == ready["bytes_total"]
    metadata = client.metadata()
    assert {file["filename"]: file["file_hash"] for file in metadata["files"]} == {
        path: sha256(data) for path, data in contents.items()
    }
    assert (metadata["framework"], metadata["name"], metadata["tags"]) == ("onnx", "Direct", ["a", "b"])
    assert metadata["num_parameters"] == 12
    for path, data in contents.items():
        assert client.content(path) == data
    assert eventually(lambda: keys(f"modelkeep/uploads/{client.user_id}/"), lambda left: not left) == []


def test_a_file_in_parts_is_published_by_complete(client: Client, large: bytes) -> None:
    started = client.start(files=[{"path": "model.bin", "size": LARGE, "sha256": sha256(large)}])
    multipart = started["files"][0]["multipart"]
    assert (multipart["part_size"], multipart["part_count"], multipart["stored_parts"]) == (PART, 3, [])
    refused = client.complete(started["upload_id"])
    assert (refused.status_code, refused.json()["code"]) == (400, "upload_incomplete")
    assert refused.json()["missing"] == [{"path": "model.bin", "parts": [1, 2, 3]}]
    client.assert_invisible()
    send_all(started["files"][0], large)
    complete(client, started["upload_id"])
    complete(client, started["upload_id"])  # it may be repeated
    assert client.metadata()["files"][0]["file_hash"] == sha256(large)
    assert client.content("model.bin") == large


@pytest.mark.case("U2")
def test_after_sigkill_only_what_the_store_lacks_is_sent_again(client: Client, large: bytes, tmp_path: Any) -> None:
    (tmp_path / "model.bin").write_bytes(large)
    started = client.start(files=[{"path": "model.bin", "size": LARGE}, {"path": "small.txt", "size": 5}])
    multipart = started["files"][0]["multipart"]
    parts = [{**part, "length": min(PART, LARGE - (part["number"] - 1) * PART)} for part in multipart["parts"]]
    plan = {"parts": parts, "part_size": PART, "file": str(tmp_path / "model.bin"), "hangs_in": 3}
    sender = subprocess.Popen([sys.executable, "-c", SENDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert sender.stdin is not None
    assert sender.stdout is not None
    sender.stdin.write(json.dumps(plan).encode())
    sender.stdin.close()
    assert sender.stdout.readline() == b"hanging\n"
    sender.kill()  # in the middle of the third part
    sender.wait()

    upload = client.upload(started["upload_id"], urls=True)
    assert upload["status"] == "uploading"
    resumed = next(entry for entry in upload["files"] if entry["path"] == "model.bin")
    assert resumed["multipart"]["stored_parts"] == [1, 2]
    assert [part["number"] for part in resumed["multipart"]["parts"]] == [3]
    for entry in upload["files"]:
        send_all(entry, large if entry["path"] == "model.bin" else b"small")
    complete(client, started["upload_id"])
    assert client.content("model.bin") == large


def test_a_part_with_its_digest_is_taken_only_undamaged(client: Client, large: bytes) -> None:
    started = client.start(files=[{"path": "model.bin", "size": LARGE}])
    upload_id = started["upload_id"]
    pieces = {number: large[(number - 1) * PART : number * PART] for number in (1, 2, 3)}
    signed = client.parts(upload_id, "model.bin", {number: sha256(piece) for number, piece in pieces.items()})
    damaged = b"x" + pieces[1][1:]
    assert send(signed[0], damaged).status_code == 400
    assert client.upload(upload_id, urls=True)["files"][0]["multipart"]["stored_parts"] == []
    for part in signed:
        assert send(part, pieces[part["number"]]).status_code == 200
    complete(client, upload_id)
    assert client.content("model.bin") == large


@pytest.mark.case("U6")
def test_the_store_takes_no_other_size_digest_or_key(client: Client, large: bytes) -> None:
    data = b"0123456789"
    started = client.start(
        files=[
            {"path": "a.bin", "size": 10, "sha256": sha256(data)},
            {"path": "b.bin", "size": 10},
            {"path": "c.bin", "size": LARGE},
        ]
    )
    a, b, c = started["files"]
    for wrong in (data[:-1], data + b"x", b"", data * 10):
        assert send(a["put"], wrong).status_code == 403
        assert send(b["put"], wrong).status_code == 403
    assert send(a["put"], b"9876543210").status_code == 400
    # The digest's header is signed; MinIO says 400 where it is missing.
    assert send({"url": a["put"]["url"], "headers": {}}, data).status_code in (400, 403)
    assert send(c["multipart"]["parts"][0], large[: PART - 1]).status_code == 403
    elsewhere = {"url": b["put"]["url"].replace("/000001?", "/000009?"), "headers": {}}
    assert elsewhere["url"] != b["put"]["url"]
    assert send(elsewhere, data).status_code == 403
    assert requests.get(b["put"]["url"], timeout=60).status_code == 403
    assert requests.delete(b["put"]["url"], timeout=60).status_code == 403
    assert {entry["status"] for entry in client.upload(started["upload_id"])["files"]} == {"pending"}
    client.assert_invisible()


@pytest.mark.case("U5")
def test_a_file_whose_digest_does_not_hold_fails_alone_and_may_be_sent_again(client: Client, large: bytes) -> None:
    started = client.start(
        files=[{"path": "model.bin", "size": LARGE, "sha256": sha256(large)}, {"path": "config.json", "size": 2}]
    )
    upload_id = started["upload_id"]
    send_all(started["files"][1], b"{}")
    send_all(started["files"][0], b"damaged!" + large[8:])
    answer = client.complete(upload_id)
    assert answer.status_code in (200, 202, 400), answer.text

    def model() -> Any:
        return next(entry for entry in client.upload(upload_id, urls=True)["files"] if entry["path"] == "model.bin")

    failed = eventually(model, lambda entry: entry["status"] == "failed")
    assert (failed["status"], failed["code"]) == ("failed", "sha256_mismatch")
    assert client.upload(upload_id)["status"] in ("uploading", "processing")
    client.assert_invisible()
    assert failed["multipart"]["stored_parts"] == []
    assert [part["number"] for part in failed["multipart"]["parts"]] == [1, 2, 3]
    assert send(failed["multipart"]["parts"][0], large[:PART]).status_code == 200
    refused = client.complete(upload_id)
    assert (refused.status_code, refused.json()["code"]) == (400, "upload_incomplete")
    assert refused.json()["missing"] == [{"path": "model.bin", "parts": [2, 3], "code": "sha256_mismatch"}]
    fresh = model()
    assert [part["number"] for part in fresh["multipart"]["parts"]] == [2, 3]
    send_all(fresh, large)
    complete(client, upload_id)
    assert client.content("model.bin") == large
    assert client.metadata()["file_count"] == 2


@pytest.mark.parametrize("size", ["one put", "parts"])
def test_an_archive_is_unpacked_and_published(client: Client, keys: Keys, size: str, large: bytes) -> None:
    contents = {"a/model.onnx": b"model" * 1000, "b.txt": b"text", "empty": b""}
    if size == "parts":
        contents["weights.bin"] = large[: PART + 1000]
    archive = making.zipped(contents, method=zipfile.ZIP_DEFLATED)
    started = client.start(name="From a ZIP", archive={"size": len(archive), "sha256": sha256(archive)})
    assert started["files"] == []
    send_all(started["archive"], archive)
    if size == "parts":
        assert started["archive"]["multipart"]["part_count"] == 2
        complete(client, started["upload_id"])
    ready = client.wait(started["upload_id"])
    assert (ready["archive"]["status"], ready["file_count"]) == ("verified", len(contents))
    assert {file["filename"]: file["file_hash"] for file in client.metadata()["files"]} == {
        path: sha256(data) for path, data in contents.items()
    }
    for path, data in contents.items():
        assert client.content(path) == data
    assert eventually(lambda: keys(f"modelkeep/uploads/{client.user_id}/"), lambda left: not left) == []


def test_a_bad_archive_fails_the_upload_and_frees_the_version(client: Client, keys: Keys) -> None:
    archive = making.zipped({"good.bin": b"good", "../evil": b"evil"})
    started = client.start(archive={"size": len(archive)})
    send_all(started["archive"], archive)
    failed = client.wait(started["upload_id"], "failed")
    assert failed["code"].startswith("archive_")
    assert failed["detail"]
    client.assert_invisible()
    assert eventually(lambda: keys(f"models/{client.user_id}/"), lambda left: not left) == []
    assert client.single("model.pkl", b"bytes", version="v1").status_code == 200
    assert client.upload(started["upload_id"])["status"] == "failed"  # it is remembered


@pytest.mark.needs("unlimited")
def test_bytes_that_are_there_already_are_not_sent(client: Client, keys: Keys, large: bytes) -> None:
    contents = {"model.bin": large, "config.json": b'{"there": "already"}'}
    for path, data in contents.items():
        publish(client, path, data, f"source-{path}")
    # A version can be read a moment before its bytes are remembered and its inbox is empty, in this order.
    assert eventually(lambda: keys(f"modelkeep/uploads/{client.user_id}/"), lambda left: not left) == []
    files = [{"path": f"copy/{path}", "size": len(data), "sha256": sha256(data)} for path, data in contents.items()]
    started = client.start(files=files)
    assert [entry["status"] for entry in started["files"]] == ["stored", "stored"]
    assert not any("put" in entry or "multipart" in entry for entry in started["files"])
    complete(client, started["upload_id"])
    for path, data in contents.items():
        assert client.content(f"copy/{path}") == data
    # One that is new beside them: its event publishes.
    mixed = client.start("mixed", files=[*files, {"path": "new.txt", "size": 3}])
    assert [entry["status"] for entry in mixed["files"]] == ["stored", "stored", "pending"]
    send_all(mixed["files"][2], b"new")
    client.wait(mixed["upload_id"])
    # What was copied does not depend on where it came from.
    for path in contents:
        assert requests.delete(f"{client.models}/source-{path}", timeout=60).status_code == 200
    assert client.content("copy/model.bin", "mixed") == large


@pytest.mark.needs("unlimited")
def test_a_file_that_arrives_while_stored_ones_are_copied_is_not_forgotten(client: Client, large: bytes) -> None:
    publish(client, "model.bin", large, "source")
    files = [{"path": "copy.bin", "size": LARGE, "sha256": sha256(large)}, {"path": "new.txt", "size": 3}]
    uploads = []
    for delay in (0.05, 0.15, 0.3):
        started = client.start(f"model-{delay}", files=files)
        time.sleep(delay)  # the start's own worker copies meanwhile
        send_all(started["files"][1], b"new")
        uploads.append(started["upload_id"])
    for upload_id in uploads:
        client.wait(upload_id)


def test_a_source_that_is_deleted_makes_the_file_pending_again_or_is_copied_in_time(client: Client) -> None:
    data = b"stored before" * 100
    assert client.single("model.bin", data, "source").status_code == 200
    started = client.start(
        files=[{"path": "copy.bin", "size": len(data), "sha256": sha256(data)}, {"path": "new.txt", "size": 3}]
    )
    assert [entry["status"] for entry in started["files"]] == ["stored", "pending"]
    assert requests.delete(f"{client.models}/source", timeout=60).status_code == 200
    send_all(started["files"][1], b"new")
    for _ in range(100):
        upload = client.upload(started["upload_id"], urls=True)
        if upload["status"] == "ready":
            break
        for entry in upload["files"]:
            if entry["status"] == "pending":
                send_all(entry, data if entry["path"] == "copy.bin" else b"new")
        eventually(lambda: client.upload(started["upload_id"])["status"], lambda status: status == "ready", seconds=1)
    assert client.content("copy.bin") == data


def test_abort_leaves_nothing_and_frees_the_version(client: Client, keys: Keys, large: bytes) -> None:
    started = client.start(files=[{"path": "a.bin", "size": 3}, {"path": "b.bin", "size": LARGE}])
    upload_id = started["upload_id"]
    send_all(started["files"][0], b"abc")
    assert send(started["files"][1]["multipart"]["parts"][0], large[:PART]).status_code == 200
    answer = client.abort(upload_id)
    assert (answer.status_code, answer.json()["status"]) == (200, "aborted")
    assert client.abort(upload_id).json()["status"] == "aborted"
    assert client.complete(upload_id).status_code == 409
    client.assert_invisible()

    def left() -> list[str]:
        return keys(f"models/{client.user_id}/") + keys(f"modelkeep/uploads/{client.user_id}/")

    assert eventually(left, lambda keys: not keys) == []
    # Its URLs still live. What comes through them is nobody's, and goes.
    send(started["files"][0]["put"], b"abc")
    assert eventually(left, lambda keys: not keys) == []
    again = client.start(files=[{"path": "a.bin", "size": 3}])
    send_all(again["files"][0], b"xyz")
    client.wait(again["upload_id"])
    assert client.content("a.bin") == b"xyz"
    refused = client.abort(again["upload_id"])
    assert (refused.status_code, refused.json()["code"]) == (409, "upload_ready")
    assert client.upload(upload_id)["status"] == "aborted"


@pytest.mark.case("U9")
def test_a_put_after_publication_changes_nothing(client: Client, keys: Keys) -> None:
    started = client.start(files=[{"path": "a.bin", "size": 3}])
    send_all(started["files"][0], b"abc")
    client.wait(started["upload_id"])
    send(started["files"][0]["put"], b"xyz")
    assert eventually(lambda: keys(f"modelkeep/uploads/{client.user_id}/"), lambda left: not left) == []
    assert client.content("a.bin") == b"abc"
    assert client.metadata()["files"][0]["file_hash"] == sha256(b"abc")


def test_an_idempotency_key_starts_one_upload(client: Client) -> None:
    files = [{"path": "a.bin", "size": 3}]
    key = {"Idempotency-Key": "one-two-three"}
    first = client.start(headers=key, version=None, files=files)
    again = client.start(headers=key, version=None, files=files)
    assert again["upload_id"] == first["upload_id"]
    assert again["version"] == first["version"] == "v1"
    other = client.try_start(headers=key, version=None, files=[{"path": "b.bin", "size": 3}])
    assert other.status_code == 409
    assert client.start(version=None, files=files)["version"] == "v2"
    send_all(again["files"][0], b"abc")
    client.wait(first["upload_id"])


def test_a_second_start_is_told_which_upload_is_under_way(client: Client) -> None:
    started = client.start(files=[{"path": "a.bin", "size": 3}])
    refused = client.try_start(files=[{"path": "a.bin", "size": 3}])
    assert (refused.status_code, refused.json()["upload_id"]) == (409, started["upload_id"])
    assert client.single("a.bin", b"abc", version="v1").status_code == 409
    uploads = requests.get(f"{client.url}/ai-models/upload", params={"user_id": client.user_id}, timeout=60).json()
    assert [upload["upload_id"] for upload in uploads] == [started["upload_id"]]


def test_files_are_added_before_complete(client: Client) -> None:
    started = client.start(files=[{"path": "a.bin", "size": 3}])
    added = requests.post(
        f"{client.url}/ai-models/upload/{started['upload_id']}/files",
        json={"files": [{"path": "b.bin", "size": 3}]},
        timeout=60,
    )
    assert (added.status_code, added.json()["file_count"]) == (200, 2), added.text
    for entry in client.upload(started["upload_id"], urls=True)["files"]:
        send_all(entry, b"abc")
    client.wait(started["upload_id"])
    assert client.metadata()["file_count"] == 2
