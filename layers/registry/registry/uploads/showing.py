"""An upload as clients see it, with fresh URLs for what is missing: how they begin, and go on after a crash."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from registry import naming, records
from registry.auth import Principal, rights_of
from registry.catalog import reading
from registry.errors import ConflictError, InvalidError, NotFoundError
from registry.records import OpenRow, ResultRow, UploadRow
from registry.schemas.uploads import Multipart, PartPut, Put, Upload, UploadArchive, UploadFile
from registry.schemas.words import FileStatus
from registry.settings import get_settings
from registry.storage import multiparts, objects, presigning
from registry.storage.client import MultipartMissingError
from registry.uploads import finding, specs
from registry.uploads.leases import OPEN
from registry.uploads.specs import Result, Spec

if TYPE_CHECKING:
    from registry.schemas.parts import SignParts

MAX_URLS = 500
MAX_PAGE = 1_000
_PLAIN, _SIGNED, _CHECKED = "plain", "signed", "sha256"


class _Urls:
    """How many URLs the answer may still hold."""

    def __init__(self, wanted: bool) -> None:
        self.left = MAX_URLS if wanted else 0
        self.wanted = wanted


def show(
    upload: UploadRow,
    *,
    urls: bool,
    limit: int = MAX_PAGE,
    cursor: str | None = None,
    state: FileStatus | None = None,
) -> tuple[Upload, str | None]:
    """An upload with a page of its files, and where the next page begins."""
    wanted = _Urls(urls and upload.status in OPEN)
    files: list[UploadFile] = []
    following = None
    if upload.kind == "files" and limit:
        files, following = _files(upload, wanted, limit=limit, cursor=cursor, state=state)
    archive = _archive(upload, wanted) if upload.kind in ("archive", "folder") else None
    stored = specs.progress(upload)[0] if upload.kind == "files" else 0
    stored += sum(_bytes_of_parts(each) for each in [*files, archive] if each is not None)
    if (archive is not None and archive.status != "pending") or upload.status == "ready":
        stored = int(upload.bytes_total)
    view = Upload(
        upload_id=upload.upload_id,
        user_id=upload.user_id,
        model_id=upload.model_id,
        version=upload.version,
        status=upload.status,  # type: ignore[arg-type]
        created_at=upload.created,
        expires_at=records.time_text(int(upload.expires_at)),
        urls_expire_at=records.time_text(time.time() + get_settings().url_expires_seconds) if wanted.wanted else None,
        code=upload.code,
        detail=upload.detail,
        file_count=int(upload.file_count),
        bytes_total=int(upload.bytes_total),
        bytes_stored=stored,
        archive=archive,
        files=files,
    )
    return view, following


def _bytes_of_parts(view: UploadFile | UploadArchive) -> int:
    plan = multiparts.plan_parts(view.size)
    return sum(plan.length(number) for number in view.multipart.stored_parts) if view.multipart is not None else 0


def _files(
    upload: UploadRow, urls: _Urls, *, limit: int, cursor: str | None, state: FileStatus | None
) -> tuple[list[UploadFile], str | None]:
    first = _read_number(cursor) if cursor else 0
    page: list[UploadFile] = []
    for spec, result, row in _walk(upload, first):
        status = status_of(spec, result)
        if state is not None and status != state:
            continue
        if len(page) >= limit or (urls.wanted and urls.left <= 0 and status in ("pending", "failed")):
            return page, reading.make_cursor(str(spec.number))
        page.append(_file(upload, spec, result, row, urls))
    return page, None


def _read_number(cursor: str) -> int:
    text = reading.read_cursor(cursor)
    if not re.fullmatch("[0-9]{1,7}", text):
        raise InvalidError("cursor is none of ours: take it from the Link header", code="bad_cursor")
    return int(text)


def _walk(upload: UploadRow, first: int) -> Iterator[tuple[Spec, Result | None, ResultRow]]:
    for spec_row in specs.iter_specs(upload, first_row=first // records.FILES_A_ROW):
        row = _result_row(upload, specs.result_sk(specs.row_number(spec_row)))
        results = specs.results_of(row)
        for spec in specs.specs_of(spec_row):
            if spec.number >= first:
                yield spec, results.get(spec.number), row


def _result_row(upload: UploadRow, sk: str) -> ResultRow:
    return ResultRow.find(upload.pk, sk) or specs.new_result_row(upload, sk)


def status_of(spec: Spec, result: Result | None) -> FileStatus:
    """A file's state: `stored` where nothing need be sent, `verified` once it is in the version's own place."""
    if result is not None:
        return result.status  # type: ignore[return-value]
    return "stored" if spec.source is not None else "pending"


def _file(upload: UploadRow, spec: Spec, result: Result | None, row: ResultRow, urls: _Urls) -> UploadFile:
    status = status_of(spec, result)
    view = UploadFile(
        path=spec.path,
        size=spec.size,
        sha256=result.file.sha256 if result is not None and result.file is not None else spec.sha256,
        status=status,
        code=result.code if result is not None else None,
    )
    if status in ("pending", "failed") and upload.status in OPEN:
        key = naming.inbox_key(upload.user_id, upload.upload_id, spec.number)
        view.put, view.multipart = _ways(upload, key, spec.size, spec.sha256, row, str(spec.number), urls)
    return view


def _archive(upload: UploadRow, urls: _Urls) -> UploadArchive:
    wanted = upload.archive
    key = naming.inbox_key(upload.user_id, upload.upload_id, naming.ARCHIVE_SLOT)
    status: FileStatus = "pending"
    if upload.status == "ready":
        status = "verified"
    elif upload.status in ("failed", "aborted"):
        status = "failed"
    elif wanted.get("etag") or objects.find_object(key) is not None:
        status = "stored"
    view = UploadArchive(
        size=wanted["size"],
        sha256=wanted.get("sha256"),
        preserve_structure=wanted["preserve_structure"],
        status=status,
        code=upload.code,
    )
    if status == "pending" and upload.kind == "archive":
        row = _result_row(upload, specs.ARCHIVE_ROW)
        view.put, view.multipart = _ways(upload, key, view.size, view.sha256, row, "0", urls)
    return view


def _ways(
    upload: UploadRow, key: str, size: int, sha256: str | None, row: ResultRow, slot: str, urls: _Urls
) -> tuple[Put | None, Multipart | None]:
    """How to send a file: one PUT up to the size of a part, else its parts; URLs as far as the answer may hold them."""
    plan = multiparts.plan_parts(size)
    if size <= plan.part_bytes:
        if urls.left <= 0:
            return None, None
        urls.left -= 1
        url, headers = presigning.presign_put(key, size=size, sha256=sha256)
        return Put(url=url, headers=headers), None
    begun = read_multipart(row, slot)
    stored = _stored_parts(key, begun)
    if begun is None and urls.left > 0:
        begun = begin_multipart(upload, key, row.sk, slot, mode=_PLAIN)
    view = Multipart(part_size=plan.part_bytes, part_count=plan.count, stored_parts=stored, parts=[])
    # Where the store wants a digest with every part, only POST …/parts can sign them.
    if begun is not None and begun[0] != _CHECKED:
        have = set(stored)
        missing = (number for number in range(1, plan.count + 1) if number not in have)
        for number in missing:
            if urls.left <= 0:
                break
            urls.left -= 1
            url, headers = presigning.presign_part(key, begun[1], number, size=plan.length(number), sha256=None)
            view.parts.append(PartPut(number=number, url=url, headers=headers))
    return None, view


def _stored_parts(key: str, begun: tuple[str, str] | None) -> list[int]:
    if begun is None:
        return []
    try:
        return [part.number for part in multiparts.list_parts(key, begun[1])]
    except MultipartMissingError:
        return []


def read_multipart(row: ResultRow, slot: str) -> tuple[str, str] | None:
    """The multipart of a file: its mode (whether its parts carry digests) and S3's id."""
    text = row.multiparts.as_dict().get(slot)
    if text is None:
        return None
    mode, _, multipart = text.partition(":")
    return mode, multipart


