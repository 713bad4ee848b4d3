"""update_model: what is said of a version is replaced, cleared or refused."""

from __future__ import annotations

import pytest

from tests.functional.kit import METADATA_KEYS, items, nothing_written, ok, refused

VALUES = {
    "name": "New name",
    "description": "New\ndescription",
    "tags": ["one", "two"],
    "framework": "onnx",
    "model_type": "nlp",
    "algorithm": "Transformer",
    "training_dataset": "s3://data/set",
    "training_accuracy": 0.9,
    "validation_accuracy": -5,
    "test_accuracy": 1e300,
    "training_loss": 0,
    "input_shape": [None, 224, 224, 3],
    "output_shape": {"logits": [1000]},
    "num_parameters": 2**63 - 1,
    "python_version": "3.12",
    "dependencies": ["numpy==2.0", "torch"],
    "hardware_requirements": {"gpu": "A100", "count": 8},
    "custom_metadata": {"nested": {"a": [1, 2.5, None, True, "ü"]}},
}
EMPTY = {"tags": [], "dependencies": [], "custom_metadata": {}, "framework": "other", "model_type": "other"}


@pytest.mark.parametrize("field", VALUES)
def test_a_value_replaces_the_old_one_whole_and_null_clears_it(api, field):
    before = ok(api.single(filename="m.xyz", description="old", tags="old"))
    changed = ok(api.update(changes={field: VALUES[field]}))
    assert changed[field] == VALUES[field]
    assert changed["updated_at"] > before["updated_at"]
    same = METADATA_KEYS - {field, "updated_at"}
    assert {key: changed[key] for key in same} == {key: before[key] for key in same}
    assert ok(api.get()) == changed
    if field != "name":
        cleared = ok(api.update(changes={field: None}))
        assert cleared[field] == EMPTY.get(field)
        assert {key: cleared[key] for key in same} == {key: before[key] for key in same}


def test_objects_and_lists_are_replaced_not_merged(api):
    ok(api.single())
    ok(api.update(changes={"custom_metadata": {"a": 1, "b": 2}, "tags": ["x", "y"]}))
    body = ok(api.update(changes={"custom_metadata": {"b": 3}, "tags": ["z"]}))
    assert (body["custom_metadata"], body["tags"]) == ({"b": 3}, ["z"])


def test_all_fields_at_once(api):
    ok(api.single())
    body = ok(api.update(changes={**VALUES, "is_active": True, "is_production_ready": True}))
    assert {key: body[key] for key in VALUES} == VALUES
    assert body["is_production_ready"] is True


def test_files_and_bytes_are_not_touched_by_an_update(api):
    ok(api.folder({"a.pkl": b"a", "b.pkl": b"bb"}))
    files = ok(api.get())["files"]
    assert ok(api.update(changes={"name": "x"}))["files"] == files


def test_no_version_is_the_newest_and_a_version_is_that_one(api):
    ok(api.single())
    ok(api.single(version="v2"))
    assert ok(api.update(changes={"description": "newest"}))["version"] == "v2"
    assert ok(api.update(changes={"description": "first"}, version="v1"))["version"] == "v1"
    assert ok(api.get(version="v1"))["description"] == "first"
    assert ok(api.get(version="v2"))["description"] == "newest"


def test_what_is_not_there_is_a_404(api):
    ok(api.single())
    with nothing_written():
        refused(api.update("none", {"name": "x"}), 404, "model_not_found")
        refused(api.update(changes={"name": "x"}, version="v2"), 404, "version_not_found")


@pytest.mark.case("A6")
def test_other_fields_are_a_400_that_names_them(api):
    ok(api.single())
    with nothing_written():
        for field in (
            "user_id", "model_id", "version", "status", "sha256", "file_hash", "files", "created_at", "total_size",
            "colour", "prefix", "upload_id",
        ):  # fmt: skip
            assert field in refused(api.update(changes={field: "x", "name": "y"}), 400, "unknown_field")
        detail = refused(api.update(changes={"aa": 1, "bb": 2}), 400)
        assert "aa" in detail and "bb" in detail


