"""upload_single: one file by form becomes a version."""

from __future__ import annotations

import hashlib
import re

import pytest

from tests.functional.kit import (
    FILE_KEYS,
    METADATA_KEYS,
    form_body,
    items,
    multiparts,
    nothing_written,
    objects,
    ok,
    read_object,
    refused,
)

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_upload_answers_the_whole_metadata_of_the_version(api):
    content = b"a pickled model"
    body = ok(
        api.single(
            "iris",
            filename="iris.pkl",
            content=content,
            name="Iris",
            description="A first model",
            version="v1.0",
            framework="sklearn",
            model_type="classification",
            algorithm="RandomForest",
            tags="demo, iris ,Demo",
            training_accuracy="0.98",
            validation_accuracy="0.95",
            test_accuracy="0.94",
            training_loss="-1e-3",
            python_version="3.11",
            hardware_requirements="1 CPU",
            is_primary="true",
        )
    )
    created = body.pop("created_at")
    assert TIME.fullmatch(created) and body.pop("updated_at") == created
    key = "models/alice/iris/v1.0/iris.pkl"
    assert body == {
        "model_id": "iris",
        "user_id": "alice",
        "name": "Iris",
        "description": "A first model",
        "version": "v1.0",
        "framework": "sklearn",
        "model_type": "classification",
        "algorithm": "RandomForest",
        "files": [
            {
                "filename": "iris.pkl",
                "file_path": key,
                "file_size": len(content),
                "file_type": "model",
                "file_hash": hashlib.sha256(content).hexdigest(),
                "content_type": "application/octet-stream",
                "is_primary": True,
                "description": None,
            }
        ],
        "primary_file_path": key,
        "input_shape": None,
        "output_shape": None,
        "num_parameters": None,
        "model_size_mb": len(content) / 1_048_576,
        "training_dataset": None,
        "training_accuracy": 0.98,
        "validation_accuracy": 0.95,
        "test_accuracy": 0.94,
        "training_loss": -0.001,
        "python_version": "3.11",
        "dependencies": [],
        "hardware_requirements": "1 CPU",
        "tags": ["demo", "iris"],
        "custom_metadata": {},
        "is_active": True,
        "is_production_ready": False,
        "status": "ready",
        "file_count": 1,
        "total_size": len(content),
    }
    assert objects() == {key: f'"{hashlib.md5(content).hexdigest()}"'}


def test_upload_of_little_has_every_key_and_the_defaults(api):
    body = ok(api.single())
    assert set(body) == METADATA_KEYS
    assert set(body["files"][0]) == FILE_KEYS
    assert (body["version"], body["model_type"], body["framework"]) == ("v1", "other", "sklearn")
    assert (body["tags"], body["dependencies"], body["custom_metadata"]) == ([], [], {})
    assert body["description"] is None and body["training_accuracy"] is None
    assert (body["is_active"], body["is_production_ready"]) == (True, False)


def test_the_answer_is_what_get_answers(api):
    assert ok(api.single(tags="a,b", training_loss="0.5")) == ok(api.get())


def test_the_file_may_come_before_the_fields(api):
    assert ok(api.single(file_first=True, name="First", tags="x"))["name"] == "First"
    assert ok(api.download(filename="model.pkl")) == b"bytes"


def test_the_file_is_named_by_the_last_segment_of_what_was_sent(api):
    sent = {
        "/home/me/models/model.pkl": "model.pkl",
        "C:\\Users\\me\\model.onnx": "model.onnx",
        "models\\deep\\model.bin": "model.bin",
        "..\\..\\up.pt": "up.pt",
        "../../up.h5": "up.h5",
        "a/b\\c.pb": "c.pb",
        "ünï cödé (1).pkl": "ünï cödé (1).pkl",
        "no_extension": "no_extension",
    }
    for number, (filename, expected) in enumerate(sent.items()):
        body = ok(api.single("paths", filename=filename, version=f"v{number}"))
        assert body["files"][0]["filename"] == expected
        assert body["files"][0]["file_path"] == f"models/alice/paths/v{number}/{expected}"
        assert read_object(body["files"][0]["file_path"]) == b"bytes"


def test_empty_fields_count_as_not_sent(api):
    body = ok(
        api.single(
            version="",
            description="",
            framework="",
            model_type="",
            algorithm="",
            is_primary="",
            tags="",
            training_accuracy="",
            training_loss="",
            python_version="",
            hardware_requirements="",
        )
    )
    assert body["version"] == "v1"
    assert body["framework"] == "sklearn"  # detected, as if nothing had been said
    for key in ("description", "algorithm", "training_accuracy", "training_loss", "hardware_requirements"):
        assert body[key] is None
    assert body["tags"] == []


