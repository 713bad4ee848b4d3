"""Versions and files as the contract shows them."""

from __future__ import annotations

from registry import files, naming
from registry.catalog.reading import fields_of
from registry.files import StoredFile
from registry.records import VersionRow
from registry.schemas.answers import File, Metadata


def describe_file(row: VersionRow, file: StoredFile) -> File:
    """A file as the contract shows it."""
    return File(
        filename=file.path,
        file_path=naming.file_key(row.prefix, file.path),
        file_size=file.size,
        file_type=files.type_of(file.path),
        file_hash=file.sha256,
        content_type=files.content_type_of(file.path),
        is_primary=file.path == row.primary,
        description=file.description,
    )


def describe(row: VersionRow, shown: list[StoredFile]) -> Metadata:
    """A version as the contract shows it: every key, always."""
    fields = fields_of(row)
    given = fields.all()
    del given["is_active"], given["primary_file_path"]  # these two have places of their own in the row
    for key in ("dependencies", "tags"):
        given[key] = given[key] or []
    given["custom_metadata"] = given["custom_metadata"] or {}
    given["name"] = fields.name or row.model_id
    given["is_production_ready"] = bool(fields.is_production_ready)
    return Metadata(
        **given,
        user_id=row.user_id,
        model_id=row.model_id,
        version=row.version,
        files=[describe_file(row, file) for file in shown],
        primary_file_path=naming.file_key(row.prefix, row.primary) if row.primary else None,
        model_size_mb=int(row.total_size) / 1_048_576,
        created_at=row.created or "",
        updated_at=row.updated or "",
        is_active=bool(row.active),
        file_count=int(row.file_count),
        total_size=int(row.total_size),
    )
