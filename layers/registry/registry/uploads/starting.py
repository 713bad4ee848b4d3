"""How an upload begins: a name is reserved, the files are written down, and bytes that are there already are found."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING

from registry import archives, naming, records
from registry.auth import Principal, authorise, rights_of
from registry.catalog import reserving
from registry.errors import ConflictError, InvalidError, RegistryError
from registry.records import DigestRow, IdempotencyRow, UploadRow, VersionRow
from registry.schemas.words import MAX_FILES, Fields
from registry.settings import get_settings
from registry.uploads import ending, finding, inbox, specs, waking
from registry.uploads.leases import OPEN
from registry.uploads.limits import get_limits
from registry.uploads.specs import Spec

if TYPE_CHECKING:
    from registry.schemas.direct import AddFiles, FileSpec
    from registry.schemas.requests import VersionFields
    from registry.schemas.starting import StartUpload

_MAX_ROWS = 2_000  # of 100 files each: more, and the upload's own row would outgrow DynamoDB's 400 KB
_HINTS = 5  # versions that may have the bytes, of which one at least should still be there
_HINTS_PASSED = 200
_LONGEST_NUMBERED = "v" + "9" * 15  # stands for a version without a name until it has one
_KEEP_SECONDS = 14 * 86_400  # of an open upload's rows: the sweep ends it long before


def new_upload(
    principal: Principal, *, user_id: str, model_id: str, version: str, kind: str, fields: VersionFields
) -> UploadRow:
    """An upload that is not yet written anywhere."""
    upload_id = naming.new_upload_id()
    now = time.time()
    return UploadRow(
        f"A#{upload_id}",
        "#",
        upload_id=upload_id,
        user_id=user_id,
        model_id=model_id,
        version=version,
        principal=principal.id,
        kind=kind,
        status="uploading",
        prefix="",
        fields=fields.model_dump(include=set(Fields.names()), exclude_none=True),
        created=records.now_text(),
        expires_at=int(now) + get_settings().upload_expires_seconds,
        expires=int(now) + get_settings().upload_expires_seconds + _KEEP_SECONDS,
    )


def start_upload(*, principal: Principal, request: StartUpload, idempotency_key: str | None) -> UploadRow:
    """Begins a direct upload. With an Idempotency-Key that was used before, the upload that it began."""
    user_id, model_id = naming.check_user_id(request.user_id), naming.check_model_id(request.model_id)
    authorise(principal, "write", user_id, model_id)
    if (request.archive is None) == (request.files is None):
        raise InvalidError("give either archive or files", code="archive_or_files")
    idempotency = _idempotency(principal, request, idempotency_key)
    if idempotency is not None and (begun := _begun(idempotency)) is not None:
        return begun
    version = naming.check_version(request.version) if request.version is not None else None
    upload = new_upload(
        principal,
        user_id=user_id,
        model_id=model_id,
        version=version or _LONGEST_NUMBERED,
        kind="archive" if request.archive is not None else "files",
        fields=request,
    )
    prepared = _prepare(principal, upload, request)  # refuses what is wrong; from here on things are written
    inbox.claim()
    if version is not None:
        reserving.note_highest(user_id, model_id, version)
    else:
        upload.version = reserving.next_version(user_id, model_id)
    records.save_all(prepared)
    if idempotency is not None:
        idempotency.upload_id = upload.upload_id
    try:
        reserved = _reserve(upload, idempotency, named=version is not None)
    except RegistryError:  # refused for certain; after anything else it may be written all the same, and else expires
        records.delete_all(prepared)
        raise
    if not reserved and idempotency is not None:
        records.delete_all(prepared)
        begun = _begun(idempotency)
        if begun is None:
            raise ConflictError("The upload that this Idempotency-Key began has ended", code="idempotency_ended")
        return begun
    if upload.source_rows:
        waking.wake(upload.upload_id)
        waking.start_worker(upload.upload_id)
    return upload


def _reserve(upload: UploadRow, idempotency: IdempotencyRow | None, *, named: bool) -> bool:
    if named:
        return reserve_or_take_over(upload, idempotency)
    for _ in range(50):
        try:
            return reserve_or_take_over(upload, idempotency)
        except ConflictError:  # somebody names versions faster than we count them
            upload.version = reserving.next_version(upload.user_id, upload.model_id)
    raise ConflictError("no free version name was found: give one", code="no_free_version")


def reserve_or_take_over(upload: UploadRow, idempotency: IdempotencyRow | None = None) -> bool:
    """Reserves the version's name; from an upload by form whose process has died, it is taken over."""
    due = time.time() + get_settings().recheck_seconds
    try:
        return reserving.reserve(upload, due=due, idempotency=idempotency)
    except ConflictError:
        if not _end_dead_form(upload):
            raise
    return reserving.reserve(upload, due=due, idempotency=idempotency)


