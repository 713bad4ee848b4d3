"""What is said of a version: options win over `--metadata FILE.yaml`, which wins over the folder's modelkeep.yaml."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelkeep.errors import UsageError
from modelkeep.pushing.scanning import unreadable

# What a push is told otherwise; everything else the registry knows, or refuses by name.
_NOT_METADATA = ("user_id", "model_id", "version", "files", "archive")
_MAX_VALUES = 200_000
_MAX_BYTES = 1024 * 1024  # the registry takes 128 KB of metadata


def load_fields(given: Mapping[str, Any], *files: Path | None) -> dict[str, Any]:
    """The fields of all of them as JSON can hold them, the first that names one winning; None means not given."""
    merged: dict[str, Any] = {}
    for file in reversed(files):
        if file is not None:
            merged |= _load(file)
    merged |= {name: value for name, value in given.items() if value is not None}
    if wrong := sorted(set(merged).intersection(_NOT_METADATA)):
        raise UsageError(
            f"not metadata: {', '.join(wrong)}",
            code="bad_metadata",
            hint="User, model and version are given as USER/MODEL:VERSION.",
        )
    try:
        _weigh(merged, {})
        plain = json.dumps(merged, ensure_ascii=False, allow_nan=False, default=_plain)
        plain.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the metadata can't be written as JSON: {error}", code="bad_metadata") from error
    loaded: dict[str, Any] = json.loads(plain)
    return loaded


def _load(path: Path) -> dict[str, Any]:
    import yaml

    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise UsageError(f"{path} is no metadata: it has more than {_MAX_BYTES} bytes", code="bad_metadata")
        said = yaml.safe_load(text)
    except OSError as error:
        raise unreadable(path, error) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: the 30th of February; 5,000 digits
        raise UsageError(f"{path} is not YAML: {error}", code="bad_metadata") from error
    if said is None:
        return {}
    if not isinstance(said, dict) or not all(isinstance(name, str) for name in said):
        raise UsageError(
            f"{path} must map names of fields to values", code="bad_metadata", hint="For example `framework: pytorch`."
        )
    return {name: value for name, value in said.items() if value is not None}


def _weigh(value: object, known: dict[int, int]) -> int:
    """How many values there are once each alias is written out; ValueError for too many. A few lines of YAML can say
    billions, and somebody else may have written the folder's modelkeep.yaml."""
    if id(value) in known:
        return known[id(value)]
    known[id(value)] = 1  # of one that holds itself, which JSON refuses
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    known[id(value)] = weight = 1 + sum(_weigh(part, known) for part in parts)
    if weight > _MAX_VALUES:
        raise ValueError(f"it has more than {_MAX_VALUES} values")
    return weight


def _plain(value: object) -> str:
    if isinstance(value, datetime.date):  # YAML makes one of 2024-05-01; a datetime is one too
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not a JSON value")
