"""Uploads by form, as the published API has them: the bytes come through here, and the answer is the version."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from isal import isal_zlib

from registry import archives, naming
from registry.auth import Principal, authorise
from registry.catalog import describing, publishing, reading, reserving
from registry.errors import InvalidError, RegistryError, TooLargeError
from registry.files import StoredFile
from registry.records import UploadRow
from registry.schemas.answers import Metadata
from registry.schemas.forms import FolderForm, SingleForm, UploadForm
from registry.settings import get_settings
from registry.storage.writing import ObjectWriter
from registry.uploads import ending, inbox, leases, promoting, starting, working
from registry.uploads.leases import OPEN, Lease, LeaseLostError
from registry.uploads.limits import get_limits

_READ_BYTES = 1024 * 1024


def upload_single(*, principal: Principal, form: SingleForm, filename: str, body: BinaryIO, size: int) -> Metadata:
    """One file becomes a version. The answer comes when its bytes are stored, hashed and published."""
    authorise(principal, "write", naming.check_user_id(form.user_id), naming.check_model_id(form.model_id))
    path = archives.check_path(naming.last_segment(filename), limits=get_limits(), subject="path")
    upload = _new_upload(principal, form, kind="form")
    upload.primary = path if form.is_primary else None
    longest = naming.version_prefix(form.user_id, form.model_id, form.version, attempt=upload.upload_id)
    naming.file_key(longest, path)
    inbox.claim()
    with _reserve(upload) as lease:
        try:
            stored = _store(upload, path, body, size)
            lease.check()
            dependencies = promoting.read_dependencies(upload.prefix, [stored])
            version = publishing.publish(lease.upload, [stored], dependencies=dependencies)
            if version is None:
                raise LeaseLostError(upload.upload_id)
        except BaseException as error:
            _take_back(lease.upload, error)
            raise
    ending.finish(lease.upload, version, [stored])
    return describing.describe(version, [stored])


def _store(upload: UploadRow, path: str, body: BinaryIO, size: int) -> StoredFile:
    digest, crc = hashlib.sha256(), 0
    with ObjectWriter(naming.file_key(upload.prefix, path), size) as writer:
        while chunk := body.read(_READ_BYTES):
            digest.update(chunk)
            crc = isal_zlib.crc32(chunk, crc)
            writer.write(chunk)
        etag = writer.finish()
    return StoredFile(path, size, digest.hexdigest(), etag, crc)


def upload_folder(*, principal: Principal, form: FolderForm, body: BinaryIO, size: int) -> Metadata | UploadRow:
    """A ZIP becomes a version: it goes to the inbox and is unpacked as one that was sent there directly. The version,
    or the upload where unpacking takes longer than a request may wait."""
    authorise(principal, "write", naming.check_user_id(form.user_id), naming.check_model_id(form.model_id))
    upload = _new_upload(principal, form, kind="folder")
    upload.archive = {"size": size, "sha256": None, "preserve_structure": form.preserve_structure}
    deadline = working.request_deadline()
    inbox.claim()
    with _reserve(upload) as lease:
        try:
            key = naming.inbox_key(upload.user_id, upload.upload_id, naming.ARCHIVE_SLOT)
            with ObjectWriter(key, size) as writer:
                while chunk := body.read(_READ_BYTES):
                    writer.write(chunk)
                writer.finish()
        except BaseException as error:
            _take_back(lease.upload, error)
            raise
        working.work_under(lease, deadline)
    now = working.wait(upload.upload_id, deadline)
    return shown_or_raised(now or upload)


def shown_or_raised(upload: UploadRow) -> Metadata | UploadRow:
    """What an upload has come to: its version, its failure raised, or the upload where it is not yet decided."""
    if upload.status == "ready":
        row = reading.get_version(upload.user_id, upload.model_id, upload.version)
        return describing.describe(row, reading.files_page(row, limit=reading.MAX_FILES_SHOWN))
    if upload.status in OPEN:
        return upload
    raise InvalidError(upload.detail or "The upload failed", code=upload.code or "upload_failed")


def check_body_size(size: int | None) -> None:
    """TooLargeError for what a function cannot take; `size` is the whole request's, in bytes."""
    limit = get_settings().request_limit_bytes
    if limit and (size or 0) > limit:
        raise TooLargeError(
            f"A request may have {limit} bytes here, and this one has {size}: "
            "send larger files straight to the store, beginning with POST /ai-models/upload/direct",
            code="use_direct_upload",
        )


def _new_upload(principal: Principal, form: UploadForm, *, kind: str) -> UploadRow:
    upload = starting.new_upload(
        principal,
        user_id=form.user_id,
        model_id=form.model_id,
        version=naming.check_version(form.version),
        kind=kind,
        fields=form.fields(),
    )
    upload.lease_until, upload.fence = leases.first_lease(), 1
    return upload


def _reserve(upload: UploadRow) -> Lease:
    """Reserves the version, taking it over from an upload by form whose process has died."""
    reserving.note_highest(upload.user_id, upload.model_id, upload.version)
    starting.reserve_or_take_over(upload)
    return Lease(upload)


def _take_back(upload: UploadRow, error: BaseException) -> None:
    refused = isinstance(error, RegistryError)
    ending.fail(
        upload,
        code=error.code if isinstance(error, RegistryError) else "interrupted",
        detail=str(error) if refused else "The upload was interrupted before all of it was stored",
    )