@pytest.mark.case("A7")
def test_values_of_the_wrong_type_or_size_are_refused_and_named(api):
    ok(api.single())
    deep: list = []
    for _ in range(40):
        deep = [deep]
    with nothing_written():
        for field, values in {
            "name": ["", "n" * 257, 5, ["x"]],
            "description": ["é" * 2049, 5],
            "tags": ["a,b", [1], ["t" * 257], [f"t{n}" for n in range(51)], [f"t{n}" for n in range(200_000)], {}],
            "framework": ["caffe", "PyTorch", 1],
            "model_type": ["vision", ""],
            "training_accuracy": ["0.5", True, [0.5]],
            "num_parameters": [-1, 2**63, 1.5, "7"],
            "dependencies": ["numpy", [1], ["d"] * 501],
            "input_shape": [5, deep],
            "hardware_requirements": [5, {"a": "x" * 17_000}],
            "custom_metadata": ["x", [1], {"a": "x" * 16_400}, {"a": deep}, {"n": 2**64}],
            "is_active": ["true", 1],
            "is_production_ready": ["false", 0],
            "primary_file_path": [1, ["m.pkl"]],
        }.items():
            for value in values:
                assert field in refused(api.update(changes={field: value}), 400), value


def test_values_at_their_bounds_are_taken(api):
    ok(api.single())
    body = ok(
        api.update(
            changes={
                "name": "n" * 256,
                "description": "é" * 2048,
                "tags": [f"{n:02d}" + "t" * 254 for n in range(50)],
                "custom_metadata": {"a": "x" * (16 * 1024 - len('{"a": ""}'))},
            }
        )
    )
    assert len(body["tags"]) == 50 and len(body["custom_metadata"]["a"]) == 16 * 1024 - 9


@pytest.mark.case("A7")
def test_an_update_too_large_for_a_record_is_refused_not_a_500(api):
    ok(api.single())
    with nothing_written():
        answer = api.update(changes={"dependencies": [f"{n:03d}" + "é" * 1000 for n in range(500)]})
        assert answer.status in (400, 413), answer
        refused(answer, answer.status)


@pytest.mark.case("A1")
def test_numbers_that_are_none_are_refused(api):
    ok(api.single())
    with nothing_written():
        for field in ("training_accuracy", "validation_accuracy", "test_accuracy", "training_loss"):
            for text in ("NaN", "Infinity", "-Infinity", "1e999", '"nan"', "1" + "0" * 400):
                body = f'{{"{field}": {text}}}'.encode()
                refused(raw(api, body), 400)
        for text in ("NaN", "Infinity", "1e999"):
            for field in ("custom_metadata", "input_shape", "hardware_requirements"):
                refused(raw(api, f'{{"{field}": {{"x": [{text}]}}}}'.encode()), 400)
        refused(raw(api, b'{"num_parameters": NaN}'), 400)


def raw(api, body: bytes, content_type: str = "application/json", **headers: str):
    path = {"user_id": "alice", "model_id": "m"}
    return api.call("update_model", path=path, body=body, headers={"content-type": content_type, **headers})


