"""What can be said of a version: one table, of which `push` and `update` get their options."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from modelkeep.cli.common import parse_pair, parse_value
from modelkeep.errors import UsageError

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Field:
    """A field by its name in the API, and its option. Kind: text, number, integer, list (may be repeated), switch,
    json (or plain text)."""

    name: str
    option: str
    kind: str
    help: str


FIELDS = (
    Field("name", "--name", "text", "What people call it; at first the model's name."),
    Field("description", "--description", "text", "What it is and what it is for; at most 4 KB."),
    Field("framework", "--framework", "text", "pytorch, tensorflow, sklearn, onnx, keras, huggingface or other."),
    Field(
        "model_type",
        "--model-type",
        "text",
        "classification, regression, clustering, nlp, computer_vision, recommendation, time_series, "
        "reinforcement_learning or other.",
    ),
    Field("algorithm", "--algorithm", "text", "As `random forest`."),
    Field("tags", "--tag", "list", "A tag; may be repeated. In `update` they replace the old ones."),
    Field("training_dataset", "--training-dataset", "text", "What it was trained on."),
    Field("training_accuracy", "--training-accuracy", "number", "A metric."),
    Field("validation_accuracy", "--validation-accuracy", "number", "A metric."),
    Field("test_accuracy", "--test-accuracy", "number", "A metric."),
    Field("training_loss", "--training-loss", "number", "A metric."),
    Field("input_shape", "--input-shape", "json", "As '[1, 3, 224, 224]'."),
    Field("output_shape", "--output-shape", "json", "As '[1, 1000]'."),
    Field("num_parameters", "--num-parameters", "integer", "How many parameters it has."),
    Field("python_version", "--python-version", "text", "As 3.12."),
    Field("dependencies", "--dependency", "list", "As `torch==2.4`; may be repeated. Else from requirements.txt."),
    Field("hardware_requirements", "--hardware", "json", 'Text, or an object as \'{"gpu": "24 GB"}\'.'),
    Field("is_production_ready", "--production/--no-production", "switch", "Whether it may be used in earnest."),
    Field("is_active", "--active/--no-active", "switch", "Inactive ones are left out of lists and of `newest`."),
)
_MORE = ("custom_metadata", "primary_file_path")  # options of their own, or --set
NAMES = frozenset(field.name for field in FIELDS) | set(_MORE)
_TYPES: dict[str, Any] = {"number": click.FLOAT, "integer": click.INT}


def metadata_options(function: _F) -> _F:
    """Add an option for each field, and --custom, --set and --metadata."""
    further = (
        click.option("--custom", metavar="KEY=JSON", multiple=True, help="A field of your own; may be repeated."),
        click.option("--set", "set_", metavar="FIELD=JSON", multiple=True, help="Any field by its name in the API."),
        click.option(
            "--metadata",
            "metadata_file",
            metavar="FILE.yaml",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Fields by their names in the API, as YAML; options win over it.",
        ),
    )
    for option in (*reversed(further), *(_option(field) for field in reversed(FIELDS))):
        function = option(function)
    return function


def given_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the options name, `custom_metadata` of --custom among them; UsageError for a value that none can
    have."""
    found: dict[str, Any] = {}
    for text in options.get("set_", ()):
        name, value = parse_pair(text)
        found[check_name(name)] = value
    for field in FIELDS:
        value = options.get(field.name)
        if value is None or value == ():
            continue
        if field.kind == "list":
            value = list(value)
        elif field.kind == "json":
            value = parse_value(value)
        elif field.kind == "number" and not math.isfinite(value):
            raise UsageError(f"{field.option} takes a finite number, not {value}")
        found[field.name] = value
    if custom := dict(parse_pair(text) for text in options.get("custom", ())):
        found["custom_metadata"] = {**(found.get("custom_metadata") or {}), **custom}
    return found


def check_name(name: str) -> str:
    """The field's name; UsageError if there is none of that name."""
    if name not in NAMES:
        raise UsageError(
            f"{name!r} is no field that can be set", code="unknown_field", hint=f"There are {', '.join(sorted(NAMES))}."
        )
    return name


def _option(field: Field) -> Callable[[_F], _F]:
    if field.kind == "switch":
        return click.option(field.option, field.name, default=None, help=field.help)
    metavar = {"number": "NUMBER", "integer": "NUMBER", "json": "JSON"}.get(field.kind, "TEXT")
    return click.option(
        field.option,
        field.name,
        metavar=metavar,
        type=_TYPES.get(field.kind, click.STRING),
        multiple=field.kind == "list",
        help=field.help,
    )
