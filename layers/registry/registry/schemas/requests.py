"""What requests may say of a version."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from registry.schemas.strict import Strict
from registry.schemas.values import (
    MAX_FIELDS_BYTES,
    Description,
    FileName,
    Hardware,
    JsonObject,
    Line,
    Metric,
    Name,
    Shape,
    Tags,
    Text,
)
from registry.schemas.words import Framework, ModelType


class VersionFields(Strict):
    """What people say of a version; PUT takes any of it, and so does a direct upload."""

    name: Name | None = None
    description: Description | None = None
    framework: Framework | None = None
    model_type: ModelType | None = None
    algorithm: Line | None = None
    training_dataset: Text | None = None
    training_accuracy: Metric | None = None
    validation_accuracy: Metric | None = None
    test_accuracy: Metric | None = None
    training_loss: Metric | None = None
    input_shape: Shape | None = None
    output_shape: Shape | None = None
    num_parameters: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    python_version: Line | None = None
    dependencies: Annotated[list[Text], Field(max_length=500)] | None = None
    hardware_requirements: Hardware | None = None
    tags: Tags | None = None
    custom_metadata: JsonObject | None = None
    is_active: bool | None = None
    is_production_ready: bool | None = None
    primary_file_path: FileName | None = None

    @model_validator(mode="after")
    def _fits_its_row(self) -> VersionFields:
        """Each field has its bound; together they have to fit into DynamoDB's 400 KB beside the files."""
        if len(self.model_dump_json(include=set(VersionFields.model_fields)).encode()) > MAX_FIELDS_BYTES:
            raise ValueError(f"metadata as a whole must not be larger than {MAX_FIELDS_BYTES // 1024} KB")
        return self
