"""What a version looks like."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from registry.schemas.words import Framework, ModelType


class File(BaseModel):
    """A file of a published version."""

    filename: str
    file_path: str
    file_size: int
    file_type: Literal["model", "configuration", "requirements", "documentation", "other"]
    file_hash: str
    content_type: str
    is_primary: bool
    description: str | None
    url: str | None = Field(default=None, exclude_if=lambda url: url is None)


class Metadata(BaseModel):
    """All that is known of a published version; every key is always there."""

    model_id: str
    user_id: str
    name: str
    description: str | None
    version: str
    framework: Framework
    model_type: ModelType
    algorithm: str | None
    files: list[File]
    primary_file_path: str | None
    input_shape: Any
    output_shape: Any
    num_parameters: int | None
    model_size_mb: float
    training_dataset: str | None
    training_accuracy: float | None
    validation_accuracy: float | None
    test_accuracy: float | None
    training_loss: float | None
    python_version: str | None
    dependencies: list[str]
    hardware_requirements: Any
    tags: list[str]
    custom_metadata: dict[str, Any]
    created_at: str
    updated_at: str
    is_active: bool
    is_production_ready: bool
    status: Literal["ready"] = "ready"
    file_count: int
    total_size: int


class Deleted(BaseModel):
    """What a DELETE took away."""

    user_id: str
    model_id: str
    versions: list[str]
    status: Literal["deleted", "deleting"]
