"""start_upload: a direct upload begins."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.functional.kit import (
    deliver,
    event_of,
    items,
    key_in,
    nothing_written,
    objects,
    ok,
    read_object,
    refused,
    send,
)

UPLOAD_KEYS = {
    "upload_id", "user_id", "model_id", "version", "status", "expires_at", "urls_expire_at", "code", "detail",
    "file_count", "bytes_total", "bytes_stored", "files",
}  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_start_with_files_answers_the_upload_with_a_url_a_file(api):
    sha256 = digest(b"abc")
    upload = ok(api.start(files=[{"path": "w/a.bin", "size": 3, "sha256": sha256}, {"path": "b", "size": 5}]), 201)
    assert set(upload) >= UPLOAD_KEYS
    assert re.fullmatch(r"[0-9a-f]{32}", upload["upload_id"])
    assert (upload["user_id"], upload["model_id"], upload["status"]) == ("alice", "m", "uploading")
    assert (upload["file_count"], upload["bytes_total"], upload["bytes_stored"]) == (2, 8, 0)
    assert (upload["code"], upload["detail"]) == (None, None)
    assert TIME.fullmatch(upload["expires_at"]) and TIME.fullmatch(upload["urls_expire_at"])
    first, second = upload["files"]
    assert (first["path"], first["size"], first["sha256"], first["status"]) == ("w/a.bin", 3, sha256, "pending")
    assert (second["sha256"], second["code"]) == (None, None)
    prefix = f"modelkeep/uploads/alice/{upload['upload_id']}/"
    assert key_in(first["put"]["url"]).startswith(prefix) and key_in(second["put"]["url"]).startswith(prefix)
    assert key_in(first["put"]["url"]) != key_in(second["put"]["url"])
    assert list(first["put"]["headers"]) == ["x-amz-checksum-sha256"] and second["put"]["headers"] == {}
    assert "w/a.bin" not in first["put"]["url"]  # never the client's path


def test_the_url_signs_just_what_is_said_and_lives_an_hour_at_most(api):
    upload = ok(api.start(files=[{"path": "a", "size": 3, "sha256": digest(b"abc")}, {"path": "b", "size": 3}]), 201)
    for file, extra in zip(upload["files"], (["x-amz-checksum-sha256"], []), strict=True):
        query = parse_qs(urlsplit(file["put"]["url"]).query)
        assert query["X-Amz-SignedHeaders"] == [";".join(["content-length", "host", *extra])]
        assert int(query["X-Amz-Expires"][0]) <= 3600


def test_a_start_with_an_archive_answers_one_entry_beside_files(api):
    upload = ok(api.start(archive={"size": 100, "sha256": digest(b"z"), "preserve_structure": False}), 201)
    assert upload["files"] == [] and upload["bytes_total"] == 100
    archive = upload["archive"]
    assert (archive["size"], archive["sha256"], archive["preserve_structure"]) == (100, digest(b"z"), False)
    assert archive["status"] == "pending"
    assert key_in(archive["put"]["url"]) == f"modelkeep/uploads/alice/{upload['upload_id']}/archive"


def test_a_version_that_is_only_uploaded_is_seen_nowhere(api):
    ok(api.start(version="v1", files=[{"path": "a", "size": 1}]), 201)
    refused(api.get(), 404)
    refused(api.get(version="v1"), 404)
    assert ok(api.list()) == ok(api.search()) == ok(api.versions()) == []
    refused(api.update(changes={"name": "x"}, version="v1"), 404)
    refused(api.delete(version="v1"), 404)
    refused(api.download(version="v1"), 404)


def test_without_a_version_it_is_one_above_the_highest_ever_used(api):
    def start(**body):
        return ok(api.start(files=[{"path": "a", "size": 1}], **body), 201)

    assert start()["version"] == "v1"
    assert start()["version"] == "v2"
    assert start(version="v10")["version"] == "v10"
    last = start()
    assert last["version"] == "v11"
    ok(api.abort(last["upload_id"]))
    assert start()["version"] == "v12"  # aborted, and still used
    assert start(version="release-99")["version"] == "release-99"
    ok(api.single(version="v20"))
    assert start()["version"] == "v21"
    refused(api.single(version="v30", user_id="search"), 400)
    assert start()["version"] == "v22"  # what was refused was never used
    assert ok(api.start("other", files=[{"path": "a", "size": 1}]), 201)["version"] == "v1"


def test_a_second_start_of_a_version_by_the_same_caller_is_a_409_that_carries_the_upload(api):
    first = ok(api.start(version="v1", files=[{"path": "a", "size": 1}]), 201)
    with nothing_written():
        answer = api.start(version="v1", files=[{"path": "a", "size": 1}])
        detail = refused(answer, 409, "version_uploading")
        assert detail.startswith("Model with this ID and version already exists")
        assert answer.body["upload_id"] == first["upload_id"]
        refused(api.single(version="v1"), 409)
        refused(api.folder({"a": b"1"}, version="v1"), 409)


def test_a_version_that_exists_is_a_409_without_an_upload(api):
    ok(api.single())
    with nothing_written():
        answer = api.start(version="v1", archive={"size": 1})
        assert refused(answer, 409, "version_exists") == "Model with this ID and version already exists"
        assert "upload_id" not in answer.body


def test_a_start_repeated_with_its_idempotency_key_answers_the_same_upload(api):
    body = {"files": [{"path": "a", "size": 1}], "name": "n"}
    key = {"idempotency-key": "a key of any kind"}
    first = ok(api.start(**body, headers=key), 201)
    with nothing_written():
        again = ok(api.start(**body, headers=key), 201)
    assert again["upload_id"] == first["upload_id"] and again["version"] == first["version"] == "v1"
    assert ok(api.start(**body, headers={"idempotency-key": "another"}), 201)["upload_id"] != first["upload_id"]
    with nothing_written():
        refused(api.start(**{**body, "name": "other"}, headers=key), 409)
        refused(api.start(**body, headers={"idempotency-key": ""}), 400)
        refused(api.start(**body, headers={"idempotency-key": "k" * 257}), 400)


def test_a_repeated_start_with_a_named_version_is_no_conflict(api):
    key = {"idempotency-key": "k"}
    first = ok(api.start(version="v1", archive={"size": 5}, headers=key), 201)
    assert ok(api.start(version="v1", archive={"size": 5}, headers=key), 201)["upload_id"] == first["upload_id"]


def test_the_metadata_that_put_takes_is_that_of_the_version(api):
    fields = {
        "name": "N", "description": "d", "tags": ["A", "a", "b"], "framework": "onnx", "model_type": "nlp",
        "algorithm": "x", "training_dataset": "set", "training_accuracy": 0.5, "validation_accuracy": 0.4,
        "test_accuracy": 0.3, "training_loss": 2, "input_shape": [1], "output_shape": {"a": 1}, "num_parameters": 7,
        "python_version": "3.12", "dependencies": ["x"], "hardware_requirements": {"gpu": 1},
        "custom_metadata": {"k": [1]}, "is_active": True, "is_production_ready": True, "primary_file_path": "b.bin",
    }  # fmt: skip
    upload = ok(api.start(**fields, files=[{"path": "a.bin", "size": 1}, {"path": "b.bin", "size": 1}]), 201)
    deliver(event_of(*[send(file, b"x") for file in upload["files"]]))
    body = ok(api.get())
    expected = {**fields, "tags": ["A", "b"], "primary_file_path": "models/alice/m/v1/b.bin"}
    assert {key: body[key] for key in expected} == expected


def test_without_a_name_the_model_is_called_by_its_id(api):
    upload = ok(api.start("my-model", files=[{"path": "a.bin", "size": 1, "description": "the weights"}]), 201)
    deliver(event_of(send(upload["files"][0], b"x")))
    body = ok(api.get("my-model"))
    assert body["name"] == "my-model"
    assert body["files"][0]["description"] == "the weights"


def test_a_start_as_inactive_publishes_an_inactive_version(api):
    ok(api.single())
    upload = ok(api.start(is_active=False, files=[{"path": "a.bin", "size": 1}]), 201)
    deliver(event_of(send(upload["files"][0], b"x")))
    assert ok(api.get())["version"] == "v1"
    assert ok(api.get(version="v2"))["is_active"] is False
    assert [each["version"] for each in ok(api.list())] == ["v1"]


def test_is_primary_marks_the_primary_file(api):
    files = [{"path": "a.pt", "size": 1}, {"path": "z/notes.md", "size": 1, "is_primary": True}]
    upload = ok(api.start(files=files), 201)
    deliver(event_of(*[send(file, b"x") for file in upload["files"]]))
    body = ok(api.get())
    assert body["primary_file_path"].endswith("/z/notes.md")
    assert [file["filename"] for file in body["files"] if file["is_primary"]] == ["z/notes.md"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"files": []},
        {"files": None, "archive": None},
        {"files": [{"path": "a", "size": 1}], "archive": {"size": 1}},
        {"files": {"path": "a", "size": 1}},
        {"files": [{"path": "a"}]},
        {"files": [{"size": 1}]},
        {"files": [{"path": "a", "size": -1}]},
        {"files": [{"path": "a", "size": 1.5}]},
        {"files": [{"path": "a", "size": "1"}]},
        {"files": [{"path": "a", "size": 5 * 1024**4 + 1}]},
        {"files": [{"path": "a", "size": 1, "sha256": "A" * 64}]},
        {"files": [{"path": "a", "size": 1, "sha256": "0" * 63}]},
        {"files": [{"path": "a", "size": 1, "sha256": "0" * 64 + "\n"}]},
        {"files": [{"path": "a", "size": 1, "is_primary": True}, {"path": "b", "size": 1, "is_primary": True}]},
        {"files": [{"path": "a", "size": 1, "status": "verified"}]},
        {"files": [{"path": "a", "size": 1}], "upload_id": "0" * 32},
        {"files": [{"path": "a", "size": 1}], "status": "ready"},
        {"files": [{"path": f"f{n}", "size": 1} for n in range(5_001)]},
        {"archive": {}},
        {"archive": {"size": -1}},
        {"archive": {"size": 1, "etag": "x"}},
        {"archive": {"size": 1}, "version": "latest"},
        {"archive": {"size": 1}, "version": ""},
        {"archive": {"size": 1}, "version": "a/b"},
        {"archive": {"size": 1}, "model_id": "../m"},
        {"archive": {"size": 1}, "user_id": "upload"},
        {"archive": {"size": 1}, "user_id": 5},
        {"archive": {"size": 1}, "name": ""},
        {"archive": {"size": 1}, "tags": ["t" * 300]},
        {"archive": {"size": 1}, "custom_metadata": {"a": "x" * 17_000}},
    ],
    ids=lambda body: str(body)[:60],
)  # fmt: skip
@pytest.mark.case("A5", "A6")
def test_what_is_wrong_is_a_400_and_nothing_is_written(api, body):
    with nothing_written():
        refused(api.start(**{"model_id": "m", **body}), 400)


@pytest.mark.parametrize(
    "path",
    [
        "../a", "a/../b", "..\\a", "/a", "//h/s", "C:\\a", "C:a", "a\0b", "a\x01", "a\x7fb", "a\u202eb", "a\u200bb", "",
        "a//b", "./a", "a/", "a/.", "con", "a/NUL.txt", "a.", "a ", "a" * 256, "/".join("a" * 40), "x/" * 500 + "x",
    ],
    ids=ascii,
)  # fmt: skip
@pytest.mark.case("A4", "A5")
def test_a_path_that_no_version_may_hold_is_refused(api, path):
    with nothing_written():
        answer = api.start(files=[{"path": "good.bin", "size": 1}, {"path": path, "size": 1}])
        refused(answer, 400)
        assert answer.body["code"].startswith("path_")


def test_paths_that_cannot_lie_side_by_side_are_refused(api):
    with nothing_written():
        for paths in (["a", "a"], ["a", "A"], ["a", "a/b"], ["straße", "STRASSE"], ["é", "e\u0301"], ["x/a", "X/b"]):
            refused(api.start(files=[{"path": path, "size": 1} for path in paths]), 400)


def test_a_path_that_makes_a_key_too_long_is_refused(api):
    path = "/".join(["p" * 224] * 4)  # 899 bytes: allowed, but not behind the longest ids
    api.user_id = "u" * 128
    with nothing_written():
        refused(api.start("m" * 128, version="v" * 128, files=[{"path": path, "size": 1}]), 400, "path_too_long")
    api.user_id = "alice"
    ok(api.start(version="v1", files=[{"path": path, "size": 1}]), 201)


@pytest.mark.case("A7")
def test_metadata_too_large_for_a_record_is_refused_not_a_500(api):
    with nothing_written():
        answer = api.start(archive={"size": 1}, dependencies=[f"{n:03d}" + "é" * 1000 for n in range(500)])
        assert answer.status in (400, 413), answer
        refused(answer, answer.status)


def test_5000_files_start_at_once_and_500_urls_come_with_them(api):
    upload = ok(api.start(files=[{"path": f"f/{n:04d}.bin", "size": n} for n in range(5_000)]), 201)
    assert (upload["file_count"], upload["bytes_total"]) == (5_000, sum(range(5_000)))
    assert len(upload["files"]) <= 1_000
    assert 0 < len([file for file in upload["files"] if file.get("put")]) <= 500


def test_a_large_file_goes_in_parts_that_s3_takes(api, setting):
    upload = ok(api.start(files=[{"path": "a", "size": 16 * 2**20}, {"path": "b", "size": 16 * 2**20 + 1}]), 201)
    assert "put" in upload["files"][0] and "multipart" not in upload["files"][0]
    assert "put" not in upload["files"][1]
    multipart = upload["files"][1]["multipart"]
    assert (multipart["part_size"], multipart["part_count"], multipart["stored_parts"]) == (16 * 2**20, 2, [])
    assert [part["number"] for part in multipart["parts"]] == [1, 2]
    assert all(part["headers"] == {} for part in multipart["parts"])
    largest = ok(api.start("big", files=[{"path": "c", "size": 5 * 2**40}]), 201)["files"][0]["multipart"]
    assert largest["part_count"] <= 10_000 and 5 * 2**20 <= largest["part_size"] <= 5 * 2**30
    assert largest["part_size"] * largest["part_count"] >= 5 * 2**40
    assert len(largest["parts"]) <= 500


def test_bytes_that_a_version_of_the_user_has_are_stored_and_need_not_be_sent(api, started):
    known = b"known bytes"
    ok(api.single("old", content=known))
    started.clear()
    wanted = [
        {"path": "same.bin", "size": len(known), "sha256": digest(known)},
        {"path": "new.bin", "size": 3, "sha256": digest(b"new")},
        {"path": "other_size.bin", "size": 4, "sha256": digest(known)},
        {"path": "no_digest.bin", "size": len(known)},
    ]
    upload = ok(api.start(files=wanted), 201)
    assert [file["status"] for file in upload["files"]] == ["stored", "pending", "pending", "pending"]
    assert "put" not in upload["files"][0]
    started.run()  # what needs no event
    assert ok(api.upload(upload["upload_id"]))["files"][0]["status"] == "verified"


def test_an_upload_of_stored_files_only_becomes_a_version_without_any_bytes(api, started):
    known = b"known bytes"
    ok(api.single("old", content=known))
    upload = ok(api.start(files=[{"path": "w/same.bin", "size": len(known), "sha256": digest(known)}]), 201)
    started.run()
    assert ok(api.upload(upload["upload_id"]))["status"] == "ready"
    file = ok(api.get())["files"][0]
    assert file["file_hash"] == digest(known)
    assert read_object(file["file_path"]) == known
    ok(api.delete("old"))
    assert ok(api.download(filename="w/same.bin")) == known


def test_bytes_of_another_user_or_of_a_deleted_version_are_not_stored(api):
    known = b"known bytes"
    ok(api.single(content=known, user_id="bob"))
    ok(api.single("gone", content=known))
    ok(api.delete("gone"))
    upload = ok(api.start(files=[{"path": "a", "size": len(known), "sha256": digest(known)}]), 201)
    assert upload["files"][0]["status"] == "pending"


@pytest.mark.case("U8")
def test_a_source_that_goes_before_it_was_copied_makes_the_file_pending_again(api, started):
    known = b"known bytes"
    ok(api.single("old", content=known))
    upload = ok(api.start(files=[{"path": "a.bin", "size": len(known), "sha256": digest(known)}]), 201)
    assert upload["files"][0]["status"] == "stored"
    ok(api.delete("old"))
    started.run()
    again = ok(api.upload(upload["upload_id"], urls="true"))
    assert again["status"] == "uploading" and again["files"][0]["status"] == "pending"
    deliver(event_of(send(again["files"][0], known)))
    assert ok(api.download(filename="a.bin")) == known


def test_urls_false_answers_none(api):
    upload = ok(api.start(files=[{"path": "a", "size": 1}], query={"urls": "false"}), 201)
    assert "put" not in upload["files"][0] and upload["urls_expire_at"] is None


def test_user_ids_are_escaped_in_the_inbox(api):
    api.user_id = "a|b+c@d"
    upload = ok(api.start(files=[{"path": "a", "size": 1}]), 201)
    assert key_in(upload["files"][0]["put"]["url"]).startswith("modelkeep/uploads/a=7Cb=2Bc@d/")


def test_no_url_is_logged_or_kept(api, caplog):
    upload = ok(api.start(files=[{"path": "a", "size": 1}]), 201)
    ok(api.upload(upload["upload_id"], urls="true"))
    assert caplog.records and not any("X-Amz-Signature" in str(vars(record)) for record in caplog.records)
    assert not any("X-Amz-Signature" in item for item in items().values())
    assert objects() == {}


def test_more_urls_than_an_answer_holds_are_linked(api):
    from urllib.parse import parse_qsl, urlsplit

    answer = api.start(files=[{"path": f"{n}.bin", "size": 1} for n in range(501)])
    upload = ok(answer, 201)
    assert len(upload["files"]) == 500
    link = urlsplit(answer.headers["link"].partition(">")[0].removeprefix("<"))
    assert link.path.endswith(f"/ai-models/upload/{upload['upload_id']}")
    rest = ok(api.upload(upload["upload_id"], **dict(parse_qsl(link.query))))
    assert [file["path"] for file in rest["files"]] == ["500.bin"]
    assert "put" in rest["files"][0]