@pytest.mark.parametrize("field", ["user_id", "model_id", "name"])
def test_a_required_field_that_is_missing_or_empty_is_named(api, field):
    with nothing_written():
        assert field in refused(api.single(**{"model_id": "m", field: None}), 400)
        assert field in refused(api.single(**{"model_id": "m", field: ""}), 400)


def test_unknown_fields_are_named(api):
    with nothing_written():
        detail = refused(api.single(extra=[("sha256", "0"), ("colour", "red")]), 400, "unknown_field")
        assert "sha256" in detail and "colour" in detail
        assert "is_active" in refused(api.single(is_active="true"), 400, "unknown_field")
        assert "emptied" in refused(api.single(emptied=""), 400, "unknown_field")


def test_a_form_without_its_file_or_with_a_wrong_one_is_refused(api):
    fields = [("user_id", "alice"), ("model_id", "m"), ("name", "n")]
    with nothing_written():
        for parts, named in [
            (fields, "file"),
            ([*fields, ("file", "just text")], "file"),
            ([*fields, ("file", "a.pkl", b"a"), ("file", "b.pkl", b"b")], "file"),
            ([*fields, ("file", "a.pkl", b"a"), ("tags", "t.txt", b"a,b")], "tags"),
            ([*fields, ("file", "a.pkl", b"a"), ("name", "again")], "name"),
            ([*fields, ("file", "", b"a")], ""),
            ([*fields, ("file", "folder/", b"a")], ""),
        ]:
            body, headers = form_body(parts)
            assert named in refused(api.call("upload_single", body=body, headers=headers), 400)


