"""The contract's plain values: what requests may say (`requests`) and what answers look like (`answers`)."""

from registry.schemas.answers import Deleted, File, Metadata, Multipart, PartPut, Put, Upload, UploadArchive, UploadFile
from registry.schemas.requests import (
    AddFiles,
    ArchiveSpec,
    FileSpec,
    FolderForm,
    PartDigest,
    SignParts,
    SingleForm,
    StartUpload,
    Strict,
    UploadForm,
    VersionFields,
)
from registry.schemas.values import MAX_FILES, FileStatus, Framework, ModelType, UploadStatus, invalid_from

__all__ = [
    "MAX_FILES",
    "AddFiles",
    "ArchiveSpec",
    "Deleted",
    "File",
    "FileSpec",
    "FileStatus",
    "FolderForm",
    "Framework",
    "Metadata",
    "ModelType",
    "Multipart",
    "PartDigest",
    "PartPut",
    "Put",
    "SignParts",
    "SingleForm",
    "StartUpload",
    "Strict",
    "Upload",
    "UploadArchive",
    "UploadFile",
    "UploadForm",
    "UploadStatus",
    "VersionFields",
    "invalid_from",
]
