"""Versions, files and uploads as they are printed: for programs in the registry's own words, for people in short."""

from __future__ import annotations

from typing import Any

from modelkeep.cli.output import Output
from modelkeep.cli.text import clean, clean_lines, count, moment, size
from modelkeep.results import File, Upload, Version

VERSION_COLUMNS = ("MODEL", "NAME", "FRAMEWORK", "TYPE", "TAGS", "FILES", "SIZE", "CREATED (UTC)")
FILE_COLUMNS = ("PATH", "SIZE", "TYPE", "SHA-256", "")
UPLOAD_COLUMNS = ("ID", "MODEL", "STATUS", "SENT", "SIZE", "EXPIRES (UTC)")
_FILES_SHOWN = 20
_SHOWN = (
    ("name", "Name"),
    ("framework", "Framework"),
    ("model_type", "Type"),
    ("algorithm", "Algorithm"),
    ("training_dataset", "Trained on"),
    ("training_accuracy", "Training accuracy"),
    ("validation_accuracy", "Validation accuracy"),
    ("test_accuracy", "Test accuracy"),
    ("training_loss", "Training loss"),
    ("input_shape", "Input"),
    ("output_shape", "Output"),
    ("num_parameters", "Parameters"),
    ("python_version", "Python"),
    ("hardware_requirements", "Hardware"),
)


def version_json(version: Version) -> dict[str, Any]:
    """As the registry says it (docs/design.md, section 1.1), and the ETag where it is known."""
    return {**version.raw, "etag": version.etag}


def version_cells(version: Version) -> list[Any]:
    """As in VERSION_COLUMNS."""
    state = "" if version.is_active else " (inactive)"
    return [
        f"{version}{state}",
        version.name,
        version.framework,
        version.model_type,
        ", ".join(version.tags),
        version.file_count,
        size(version.total_size),
        moment(version.created_at),
    ]


def file_json(file: File) -> dict[str, Any]:
    """As an entry of a version's `files`; never its URL."""
    return {
        "filename": file.path,
        "file_path": file.key,
        "file_size": file.size,
        "file_type": file.file_type,
        "file_hash": file.sha256,
        "content_type": file.content_type,
        "is_primary": file.is_primary,
        "description": file.description,
    }


def file_cells(file: File) -> list[Any]:
    """As in FILE_COLUMNS; a star marks the file that is the model."""
    return [file.path, size(file.size), file.file_type, file.sha256, "*" if file.is_primary else ""]


def upload_json(upload: Upload) -> dict[str, Any]:
    """An upload without its files, whose URLs are secrets."""
    return {
        "upload_id": upload.upload_id,
        "user_id": upload.user_id,
        "model_id": upload.model_id,
        "version": upload.version,
        "status": upload.status,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "code": upload.code,
        "detail": upload.detail,
        "file_count": upload.file_count,
        "bytes_total": upload.bytes_total,
        "bytes_stored": upload.bytes_stored,
    }


def upload_cells(upload: Upload) -> list[Any]:
    """As in UPLOAD_COLUMNS."""
    return [
        upload.upload_id,
        f"{upload.user_id}/{upload.model_id}:{upload.version}",
        upload.status,
        size(upload.bytes_stored),
        size(upload.bytes_total),
        moment(upload.expires_at),
    ]


def summary(version: Version) -> str:
    """`alice/bert:v2 (3 files, 1.2 GB)`."""
    return f"{version} ({count(version.file_count, 'file')}, {size(version.total_size)})"


def show_version(out: Output, version: Version) -> None:
    """All that is said of a version."""
    out.result(version_json(version))
    if not out.for_people:
        return
    rows = [["Model", version]]
    rows += [[title, getattr(version, name)] for name, title in _SHOWN if getattr(version, name) not in (None, "")]
    rows += [["Tags", ", ".join(version.tags)]] if version.tags else []
    rows += [["Needs", ", ".join(version.dependencies)]] if version.dependencies else []
    rows += [[f"Custom {key}", value] for key, value in version.custom_metadata.items()]
    states = [
        "active" if version.is_active else "inactive",
        "ready for production" if version.is_production_ready else "not marked for production",
    ]
    rows += [
        ["State", ", ".join(states)],
        ["Size", f"{size(version.total_size)} in {count(version.file_count, 'file')}"],
        ["Created (UTC)", moment(version.created_at)],
        ["Updated (UTC)", moment(version.updated_at)],
    ]
    out.table(("", ""), rows)
    if version.description:
        out.text(f"\n{clean_lines(version.description)}")
    out.text("")
    out.table(FILE_COLUMNS, [file_cells(file) for file in version.files[:_FILES_SHOWN]])
    if (more := version.file_count - min(len(version.files), _FILES_SHOWN)) > 0:
        out.text(clean(f"and {count(more, 'more file')}: modelkeep files {version}"))
