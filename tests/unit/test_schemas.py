"""What requests may say: the bounds of every field, and how refusals name it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from registry.schemas.direct import AddFiles, FileSpec
from registry.schemas.forms import FolderForm, SingleForm
from registry.schemas.parts import SignParts
from registry.schemas.requests import VersionFields
from registry.schemas.starting import ArchiveSpec, StartUpload
from registry.schemas.values import invalid_from
from registry.schemas.words import Fields

settings.register_profile("unhurried", deadline=None)  # others work on this machine too
settings.load_profile("unhurried")


FORM = {"user_id": "alice", "model_id": "m", "name": "n"}
METRICS = ["training_accuracy", "validation_accuracy", "test_accuracy", "training_loss"]


def refusal(model, values) -> str:
    with pytest.raises(ValidationError) as raised:
        model.model_validate(values)
    return invalid_from(raised.value).detail


@pytest.mark.parametrize(
    ("field", "longest"),
    [
        ("name", "n" * 256),
        ("algorithm", "a" * 256),
        ("python_version", "3" * 256),
        ("description", "d" * 4096),
        ("description", "é" * 2048),
        ("description", "\U0001d518" * 1024),
        ("hardware_requirements", "h" * 1024),
    ],
)
def test_text_may_be_as_long_as_its_cap_and_no_longer(field, longest):
    for model, values in ((VersionFields, {}), (SingleForm, FORM), (FolderForm, FORM)):
        assert getattr(model.model_validate({**values, field: longest}), field) == longest
        if (model, field) != (VersionFields, "hardware_requirements"):
            assert field in refusal(model, {**values, field: longest + "x"})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_number_is_a_metric(number):
    for field in METRICS:
        assert getattr(VersionFields.model_validate({field: number}), field) == number
    assert SingleForm.model_validate({**FORM, "training_loss": repr(number)}).training_loss == number


@pytest.mark.parametrize("field", METRICS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), "0.5", True, 10**400, [1.0], {}])
def test_what_is_no_finite_number_is_no_metric(field, value):
    assert field in refusal(VersionFields, {field: value})


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-Infinity", "1e999", "", "x", "1,5"])
def test_a_form_takes_no_metric_that_is_no_finite_number(value):
    assert "training_loss" in refusal(SingleForm, {**FORM, "training_loss": value})


def test_whole_numbers_have_bounds_and_are_not_converted():
    assert VersionFields(num_parameters=2**63 - 1).num_parameters == 2**63 - 1
    assert VersionFields(num_parameters=0).num_parameters == 0
    for value in (-1, 2**63, 1.0, "7", True):
        assert "num_parameters" in refusal(VersionFields, {"num_parameters": value})


@given(st.lists(st.text(st.characters(categories=("L", "N", "Zs", "P")), max_size=20), max_size=80))
def test_tags_are_trimmed_and_deduplicated_by_case_in_order(tags):
    expected: dict[str, str] = {}
    for tag in ",".join(tags).split(","):
        if tag.strip():
            expected.setdefault(tag.strip().casefold(), tag.strip())
    if len(expected) > 50:
        assert "tags" in refusal(VersionFields, {"tags": tags})
    else:
        assert VersionFields(tags=tags).tags == list(expected.values())


def test_there_are_at_most_50_tags():
    tags = [f"t{number}" for number in range(50)]
    assert len(VersionFields(tags=[*tags, "T0", " t1 ", "", "  "]).tags) == 50
    assert "tags" in refusal(VersionFields, {"tags": [*tags, "t50"]})
    assert "tags" in refusal(VersionFields, {"tags": ["t"] * 200_000})
    assert "tags" in refusal(VersionFields, {"tags": ["x" * 257]})


def test_a_forms_tags_are_separated_by_commas():
    assert SingleForm(**FORM, tags=" a, b ,,A, c d").tags == ["a", "b", "c d"]
    assert SingleForm(**FORM).tags is None
    assert SingleForm(**FORM, tags=",").fields().tags in ([], None)


CONTROL = ["\0", "\x01", "\x1b", "\x7f", "\ud800", "\udfff"]
INVISIBLE = ["\u200b", "\u202e", "\u2066", "\ufeff", "\u2028", "\x85", "\xad"]


@pytest.mark.parametrize("character", CONTROL, ids=ascii)
def test_no_text_holds_control_characters_or_lone_surrogates(character):
    text = f"a{character}b"
    for field, value in {
        "name": text, "description": text, "algorithm": text, "training_dataset": text, "python_version": text,
        "tags": [text], "dependencies": [text], "hardware_requirements": text, "custom_metadata": {"k": [text]},
        "input_shape": [text], "output_shape": {text: 1}, "primary_file_path": text,
    }.items():  # fmt: skip
        assert field in refusal(VersionFields, {field: value})
    assert "custom_metadata" in refusal(VersionFields, {"custom_metadata": {"k": {text: 1}}})


@pytest.mark.parametrize("character", [*INVISIBLE, "\n", "\t"], ids=ascii)
def test_what_is_shown_on_one_line_holds_nothing_invisible(character):
    for field in ("name", "algorithm", "python_version"):
        assert field in refusal(VersionFields, {field: f"a{character}b"})
    assert "tags" in refusal(VersionFields, {"tags": [f"a{character}b"]})


def test_a_description_may_have_lines_and_any_script():
    text = "Zeile 1\r\n\tZeile 2 \u2013 模型 🎉 עברית"
    assert VersionFields(description=text).description == text
    assert VersionFields(name="模型 🎉 é e\u0301").name == "模型 🎉 é e\u0301"


def _nested(depth: int) -> list:
    value: list = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize("field", ["custom_metadata", "input_shape", "output_shape", "hardware_requirements"])
def test_free_json_is_bounded_in_size_depth_and_numbers(field):
    fits = {"a": "x" * (16 * 1024 - len(json.dumps({"a": ""})))}
    assert getattr(VersionFields.model_validate({field: fits}), field) == fits
    assert field in refusal(VersionFields, {field: {"a": fits["a"] + "x"}})
    assert field in refusal(VersionFields, {field: {"a": "é" * 8192}})
    assert getattr(VersionFields.model_validate({field: {"a": _nested(31)}}), field)
    for depth in (40, 500):
        assert field in refusal(VersionFields, {field: {"a": _nested(depth)}})
    for number in (float("nan"), float("inf"), 2**64, -(2**63) - 1, 10**4000):
        assert field in refusal(VersionFields, {field: {"n": [number]}})
    numbers = {"n": [2**64 - 1, -(2**63), 0.1, True, None]}
    assert getattr(VersionFields.model_validate({field: numbers}), field) == numbers


def test_dependencies_are_at_most_500():
    assert len(VersionFields(dependencies=["d"] * 500).dependencies) == 500
    assert "dependencies" in refusal(VersionFields, {"dependencies": ["d"] * 501})


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow", "sklearn", "onnx", "keras", "huggingface", "other"])
def test_the_contracts_frameworks_are_taken(framework):
    assert SingleForm(**FORM, framework=framework).fields().framework == framework


@pytest.mark.parametrize(
    "model_type",
    [
        "classification",
        "regression",
        "clustering",
        "nlp",
        "computer_vision",
        "recommendation",
        "time_series",
        "reinforcement_learning",
        "other",
    ],
)
def test_the_contracts_model_types_are_taken(model_type):
    assert SingleForm(**FORM, model_type=model_type).fields().model_type == model_type


def test_no_other_framework_or_model_type_is():
    for value in ("PyTorch", "", "caffe", "pytorch "):
        assert "framework" in refusal(VersionFields, {"framework": value})
        assert "model_type" in refusal(VersionFields, {"model_type": value})


@pytest.mark.parametrize("model", [VersionFields, SingleForm, FolderForm, StartUpload, AddFiles, SignParts, FileSpec])
def test_unknown_fields_are_named_all_together(model):
    needed = {
        SingleForm: FORM, FolderForm: FORM, StartUpload: {"user_id": "a", "model_id": "m"},
        AddFiles: {"files": [{"path": "a", "size": 1}]}, SignParts: {"parts": [{"number": 1, "sha256": "0" * 64}]},
        FileSpec: {"path": "a", "size": 1},
    }.get(model, {})  # fmt: skip
    model.model_validate(needed)
    with pytest.raises(ValidationError) as raised:
        model.model_validate({**needed, "state": "ready", "aaa": 1})
    error = invalid_from(raised.value)
    assert error.code == "unknown_field"
    assert "state" in error.detail and "aaa" in error.detail


def test_put_takes_just_the_contracts_fields():
    assert set(VersionFields.model_fields) == {
        "name",
        "description",
        "tags",
        "framework",
        "model_type",
        "algorithm",
        "training_dataset",
        "training_accuracy",
        "validation_accuracy",
        "test_accuracy",
        "training_loss",
        "input_shape",
        "output_shape",
        "num_parameters",
        "python_version",
        "dependencies",
        "hardware_requirements",
        "custom_metadata",
        "is_active",
        "is_production_ready",
        "primary_file_path",
    }
    fields = {
        "user_id",
        "model_id",
        "name",
        "description",
        "version",
        "framework",
        "model_type",
        "algorithm",
        "tags",
        "training_accuracy",
        "validation_accuracy",
        "test_accuracy",
        "training_loss",
        "python_version",
        "hardware_requirements",
    }
    assert set(SingleForm.model_fields) == fields | {"is_primary"}
    assert set(FolderForm.model_fields) == fields | {"preserve_structure"}


def test_the_forms_defaults_are_the_contracts():
    single = SingleForm(**FORM)
    assert (single.version, single.is_primary) == ("v1", False)
    assert FolderForm(**FORM).preserve_structure is True
    assert SingleForm(**FORM, is_primary="True").is_primary is True
    assert "is_primary" in refusal(SingleForm, {**FORM, "is_primary": "perhaps"})


def test_json_is_not_converted():
    for values in ({"name": 5}, {"is_active": "true"}, {"is_active": 1}, {"tags": "a,b"}, {"description": ["x"]}):
        assert next(iter(values)) in refusal(VersionFields, values)


def test_sizes_digests_and_part_numbers_have_bounds():
    assert FileSpec(path="a", size=5 * 1024**4).size == 5 * 1024**4
    assert ArchiveSpec(size=0).preserve_structure is True
    for size in (-1, 5 * 1024**4 + 1, 1.0, "1", True):
        assert "size" in refusal(FileSpec, {"path": "a", "size": size})
        assert "size" in refusal(ArchiveSpec, {"size": size})
    for digest in ("0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n", ""):
        assert "sha256" in refusal(FileSpec, {"path": "a", "size": 1, "sha256": digest})
    for number in (0, 10_001, -1, "1"):
        assert "number" in refusal(SignParts, {"parts": [{"number": number, "sha256": "0" * 64}]})
    assert "parts" in refusal(SignParts, {"parts": []})
    assert "parts" in refusal(SignParts, {"parts": [{"number": 1, "sha256": "0" * 64}] * 501})
    file = {"path": "a", "size": 1}
    assert len(AddFiles(files=[file] * 5_000).files) == 5_000
    assert "files" in refusal(AddFiles, {"files": [file] * 5_001})


def test_a_refusal_is_short_however_much_is_wrong():
    assert len(refusal(VersionFields, {f"field{number}": 1 for number in range(10_000)})) < 1_200
    assert len(refusal(VersionFields, {"tags": [1] * 900})) < 1_200


def test_the_plain_fields_are_the_fields_of_requests():
    assert Fields.names() == set(VersionFields.model_fields)
    given = {"name": "n", "tags": ["a"], "test_accuracy": 0.5, "is_active": False, "custom_metadata": {"k": [1]}}
    assert Fields.load(VersionFields(**given).model_dump()).dump() == given
    assert Fields.load({}).dump() == {}
    assert set(Fields().all().values()) == {None}


def test_a_field_of_a_newer_release_is_passed_over():
    assert Fields.load({"name": "n", "unheard_of": 1}).dump() == {"name": "n"}
