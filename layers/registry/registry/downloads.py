"""Downloads: one file or a whole version, as bytes where they may be answered here, else as a presigned URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from registry import exports, finding, naming
from registry.archives import Segment
from registry.auth import Principal
from registry.catalog import reading
from registry.errors import InvalidError, UnavailableError
from registry.exports import Content
from registry.files import StoredFile, disposition, name_of
from registry.records import VersionRow
from registry.settings import get_settings
from registry.storage import presigning
from registry.storage.objects import StoredObject

_MAX_WAITS = 12  # times 20 s: then 503 with Retry-After


@dataclass(frozen=True, slots=True)
class Redirect:
    """A presigned URL to go to."""

    url: str


def download_model(
    *,
    principal: Principal,
    user_id: str,
    model_id: str,
    version: str | None,
    filename: str | None,
    redirect: bool,
    waited: int = 0,
) -> Content | Redirect:
    """One file of a version, or with no filename all of it as a ZIP."""
    row = finding.find_version(principal, user_id, model_id, version)
    if filename:
        return _download_file(row, reading.find_file(row, filename), redirect=redirect)
    if row.file_count == 0:
        raise InvalidError("This version has no files", code="no_files")
    return _download_version(row, redirect=redirect, waited=waited)


def _inline(size: int) -> bool:
    limit = get_settings().inline_limit_bytes
    return not limit or size <= limit


def _download_file(row: VersionRow, file: StoredFile, *, redirect: bool) -> Content | Redirect:
    source = StoredObject(naming.file_key(row.prefix, file.path), file.size, file.etag)
    if redirect or not _inline(file.size):
        return Redirect(presigning.presign_get(source.key, disposition=disposition(name_of(file.path))))
    segment = Segment(start=0, length=file.size, data=None, entry=0)
    return Content(name_of(file.path), file.size, f'"{file.sha256}"', [segment], [source])


def _download_version(row: VersionRow, *, redirect: bool, waited: int) -> Content | Redirect:
    content = None
    if not redirect and _inline(int(row.total_size)):
        content = exports.plan_version(row, filename=archive_name(row))
    if content is None or not _inline(content.size):  # headers and directory count too
        try:
            key = exports.find_or_build(row)
        except UnavailableError as error:
            if error.code != "archive_building" or waited >= _MAX_WAITS:
                raise
            # Not ready within the time of one request: the client asks again, and clients follow a redirect by
            # themselves. The version is named, so that a newer one does not get into the middle.
            query = {"version": row.version, "redirect": "true", "wait": waited + 1}
            return Redirect(f"/ai-models/{quote(row.user_id)}/{row.model_id}/download?{urlencode(query)}")
        return Redirect(presigning.presign_get(key, disposition=disposition(archive_name(row))))
    return content


def archive_name(row: VersionRow) -> str:
    """What the ZIP of a whole version is saved as."""
    return f"{row.model_id}-{row.version}.zip"
