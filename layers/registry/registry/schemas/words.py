"""The words that the contract knows, and a version's fields as the registry handles them. Without pydantic, which only
those functions need that read requests or write answers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal

Framework = Literal["pytorch", "tensorflow", "sklearn", "onnx", "keras", "huggingface", "other"]
ModelType = Literal[
    "classification",
    "regression",
    "clustering",
    "nlp",
    "computer_vision",
    "recommendation",
    "time_series",
    "reinforcement_learning",
    "other",
]
UploadStatus = Literal["uploading", "processing", "ready", "failed", "aborted"]
FileStatus = Literal["pending", "stored", "verified", "failed"]

MAX_FILES = 50_000


@dataclass(slots=True, kw_only=True)
class Fields:
    """What people say of a version, as it was checked when it came (`requests.VersionFields`, field for field)."""

    name: str | None = None
    description: str | None = None
    framework: Framework | None = None
    model_type: ModelType | None = None
    algorithm: str | None = None
    training_dataset: str | None = None
    training_accuracy: float | None = None
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    training_loss: float | None = None
    input_shape: Any = None
    output_shape: Any = None
    num_parameters: int | None = None
    python_version: str | None = None
    dependencies: list[str] | None = None
    hardware_requirements: Any = None
    tags: list[str] | None = None
    custom_metadata: dict[str, Any] | None = None
    is_active: bool | None = None
    is_production_ready: bool | None = None
    primary_file_path: str | None = None

    @classmethod
    def load(cls, stored: dict[str, Any]) -> Fields:
        """As a row holds them. What this release does not know, a newer one wrote before it was rolled back."""
        known = cls.names()
        return cls(**{name: value for name, value in stored.items() if name in known})

    @classmethod
    @cache  # `fields` is slow, and a page of 100 versions asks for all of them 200 times
    def names(cls) -> frozenset[str]:
        """Of every field."""
        return frozenset(field.name for field in fields(cls))

    def dump(self) -> dict[str, Any]:
        """The inverse of `load`: what is known, and nothing else."""
        return {name: value for name, value in self.all().items() if value is not None}

    def all(self) -> dict[str, Any]:
        """Every field by its name, None where nothing is known."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