def _end_dead_form(upload: UploadRow) -> bool:
    row = VersionRow.find(*records.version_key(upload.user_id, upload.model_id, upload.version))
    holder = UploadRow.find(f"A#{row.upload_id}") if row is not None and row.status == "uploading" else None
    return holder is not None and ending.end_if_dead(holder)


def _idempotency(principal: Principal, request: StartUpload, key: str | None) -> IdempotencyRow | None:
    if key is None:
        return None
    if not 1 <= len(key) <= 256:
        raise InvalidError("Idempotency-Key must have 1 to 256 characters", code="bad_idempotency_key")
    text = json.dumps(request.model_dump(mode="json"), sort_keys=True)
    return IdempotencyRow(
        records.idempotency_pk(request.user_id, principal.id, key),
        "#",
        request=hashlib.sha256(text.encode()).hexdigest(),
        expires=int(time.time()) + get_settings().upload_expires_seconds,
    )


def _begun(idempotency: IdempotencyRow) -> UploadRow | None:
    """The upload that this key began; None if none, or if it has been forgotten since."""
    row = IdempotencyRow.find(idempotency.pk)
    if row is None or (row.expires or 0) < time.time():
        return None
    if row.request != idempotency.request:
        raise ConflictError("This Idempotency-Key began another upload", code="idempotency_mismatch")
    return UploadRow.find(f"A#{row.upload_id}")


