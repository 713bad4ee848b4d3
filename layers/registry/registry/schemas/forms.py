"""What forms may say."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from registry.schemas.requests import VersionFields
from registry.schemas.values import Description, Line, Metric, Name, TagText, Text
from registry.schemas.words import Framework, ModelType


class UploadForm(BaseModel):
    """The text fields of `POST /ai-models/upload/single` and `/folder`, which arrive as strings."""

    model_config = ConfigDict(extra="forbid")

    user_id: str
    model_id: str
    name: Name
    version: str = "v1"
    description: Description | None = None
    framework: Framework | None = None
    model_type: ModelType | None = None
    algorithm: Line | None = None
    tags: TagText = None
    training_accuracy: Metric | None = None
    validation_accuracy: Metric | None = None
    test_accuracy: Metric | None = None
    training_loss: Metric | None = None
    python_version: Line | None = None
    hardware_requirements: Text | None = None

    def fields(self) -> VersionFields:
        """The same, as the rest of the registry knows it."""
        given = self.model_dump(exclude={"user_id", "model_id", "version", "is_primary", "preserve_structure"})
        return VersionFields(**given)


class SingleForm(UploadForm):
    """The text fields beside `file`."""

    is_primary: bool = False


class FolderForm(UploadForm):
    """The text fields beside `zip_file`."""

    preserve_structure: bool = True
