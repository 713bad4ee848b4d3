"""What requests may say."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from registry.schemas.values import (
    MAX_FIELDS_BYTES,
    MAX_FILES_A_REQUEST,
    Description,
    Digest,
    FileName,
    Framework,
    Hardware,
    JsonObject,
    Line,
    Metric,
    ModelType,
    Name,
    Note,
    Shape,
    Size,
    Tags,
    TagText,
    Text,
)


class Strict(BaseModel):
    """A request body: unknown fields are refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


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


class FileSpec(Strict):
    """A file that a client is going to send."""

    path: str
    size: Size
    sha256: Digest | None = None
    is_primary: bool = False
    description: Note | None = None


class ArchiveSpec(Strict):
    """A ZIP that a client is going to send."""

    size: Size
    sha256: Digest | None = None
    preserve_structure: bool = True


class StartUpload(VersionFields):
    """The body of `POST /ai-models/upload/direct`."""

    user_id: str
    model_id: str
    version: str | None = None
    archive: ArchiveSpec | None = None
    files: Annotated[list[FileSpec], Field(max_length=MAX_FILES_A_REQUEST)] | None = None


class AddFiles(Strict):
    """The body of `POST /ai-models/upload/{upload_id}/files`."""

    files: Annotated[list[FileSpec], Field(min_length=1, max_length=MAX_FILES_A_REQUEST)]


class PartDigest(Strict):
    """One part of a file and what its bytes hash to."""

    number: Annotated[int, Field(ge=1, le=10_000)]
    sha256: Digest


class SignParts(Strict):
    """The body of `POST /ai-models/upload/{upload_id}/parts`; no path means the archive."""

    path: str | None = None
    parts: Annotated[list[PartDigest], Field(min_length=1, max_length=500)]