def begin_multipart(
    upload: UploadRow, key: str, sk: str, slot: str, *, mode: str, instead_of: tuple[str, str] | None = None
) -> tuple[str, str]:
    """Begins a file's multipart; if two do at once, the first on record counts and the other is thrown away."""
    if mode == _CHECKED and not multiparts.lists_digests():
        mode = _SIGNED  # the store checks what is signed, and wants no digest where none is
    multipart = multiparts.create_multipart(key, checksum="SHA256" if mode == _CHECKED else None)
    row = ResultRow(upload.pk, sk)
    attribute = ResultRow.multiparts[slot]
    before = attribute.does_not_exist() if instead_of is None else attribute == ":".join(instead_of)
    if records.update_if(row, [attribute.set(f"{mode}:{multipart}")], before):
        if instead_of is not None:
            multiparts.abort_multipart(key, instead_of[1])
        return mode, multipart
    multiparts.abort_multipart(key, multipart)
    now = ResultRow.find(upload.pk, sk)
    begun = read_multipart(now, slot) if now is not None else None
    if begun is None:
        raise ConflictError("The upload has ended", code="upload_ended")
    return begun


def sign_parts(*, principal: Principal, upload_id: str, request: SignParts) -> Multipart:
    """URLs of parts that the store takes only with the bytes that hash to the given digests."""
    upload = finding.find_upload(principal, upload_id, "write")
    finding.refuse_ended(upload)
    key, sk, slot, size = _locate(upload, request.path)
    plan = multiparts.plan_parts(size)
    if size <= plan.part_bytes:
        raise InvalidError("this file goes by one PUT: ask for its URL with ?urls=true", code="not_multipart")
    wrong = [part.number for part in request.parts if part.number > plan.count]
    if wrong:
        raise InvalidError(f"the file has {plan.count} parts, and no part {wrong[0]}", code="no_such_part")
    begun = read_multipart(_result_row(upload, sk), slot)
    stored = _stored_parts(key, begun)
    if begun is None:
        begun = begin_multipart(upload, key, sk, slot, mode=_CHECKED)
    elif begun[0] == _PLAIN and not stored:
        begun = begin_multipart(upload, key, sk, slot, mode=_CHECKED, instead_of=begun)
    if begun[0] == _PLAIN:
        raise ConflictError(
            "Parts of this file were sent without digests: go on with the URLs of ?urls=true", code="parts_unchecked"
        )
    view = Multipart(part_size=plan.part_bytes, part_count=plan.count, stored_parts=stored, parts=[])
    for part in request.parts:
        url, headers = presigning.presign_part(
            key, begun[1], part.number, size=plan.length(part.number), sha256=part.sha256
        )
        view.parts.append(PartPut(number=part.number, url=url, headers=headers))
    return view