@pytest.mark.case("A2")
def test_nesting_and_numbers_beyond_reason_are_refused(api):
    ok(api.single())
    with nothing_written():
        for depth in (33, 900, 100_000):
            refused(raw(api, b'{"custom_metadata": {"a": ' + b"[" * depth + b"]" * depth + b"}}"), 400)
            refused(raw(api, b'{"input_shape": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"), 400)
            refused(raw(api, b"[" * depth + b"]" * depth), 400)
        for field in ("num_parameters", "training_loss", "unknown"):
            refused(raw(api, f'{{"{field}": {"7" * 5000}}}'.encode()), 400)
        refused(raw(api, f'{{"custom_metadata": {{"n": {"7" * 5000}}}}}'.encode()), 400)


@pytest.mark.case("A3")
def test_lone_surrogates_are_refused(api):
    ok(api.single())
    with nothing_written():
        for body in (
            rb'{"name": "a\ud800b"}',
            rb'{"description": "\udfff"}',
            rb'{"tags": ["\ud83d"]}',
            rb'{"custom_metadata": {"k": "\ud800"}}',
            rb'{"custom_metadata": {"\ud800": 1}}',
            rb'{"\ud800": 1}',
        ):
            refused(raw(api, body), 400)


@pytest.mark.case("A4")
def test_characters_that_cannot_be_seen_are_refused(api):
    ok(api.single())
    with nothing_written():
        for text in ("a\0b", "a\x1bb", "a\x7fb"):
            for field in ("name", "description", "algorithm", "training_dataset", "python_version"):
                assert field in refused(api.update(changes={field: text}), 400)
            refused(api.update(changes={"tags": [text]}), 400)
            refused(api.update(changes={"dependencies": [text]}), 400)
            refused(api.update(changes={"custom_metadata": {"a": text}}), 400)
            refused(api.update(changes={"custom_metadata": {text: "a"}}), 400)
        for text in ("a\u202eb", "a\u200bb", "\ufeffa"):
            assert "name" in refused(api.update(changes={"name": text}), 400)


@pytest.mark.case("A8")
def test_what_is_no_json_object_is_refused(api):
    ok(api.single())
    with nothing_written():
        for body in (b"", b"not json", b"{", b'{"name": }', b"[]", b'"text"', b"null", b"5", b'{"name": "\xff\xfe"}'):
            refused(raw(api, body), 400)
        refused(raw(api, b'{"name": "x"}', "text/plain"), 400)
        refused(raw(api, b"name=x", "application/x-www-form-urlencoded"), 400)
        refused(raw(api, b'{"name": "' + b"x" * (5 * 1024 * 1024) + b'"}'), 413)


@pytest.mark.case("A9")
def test_a_form_is_refused_where_json_is_wanted(api):
    from tests.functional.kit import form_body

    ok(api.single())
    body, headers = form_body([("name", "x")])
    with nothing_written():
        assert "json" in refused(raw(api, body, headers["content-type"]), 400)
        path = {"upload_id": "0" * 32}
        refused(api.call("start_upload", body=body, headers=headers), 400)
        refused(api.call("add_files", body=body, headers=headers, path=path), 400)
        refused(api.call("sign_parts", body=body, headers=headers, path=path), 400)


def test_if_match_with_the_etag_of_get_lets_one_update_through(api):
    ok(api.single())
    etag = api.get().headers["etag"]
    first = api.update(changes={"description": "one"}, headers={"if-match": etag})
    assert ok(first)["description"] == "one"
    with nothing_written():
        refused(api.update(changes={"description": "two"}, headers={"if-match": etag}), 412)
        refused(api.update(changes={"description": "two"}, headers={"if-match": '"x"'}), 412)
    now = first.headers["etag"]
    assert ok(api.update(changes={"description": "two"}, headers={"if-match": now}))["description"] == "two"
    assert ok(api.update(changes={"description": "three"}, headers={"if-match": "*"}))["description"] == "three"


def test_the_primary_file_is_one_of_the_versions_files_by_path_or_key(api):
    ok(api.folder({"a.pkl": b"a", "w/b.pt": b"b", "notes.md": b"n"}))

    def primary(wanted):
        body = ok(api.update(changes={"primary_file_path": wanted}))
        return body["primary_file_path"], [file["filename"] for file in body["files"] if file["is_primary"]]

    assert primary("w/b.pt") == ("models/alice/m/v1/w/b.pt", ["w/b.pt"])
    assert primary("models/alice/m/v1/notes.md") == ("models/alice/m/v1/notes.md", ["notes.md"])
    assert primary(None) == (None, [])
    assert primary("a.pkl") == ("models/alice/m/v1/a.pkl", ["a.pkl"])
    with nothing_written():
        for wrong in ("b.pt", "", "../a.pkl", "models/alice/other/v1/a.pkl", "A.PKL", "x" * 1024):
            assert "primary_file_path" in refused(api.update(changes={"primary_file_path": wrong}), 400)


def test_a_cleared_flag_is_as_it_was_at_first(api):
    ok(api.single())
    ok(api.update(changes={"is_active": False, "is_production_ready": True}))
    cleared = ok(api.update(changes={"is_active": None, "is_production_ready": None}, version="v1"))
    assert (cleared["is_active"], cleared["is_production_ready"]) == (True, False)


def test_nothing_to_change_changes_nothing_that_is_said(api):
    before = ok(api.single())
    after = ok(api.update(changes={}))
    assert {**after, "updated_at": 0} == {**before, "updated_at": 0}


def test_tags_are_trimmed_and_deduplicated_by_case(api):
    ok(api.single())
    assert ok(api.update(changes={"tags": [" A ", "a", "", "  ", "B", "Straße", "STRASSE"]}))["tags"] == [
        "A",
        "B",
        "Straße",
    ]


def test_an_update_leaves_no_hint_that_leads_nowhere(api):
    ok(api.single(tags="old", framework="onnx"))
    ok(api.update(changes={"tags": ["new"], "framework": "keras", "name": "Renamed"}))
    ok(api.update(changes={"is_active": False}))
    postings = [pk for pk, _ in items() if pk.startswith("P#")]
    assert all(pk.startswith("P#alice#i#") for pk in postings)
    assert {pk.rsplit("#", 1)[1] for pk in postings} == {
        "*", "m:m", "f:keras", "y:other", "r:0", "t:new", "w:ne", "w:new", "w:re", "w:ren", "w:renam",
    }  # fmt: skip
