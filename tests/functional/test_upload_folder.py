"""upload_folder: a ZIP by form becomes a version."""

from __future__ import annotations

import hashlib
import io
import zipfile

import pytest

from tests.functional.kit import (
    METADATA_KEYS,
    form_body,
    make_zip,
    multiparts,
    nothing_written,
    objects,
    ok,
    read_object,
    refused,
    sweep,
)

FILES = {
    "model/weights/layer1.pth": b"one" * 1000,
    "model/weights/layer2.pth": b"two",
    "model/config.json": b"{}",
    "model/README.md": b"# read me",
    "model/empty.txt": b"",
}


def nothing_left() -> None:
    """What a refused archive must leave: no object anywhere."""
    assert objects() == {}
    assert multiparts() == []


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_member_becomes_a_file_with_its_folders_bytes_and_digest(api, method):
    body = ok(api.folder(make_zip(FILES, method=method), name="Folder", description="d", tags="x,y"))
    assert set(body) == METADATA_KEYS
    assert {file["filename"]: file["file_hash"] for file in body["files"]} == {
        path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()
    }
    for file in body["files"]:
        assert file["file_path"] == f"models/alice/m/v1/{file['filename']}"
        assert read_object(file["file_path"]) == FILES[file["filename"]]
        assert file["file_size"] == len(FILES[file["filename"]])
    assert {file["filename"]: file["file_type"] for file in body["files"]} == {
        "model/weights/layer1.pth": "model",
        "model/weights/layer2.pth": "model",
        "model/config.json": "configuration",
        "model/README.md": "documentation",
        "model/empty.txt": "documentation",
    }
    assert body["file_count"] == 5 and body["total_size"] == sum(map(len, FILES.values()))
    assert body["primary_file_path"] == "models/alice/m/v1/model/weights/layer1.pth"
    assert [file["filename"] for file in body["files"] if file["is_primary"]] == ["model/weights/layer1.pth"]
    assert (body["framework"], body["tags"], body["name"]) == ("pytorch", ["x", "y"], "Folder")
    assert ok(api.get()) == body


def test_the_inbox_is_empty_after_publication(api):
    ok(api.folder(FILES))
    assert all(key.startswith("models/alice/m/v1/") for key in objects())
    assert len(objects()) == len(FILES)
    assert ok(api.uploads()) == []


def test_without_structure_files_lose_their_folders(api):
    body = ok(api.folder(FILES, preserve_structure="false"))
    names = {"layer1.pth", "layer2.pth", "config.json", "README.md", "empty.txt"}
    assert {file["filename"] for file in body["files"]} == names
    assert read_object("models/alice/m/v1/layer1.pth") == FILES["model/weights/layer1.pth"]


def test_names_that_collide_without_structure_are_a_400_and_leave_nothing(api):
    for files in ({"a/x.bin": b"1", "b/x.bin": b"2"}, {"a/x.bin": b"1", "b/X.BIN": b"2"}):
        refused(api.folder(files, preserve_structure="false"), 400, "archive_collision")
        nothing_left()
        refused(api.get(), 404)
    ok(api.folder({"a/x.bin": b"1", "b/x.bin": b"2"}))


def test_what_desktop_systems_leave_is_dropped(api):
    junk = {"__MACOSX/m/._a.pkl": b"j", "m/.DS_Store": b"j", "m/Thumbs.db": b"j", "m/a.pkl": b"kept"}
    body = ok(api.folder(junk))
    assert [file["filename"] for file in body["files"]] == ["m/a.pkl"]
    assert body["file_count"] == 1


def test_the_least_deep_requirements_fill_the_dependencies(api):
    body = ok(
        api.folder(
            {
                "x/a/requirements.txt": b"deep==1",
                "x/requirements.txt": b"numpy==1.26  # pinned\r\n-r other.txt\n--index-url https://e.org\n\ntorch>=2\n",
                "x/m.pt": b"m",
            }
        )
    )
    assert body["dependencies"] == ["numpy==1.26", "torch>=2"]


def test_requirements_that_are_no_text_are_ignored(api):
    assert ok(api.folder({"requirements.txt": b"\xff\xfe\0", "m.pt": b"m"}))["dependencies"] == []