def _locate(upload: UploadRow, path: str | None) -> tuple[str, str, str, int]:
    """Of a file by its path, or of the archive: inbox key, its result row's sort key, its slot there, its size."""
    if upload.kind == "archive":
        if path is not None:
            raise InvalidError("this upload is an archive: leave path out", code="no_such_file")
        key = naming.inbox_key(upload.user_id, upload.upload_id, naming.ARCHIVE_SLOT)
        return key, specs.ARCHIVE_ROW, "0", upload.archive["size"]
    for row in specs.iter_specs(upload):
        for spec in specs.specs_of(row):
            if spec.path == path:
                key = naming.inbox_key(upload.user_id, upload.upload_id, spec.number)
                return key, specs.result_sk(specs.row_number(row)), str(spec.number), spec.size
    raise NotFoundError(f"File {str(path)[:200]!r} is not part of this upload", code="file_not_found")


def get_upload(
    *, principal: Principal, upload_id: str, urls: bool, limit: int, cursor: str | None, state: FileStatus | None
) -> tuple[Upload, str | None]:
    """An upload as it is now."""
    upload = finding.find_upload(principal, upload_id, "write" if urls else "read")
    return show(upload, urls=urls, limit=limit, cursor=cursor, state=state)


def list_uploads(*, principal: Principal, user_id: str) -> list[Upload]:
    """A user's open uploads, newest first, without their files: those of models that the caller may write."""
    rights = rights_of(principal, naming.check_user_id(user_id))
    if rights.nothing:
        raise NotFoundError(f"User {user_id!r} not found", code="not_found")
    ids = [row.sk for row in OpenRow.query(f"O#{user_id}", consistent_read=True, limit=1_000)]
    rows = UploadRow.batch_get([(f"A#{upload_id}", "#") for upload_id in ids], consistent_read=True)
    seen = [row for row in rows if row.status in OPEN and rights.may("read", row.model_id, role="write")]
    found = sorted(seen, key=lambda row: row.upload_id, reverse=True)
    return [show(row, urls=False, limit=0)[0] for row in found]