def _prepare(principal: Principal, upload: UploadRow, request: StartUpload) -> list[records.Row]:
    if request.archive is not None:
        upload.archive = request.archive.model_dump()
        upload.bytes_total = request.archive.size
        return [specs.new_progress_row(upload), specs.new_result_row(upload, specs.ARCHIVE_ROW)]
    files = request.files or []
    if not files:
        raise InvalidError("files must not be empty", code="no_files")
    _check_files(upload, files, known=[])
    upload.next_row = -(-len(files) // records.FILES_A_ROW)
    return [specs.new_progress_row(upload), *_add(principal, upload, files, first_row=0)]


def _check_files(upload: UploadRow, files: list[FileSpec], *, known: list[str]) -> None:
    """Refuses files whose paths are wrong, in themselves or beside those that the upload has."""
    longest = naming.version_prefix(upload.user_id, upload.model_id, upload.version, attempt=upload.upload_id)
    limits = get_limits()
    for file in files:
        naming.file_key(longest, archives.check_path(file.path, limits=limits, subject="path"))
    archives.check_path_set([*known, *(file.path for file in files)], subject="path")
    marked = sum(file.is_primary for file in files)
    if marked > 1 or (marked and upload.primary):
        raise InvalidError("only one file can be the primary one", code="many_primary")


def _add(principal: Principal, upload: UploadRow, files: list[FileSpec], *, first_row: int) -> list[records.Row]:
    """The rows of some files that have been checked, and the upload's own counts with them; nothing is written."""
    sources = _find_sources(principal, upload.user_id, files)
    listed = []
    for i, file in enumerate(files):
        number = first_row * records.FILES_A_ROW + i
        source = sources.get((file.sha256, file.size)) if file.sha256 else None
        listed.append(Spec(number, file.path, file.size, file.sha256, file.description, source))
    upload.primary = next((file.path for file in files if file.is_primary), upload.primary)
    rows = specs.new_rows(upload, listed, first_row=first_row)
    with_sources = {spec.number // records.FILES_A_ROW for spec in listed if spec.source}
    upload.source_rows = {*(upload.source_rows or ()), *with_sources} or None
    upload.row_set = {*(upload.row_set or ()), *range(first_row, first_row + len(rows) // 2)}
    upload.rows = len(upload.row_set)
    upload.file_count = int(upload.file_count) + len(files)
    upload.bytes_total = int(upload.bytes_total) + sum(file.size for file in files)
    return rows


def _find_sources(
    principal: Principal, user_id: str, files: list[FileSpec]
) -> dict[tuple[str | None, int], tuple[str, str, int | None]]:
    """Where bytes that are announced lie already, in a published version that the caller may read. Of others nothing is
    told or copied, so that who may write one model learns nothing of the rest."""
    rights = rights_of(principal, user_id)
    wanted = sorted({file.sha256 for file in files if file.sha256})

    def look(sha256: str) -> list[DigestRow]:
        # Newest first. Models that must not be read take no place from those that may: as far as one page goes.
        limit = _HINTS_PASSED if rights.limited else _HINTS
        found = DigestRow.query(records.digest_pk(user_id, sha256), limit=limit, scan_index_forward=False)
        return [hint for hint in found if rights.may("read", hint.model_id)][:_HINTS]

    hints = [hint for found in records.side_by_side(look, wanted, at_once=16) for hint in found]
    keys = {records.version_key(user_id, hint.model_id, hint.version) for hint in hints}
    ready = {row.upload_id: row for row in VersionRow.batch_get(keys, consistent_read=True) if row.status == "ready"}
    sources: dict[tuple[str | None, int], tuple[str, str, int | None]] = {}
    for hint in hints:
        if hint.sk in ready:
            crc32 = int(hint.crc32) if hint.crc32 is not None else None
            # The newest first: where an older one has been damaged or lost, the bytes have been sent again since.
            place = hint.pk.rsplit("#", 1)[-1], int(hint.size)
            sources.setdefault(place, (hint.key, hint.etag, crc32))
    return sources


def add_files(*, principal: Principal, upload_id: str, request: AddFiles) -> UploadRow:
    """Announces more files of an upload that is not yet complete."""
    upload = finding.find_upload(principal, upload_id, "write")
    finding.refuse_ended(upload)
    if upload.kind != "files" or upload.complete:
        raise ConflictError("Files can be added to an upload of files, before complete", code="upload_complete")
    if upload.file_count + len(request.files) > MAX_FILES:
        raise InvalidError(f"an upload may have {MAX_FILES} files", code="too_many_files")
    known = [spec.path for row in specs.iter_specs(upload) for spec in specs.specs_of(row)]
    _check_files(upload, request.files, known=known)
    before = int(upload.rows)
    count = -(-len(request.files) // records.FILES_A_ROW)
    if before + count > _MAX_ROWS:
        raise InvalidError("too many requests for one upload: announce more files in each", code="too_many_requests")
    counter = UploadRow(upload.pk, upload.sk)
    if not records.update_if(counter, [UploadRow.next_row.add(count)], UploadRow.status.is_in(*OPEN)):
        raise ConflictError("The upload has ended", code="upload_ended")
    rows = _add(principal, upload, request.files, first_row=int(counter.next_row) - count)
    records.save_all(rows)  # nobody sees them until the upload counts them
    actions = [
        UploadRow.rows.set(upload.rows),
        UploadRow.row_set.set(upload.row_set),
        UploadRow.file_count.set(upload.file_count),
        UploadRow.bytes_total.set(upload.bytes_total),
        UploadRow.wake.add(1),
    ]
    if upload.primary:
        actions.append(UploadRow.primary.set(upload.primary))
    if upload.source_rows:
        actions.append(UploadRow.source_rows.add(upload.source_rows))
    unchanged = UploadRow.status.is_in(*OPEN) & (UploadRow.rows == before) & (UploadRow.complete == False)  # noqa: E712
    if not records.update_if(upload, actions, unchanged):
        now = UploadRow.find(upload.pk)
        if now is not None and upload.row_set <= (now.row_set or set()):
            return now  # this very write did take place, and only its answer was lost
        records.delete_all(rows)
        raise ConflictError("The upload has changed meanwhile: look at it and try again", code="upload_changed")
    if upload.source_rows:
        waking.start_worker(upload_id)
    return upload