def test_a_form_that_was_cut_off_is_refused(api):
    body, headers = form_body(
        [("user_id", "alice"), ("model_id", "m"), ("name", "n"), ("file", "a.pkl", b"content" * 100)]
    )
    with nothing_written():
        for length in (len(body) - 100, len(body) // 2, 10, 0):
            refused(api.call("upload_single", body=body[:length], headers=headers), 400)


def test_what_is_no_form_is_refused(api):
    with nothing_written():
        refused(api.call("upload_single", json_body={"user_id": "alice"}), 400, "not_multipart")
        refused(api.call("upload_single", body=b"x", headers={"content-type": "multipart/form-data"}), 400)
        refused(api.call("upload_single"), 400)


@pytest.mark.parametrize("metric", ["training_accuracy", "validation_accuracy", "test_accuracy", "training_loss"])
@pytest.mark.case("A1")
def test_a_metric_that_is_no_finite_number_is_refused(api, metric):
    with nothing_written():
        for value in ("NaN", "nan", "Infinity", "-inf", "1e999", "high", "0x10"):
            assert metric in refused(api.single(**{metric: value}), 400)


def test_any_finite_metric_is_taken(api):
    for number, value in enumerate(("0", "-1.5", "1e308", "5e-324", "100", "1E2")):
        assert ok(api.single(version=f"v{number}", training_loss=value))["training_loss"] == float(value)


def test_fields_outside_their_bounds_are_refused_and_named(api):
    with nothing_written():
        for field, value in {
            "name": "n" * 257,
            "description": "é" * 2049,
            "framework": "caffe",
            "model_type": "vision",
            "algorithm": "a" * 257,
            "python_version": "3" * 257,
            "hardware_requirements": "h" * 1025,
            "is_primary": "maybe",
            "tags": ",".join(f"t{n}" for n in range(51)),
        }.items():
            assert field in refused(api.single(**{field: value}), 400)


def test_fields_at_their_bounds_are_taken(api):
    body = ok(
        api.single(
            name="n" * 256,
            description="é" * 2048,
            tags=",".join([f"t{n}" for n in range(50)] + ["T0", " t1 ", ""]),
        )
    )
    assert len(body["tags"]) == 50
    assert body["description"] == "é" * 2048


@pytest.mark.case("A4")
def test_names_that_cannot_be_seen_are_refused(api):
    with nothing_written():
        for text in ("a\0b", "a\x07b", "a\u202eb", "a\u200bb", "a\u2066b", "a\x7fb", "a\u2028b"):
            assert "name" in refused(api.single(name=text), 400)
            assert "tags" in refused(api.single(tags=f"x,{text}"), 400)
            refused(api.single(filename=f"{text}.pkl"), 400)
        assert "description" in refused(api.single(description="a\0b"), 400)


@pytest.mark.case("A8")
def test_text_that_is_no_utf8_is_refused(api):
    with nothing_written():
        refused(api.single(name=None, extra=[("name", b"caf\xe9 \xff\xfe")]), 400)


@pytest.mark.case("A5")
def test_ids_beyond_the_alphabet_are_refused(api):
    bad_ids = ["..", ".", "%2e%2e%2f", "%252e", "a;../b", "a#b", "a?b", "a\\b", "a/b", "a b", "é", "a" * 129]
    with nothing_written():
        for bad in [*bad_ids, "x" * 2049, "a\n"]:
            refused(api.single(model_id=bad), 400, "bad_model_id")
            refused(api.single(version=bad), 400, "bad_version")
        for bad in [*bad_ids, "upload", "search", "me", "docs", "_internal", "x" * 2049]:
            refused(api.single(user_id=bad), 400, "bad_user_id")
        refused(api.single(version="latest"), 400, "bad_version")


def test_every_letter_of_the_alphabets_is_taken_and_keys_stay_below_the_user(api):
    api.user_id = "a.b_c@d|e+f-1"
    body = ok(api.single("M.o_d-1", version="V.1_-"))
    assert body["user_id"] == "a.b_c@d|e+f-1"
    assert list(objects()) == ["models/a.b_c@d=7Ce=2Bf-1/M.o_d-1/V.1_-/model.pkl"]
    assert ok(api.get("M.o_d-1")) == body


def test_file_names_that_no_system_can_keep_are_refused(api):
    with nothing_written():
        for filename in ("..", ".", "con", "NUL.txt", "a.", "a ", "a:b", "a*b", "n" * 256, ".../"):
            refused(api.single(filename=filename), 400)


def test_a_second_upload_of_a_version_is_a_409_and_changes_nothing(api):
    ok(api.single(content=b"first"))
    with nothing_written():
        answer = api.single(content=b"second", name="Another")
        assert refused(answer, 409, "version_exists") == "Model with this ID and version already exists"
    assert ok(api.download(filename="model.pkl")) == b"first"
    ok(api.single(content=b"second", version="v2"))


def test_an_empty_file_is_a_file(api):
    body = ok(api.single(content=b""))
    assert body["total_size"] == 0 and body["model_size_mb"] == 0
    assert body["files"][0]["file_hash"] == hashlib.sha256(b"").hexdigest()
    assert ok(api.download(filename="model.pkl")) == b""


def test_any_extension_and_any_content_is_taken(api):
    body = ok(api.single(filename="page.html", content=bytes(range(256)) * 10))
    assert body["files"][0]["file_type"] == "other"
    assert body["framework"] == "other"
    assert body["files"][0]["is_primary"] is True  # the only file


def test_a_given_framework_is_not_replaced_by_a_detected_one(api):
    assert ok(api.single(filename="m.pth", framework="tensorflow"))["framework"] == "tensorflow"


def test_a_requirements_file_fills_the_dependencies(api):
    body = ok(api.single(filename="requirements.txt", content=b"numpy==1.26\n# a remark\n\nscipy>=1\n"))
    assert body["dependencies"] == ["numpy==1.26", "scipy>=1"]
    assert body["files"][0]["file_type"] == "requirements"


def test_a_body_too_large_for_the_gateway_is_a_413_that_names_the_way(api, setting):
    setting(request_limit_bytes=2000)
    with nothing_written():
        detail = refused(api.single(content=b"x" * 2000), 413)
        assert "POST /ai-models/upload/direct" in detail
    ok(api.single(content=b"x" * 500))


def test_the_default_limit_lets_4_mib_of_request_pass_and_no_more(api):
    with nothing_written():
        assert "POST /ai-models/upload/direct" in refused(api.single(content=b"x" * 4 * 1024 * 1024), 413)
    ok(api.single(content=b"x" * (4 * 1024 * 1024 - 2000)))


def test_the_longest_ids_and_file_name_that_are_allowed_fit_a_key(api):
    api.user_id = "|" * 128  # three bytes each in a key
    body = ok(api.single("m" * 128, version="v" * 128, filename="n" * 251 + ".pkl"))
    assert list(objects()) == [body["files"][0]["file_path"]]


def test_a_store_that_fails_leaves_no_version_and_the_name_is_free(api, monkeypatch):
    from registry.storage import writing

    def fail(*args, **kwargs):
        raise ConnectionError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(writing.objects, "put_object", fail)
        refused(api.single(), 500, "internal")
    assert objects() == {} and multiparts() == []
    refused(api.get(), 404)
    assert ok(api.single(content=b"again"))["version"] == "v1"


def test_a_version_whose_attempt_failed_is_stored_apart_from_that_attempt(api, monkeypatch):
    from registry.catalog import publishing

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "publish", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("died")))
        refused(api.single(), 500)
    assert objects() == {}
    path = ok(api.single())["files"][0]["file_path"]
    assert re.fullmatch(r"models/alice/m/v1~[0-9a-f]{32}/model\.pkl", path)
    assert read_object(path) == b"bytes"


def test_after_publication_no_open_upload_and_no_work_is_left(api):
    ok(api.single())
    assert ok(api.uploads()) == []
    assert not [key for key in items() if key[0].startswith(("WK#", "O#"))]
