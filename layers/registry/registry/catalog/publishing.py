"""How a version becomes visible: all at once, by one transaction, after all of it is stored and hashed."""

from __future__ import annotations

import json
import secrets

from registry import files, naming, records, search
from registry.catalog import reading
from registry.files import StoredFile
from registry.records import DigestRow, ManifestRow, OpenRow, PostingRow, Transaction, UploadRow, VersionRow
from registry.schemas.words import Fields

INLINE_BYTES = 8 * 1024  # of files in the version's own row: a get of a small version is one read


def publish(upload: UploadRow, stored: list[StoredFile], *, dependencies: list[str] | None = None) -> VersionRow | None:
    """Makes an upload's version visible; None if the upload is no longer this worker's, or got more files meanwhile.
    Order: files, hints, then the one transaction that readers see."""
    stored = sorted(stored, key=lambda file: file.path)
    row = _version_row(upload, stored, dependencies)
    if len(row.files) < len(stored):
        _save_manifest(upload.upload_id, stored)
    before = reading.newest(upload.user_id, upload.model_id)
    superseded = before and PostingRow.find(*_latest_key(before))
    terms = search.version_terms(row.model_id, reading.fields_of(row)) | ({search.LATEST} if row.active else set())
    search.add_first(row, terms, active=bool(row.active))
    published = (
        Transaction()
        .save(row, (VersionRow.upload_id == upload.upload_id) & (VersionRow.status == "uploading"))
        .update(
            UploadRow(upload.pk, upload.sk),
            [
                UploadRow.status.set("ready"),
                UploadRow.lease_until.set(0),
                UploadRow.expires.set(int(upload.expires_at)),
            ],
            UploadRow.status.is_in("uploading", "processing")
            & (UploadRow.fence == int(upload.fence))
            & (UploadRow.rows == int(upload.rows)),
        )
        .delete(OpenRow(f"O#{upload.user_id}", upload.upload_id))
    )
    for _ in range(3):  # a wake that counts just now is a conflict, not a refusal
        if published.commit():
            break
        now = UploadRow.find(upload.pk)
        if (
            now is None
            or now.status not in ("uploading", "processing")
            or (now.fence, now.rows) != (upload.fence, upload.rows)
        ):
            return None
    else:
        return None
    if superseded and row.active:
        records.delete_if(superseded, PostingRow.token == superseded.token)
    return row


def _version_row(upload: UploadRow, stored: list[StoredFile], dependencies: list[str] | None) -> VersionRow:
    fields = Fields.load(upload.fields)
    primary = upload.primary or _marked(upload.prefix, fields.primary_file_path, stored) or files.choose_primary(stored)
    fields.framework = fields.framework or files.detect_framework(primary)
    fields.model_type = fields.model_type or "other"
    if fields.dependencies is None and dependencies:
        fields.dependencies = dependencies
    created = records.now_text()
    active = fields.is_active is not False
    fields.is_active = fields.primary_file_path = None  # these two have places of their own in the row
    return VersionRow(
        *records.version_key(upload.user_id, upload.model_id, upload.version),
        status="ready",
        user_id=upload.user_id,
        model_id=upload.model_id,
        version=upload.version,
        upload_id=upload.upload_id,
        prefix=upload.prefix,
        created=created,
        updated=created,
        rev=0,
        active=active,
        fields=fields.dump(),
        files=_fit_inline(stored),
        file_count=len(stored),
        total_size=sum(file.size for file in stored),
        primary=primary,
    )


def _marked(prefix: str, wanted: str | None, stored: list[StoredFile]) -> str | None:
    """The file that `primary_file_path` names, by its path or its whole key."""
    if wanted is None:
        return None
    return next((file.path for file in stored if wanted in (file.path, naming.file_key(prefix, file.path))), None)


def _fit_inline(stored: list[StoredFile]) -> list[list[object]]:
    """The first files by path, as many as fit."""
    inline, size = [], 0
    for file in stored:
        packed = file.pack()
        size += len(json.dumps(packed, ensure_ascii=False).encode()) + 1
        if size > INLINE_BYTES:
            break
        inline.append(packed)
    return inline


def _save_manifest(upload_id: str, stored: list[StoredFile]) -> None:
    """Writes the files in rows of 100 by path, and removes rows that an attempt before this one cut elsewhere: one that
    died, or that more files were added to meanwhile."""
    pk = f"F#{upload_id}"
    chunks = [stored[i : i + records.FILES_A_ROW] for i in range(0, len(stored), records.FILES_A_ROW)]
    rows = {chunk[0].path: ManifestRow(pk, chunk[0].path, files=[file.pack() for file in chunk]) for chunk in chunks}
    before = ManifestRow.query(pk, consistent_read=True, attributes_to_get=["pk", "sk"])
    records.delete_all([row for row in before if row.sk not in rows])
    records.save_all(rows.values())


def remember_digests(row: VersionRow, stored: list[StoredFile]) -> None:
    """After publication: says where these bytes lie, so that nobody has to send them again. Only a hint, so that
    losing it costs a transfer and no more."""
    rows = {
        file.sha256: DigestRow(
            records.digest_pk(row.user_id, file.sha256),
            row.upload_id,
            key=naming.file_key(row.prefix, file.path),
            etag=file.etag,
            size=file.size,
            crc32=file.crc32,
            model_id=row.model_id,
            version=row.version,
        )
        for file in stored
    }
    records.save_all(rows.values())


def ensure_latest(user_id: str, model_id: str) -> None:
    """After a delete or a change of `is_active`: the newest version that is left has the hint that says so."""
    row = reading.newest(user_id, model_id)
    if row is not None:
        _put_latest(row, rev=int(row.rev))


def prepare_latest(row: VersionRow) -> None:
    """Before a version turns inactive: the hint for the one that will be the newest then. Its revision, which that
    version has not reached, keeps readers from removing it meanwhile."""
    following = reading.newest(row.user_id, row.model_id, besides=row.version)
    if following is not None:
        _put_latest(following, rev=int(following.rev) + 1)


def _put_latest(row: VersionRow, *, rev: int) -> None:
    pk, sk = _latest_key(row)
    PostingRow(pk, sk, upload_id=row.upload_id, rev=rev, token=secrets.token_hex(6)).save()


def _latest_key(row: VersionRow) -> tuple[str, str]:
    return (
        search.posting_pk(row.user_id, search.LATEST),
        search.posting_sk(row.created or "", row.model_id, row.version),
    )