def _traversal() -> bytes:
    return make_zip({"ok.pkl": b"ok", "../evil.pkl": b"evil"})


def _bad_crc() -> bytes:
    data = bytearray(make_zip({"a.bin": b"A" * 100, "z.bin": b"unique content"}, method=zipfile.ZIP_STORED))
    at = data.index(b"unique content")
    data[at] ^= 1
    return bytes(data)


def _duplicate() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a.pkl", b"1")
        archive.writestr("a.pkl", b"2")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (_traversal, "archive_traversal"),
        (_bad_crc, "archive_bad_crc"),
        (_duplicate, "archive_duplicate"),
        (lambda: make_zip({}), "archive_empty"),
        (lambda: b"this is no zip", None),
        (lambda: b"", None),
        (lambda: make_zip(FILES)[:-30], None),
        (lambda: b"MZ prefix" + make_zip(FILES), None),
    ],
    ids=["traversal", "crc", "duplicate", "no files", "text", "nothing", "cut off", "prepended"],
)
def test_a_refused_archive_is_a_400_with_its_code_and_leaves_no_object_and_no_version(api, make, code):
    answer = api.folder(make())
    refused(answer, 400)
    if code is not None:
        assert answer.body["code"] == code, answer.body
    nothing_left()
    refused(api.get(), 404)
    assert ok(api.versions()) == []
    assert ok(api.list()) == []
    assert ok(api.uploads()) == []
    again = ok(api.folder(FILES))  # the version is free again
    assert again["version"] == "v1" and again["file_count"] == 5


def test_a_refused_archive_stays_gone_after_the_sweep(api, move_clock):
    refused(api.folder(_traversal()), 400)
    ok(api.folder(FILES))
    kept = objects()
    move_clock(7200)
    sweep()
    assert objects() == kept
    assert ok(api.get())["file_count"] == 5


def test_a_second_upload_of_a_version_is_a_409_and_changes_nothing(api):
    ok(api.folder(FILES))
    with nothing_written():
        answer = api.folder({"other.pkl": b"o"})
        assert refused(answer, 409, "version_exists") == "Model with this ID and version already exists"


def test_is_primary_and_other_unknown_fields_are_named(api):
    with nothing_written():
        assert "is_primary" in refused(api.folder(FILES, is_primary="true"), 400, "unknown_field")
        assert "preserve_structure" in refused(api.folder(FILES, preserve_structure="perhaps"), 400)


def test_the_file_field_is_named_zip_file(api):
    body, headers = form_body(
        [("user_id", "alice"), ("model_id", "m"), ("name", "n"), ("file", "f.zip", make_zip(FILES))]
    )
    with nothing_written():
        assert "zip_file" in refused(api.call("upload_folder", body=body, headers=headers), 400)


@pytest.mark.case("A1", "A5")
def test_bad_ids_and_metrics_are_refused_before_anything_is_written(api):
    with nothing_written():
        refused(api.folder(FILES, "a/b"), 400, "bad_model_id")
        refused(api.folder(FILES, version="latest"), 400, "bad_version")
        refused(api.folder(FILES, user_id="search"), 400, "bad_user_id")
        assert "test_accuracy" in refused(api.folder(FILES, test_accuracy="nan"), 400)


def test_a_body_too_large_for_the_gateway_is_a_413_that_names_the_way(api, setting):
    setting(request_limit_bytes=1000)
    with nothing_written():
        answer = api.folder(make_zip({"a": b"x" * 2000}, method=zipfile.ZIP_STORED))
        assert "POST /ai-models/upload/direct" in refused(answer, 413)


def test_unpacking_that_outlasts_the_gateway_is_a_202_and_finishes_later(api, started, no_time):
    with no_time():
        answer = api.folder(FILES)
    upload = ok(answer, 202)
    assert answer.headers["location"].endswith(f"/ai-models/upload/{upload['upload_id']}")
    assert upload["status"] in ("uploading", "processing")
    refused(api.get(), 404)
    assert "receive_upload" in [name for name, _ in started]
    started.run()
    assert ok(api.upload(upload["upload_id"]))["status"] == "ready"
    assert ok(api.get())["file_count"] == 5
