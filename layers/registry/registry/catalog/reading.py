"""Reading the catalog: one version, its files, pages of versions. Readers see what is `ready` and nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass

from registry import naming, records, search
from registry.errors import InvalidError, NotFoundError
from registry.files import StoredFile
from registry.records import ManifestRow, PostingRow, VersionRow
from registry.schemas.words import Fields

MAX_SKIP = 5_000
MAX_FILES_SHOWN = 1_000
MAX_PAGE_BYTES = 3 * 1024 * 1024  # Lambda answers at most 6 MB; JSON with all keys is up to twice what is stored
_STALE_REMOVED = 25  # hints that lead nowhere, taken away in passing by one request


@dataclass(frozen=True, slots=True)
class Page:
    """Some versions, newest first, and where the next page begins (None at the end)."""

    versions: list[VersionRow]
    cursor: str | None


def fields_of(row: VersionRow) -> Fields:
    """What people say of the version; as it was checked when written."""
    return Fields.load(row.fields or {})


def etag_of(row: VersionRow) -> str:
    """Changes with every update."""
    return f'"{row.upload_id}-{int(row.rev)}"'


def get_version(user_id: str, model_id: str, version: str | None) -> VersionRow:
    """A published version; without a name, or as `latest`, the newest active one. NotFoundError."""
    if version in (None, "", "latest"):
        row = newest(user_id, model_id)
        if row is None:
            raise NotFoundError(f"Model {model_id!r} of user {user_id!r} not found", code="model_not_found")
        return row
    assert version is not None
    row = None
    if naming.is_version(version):
        row = VersionRow.find(*records.version_key(user_id, model_id, version))
    if row is None or row.status != "ready":
        raise NotFoundError(
            f"Version {version[:128]!r} of model {model_id!r} of user {user_id!r} not found", code="version_not_found"
        )
    return row


def newest(user_id: str, model_id: str, *, besides: str | None = None) -> VersionRow | None:
    """The active version of a model with the latest `created_at`, `besides` one: one Query and one GetItem."""
    budget = search.Budget(search.MAX_POSTINGS)
    walk = search.TermPostings(search.posting_pk(user_id, f"m:{model_id}"), None, budget, 1)
    while (posting := walk.peek()) is not None:
        created, _, version = search.split_sk(posting.sk)
        row = VersionRow.find(*records.version_key(user_id, model_id, version)) if version != besides else None
        if row is not None and row.status == "ready" and row.active and row.created == created:
            return row
        walk.drop(posting.sk)
    return None


def list_page(query: search.Query, *, limit: int, skip: int = 0, cursor: str | None = None) -> Page:
    """A page of the versions that a query finds. Ends early, with a cursor, at 3 MiB or 5,000 postings read."""
    if skip > MAX_SKIP:
        raise InvalidError(f"skip must be at most {MAX_SKIP}; follow the Link header instead", code="bad_skip")
    wanted = skip + limit
    budget = search.Budget(search.MAX_POSTINGS + wanted)
    before = read_cursor(cursor) if cursor else None
    postings = search.open_postings(query, before=before, budget=budget, expected=wanted)
    walk = search.Intersection(postings, budget, query.seen)
    found: list[VersionRow] = []
    size, last = 0, before
    looked, left = 0, False  # candidates that were held against the query; whether some were taken and not looked at
    checker = _Checker(query)
    while not left and len(found) < wanted and size < MAX_PAGE_BYTES:
        # So many that, if as few hold as until now, the page is full: not by ever smaller steps.
        likely = (wanted - len(found)) * (looked + 1) // (len(found) + 1)
        batch = _take(walk, min(100, likely))
        if not batch:
            break
        for row, sk in checker.check(batch):
            if len(found) >= wanted or size >= MAX_PAGE_BYTES:
                left = True
                break
            last, looked = sk, looked + 1
            if row is not None:
                found.append(row)
                size += _size_of(row) if len(found) > skip else 0
    if not left:
        if len(found) < wanted and size < MAX_PAGE_BYTES:
            last = walk.cut_off
        elif next(walk, None) is None and walk.cut_off is None:
            last = None  # nothing is left: no page that would be empty
    return Page(found[skip:], make_cursor(last) if last is not None else None)


def _take(walk: Iterator[list[PostingRow]], count: int) -> list[list[PostingRow]]:
    batch: list[list[PostingRow]] = []
    while len(batch) < count and (each := next(walk, None)) is not None:
        batch.append(each)
    return batch


def _size_of(row: VersionRow) -> int:
    return 1_000 + len(json.dumps(row.fields)) + len(json.dumps(row.files))


class _Checker:
    """Holds candidates against their versions, and takes away hints that lead nowhere."""

    def __init__(self, query: search.Query) -> None:
        self._query = query
        self._newest: dict[str, VersionRow | None] = {}
        self._removable = _STALE_REMOVED

    def check(self, batch: list[list[PostingRow]]) -> Iterator[tuple[VersionRow | None, str]]:
        user_id = self._query.user_id
        wanted = [search.split_sk(postings[0].sk) for postings in batch]
        keys = [records.version_key(user_id, model_id, version) for _, model_id, version in wanted]
        rows = {(row.pk, row.sk): row for row in VersionRow.batch_get(set(keys), consistent_read=True)}
        for postings, key, (created, _, _) in zip(batch, keys, wanted, strict=True):
            row = rows.get(key)
            if row is not None and self._holds(row, created):
                yield row, postings[0].sk
            else:
                self._remove_stale(postings, row, created)
                yield None, postings[0].sk

    def _holds(self, row: VersionRow, created: str) -> bool:
        query = self._query
        if row.status != "ready" or row.created != created or bool(row.active) != query.active:
            return False
        if not query.matches(row.model_id, fields_of(row)):
            return False
        return not query.latest or self._is_newest(row)

    def _is_newest(self, row: VersionRow) -> bool:
        if row.model_id not in self._newest:
            self._newest[row.model_id] = newest(row.user_id, row.model_id)
        best = self._newest[row.model_id]
        return best is not None and best.version == row.version

    def _remove_stale(self, postings: list[PostingRow], row: VersionRow | None, created: str) -> None:
        for posting in postings:
            if self._removable > 0 and self._is_stale(posting, row, created):
                self._removable -= 1
                records.delete_if(posting, (PostingRow.rev == posting.rev) & (PostingRow.token == posting.token))

    def _is_stale(self, posting: PostingRow, row: VersionRow | None, created: str) -> bool:
        """Whether a hint leads nowhere, and not just nowhere yet: what a writer puts down before it changes the
        version has a revision that the version has not reached, or a version that is not published."""
        if row is None or row.status == "gone" or row.upload_id != posting.upload_id:
            return True
        if row.status != "ready":
            return False
        if row.created != created:
            return True
        if posting.rev > row.rev:
            return False
        term = posting.pk.split("#", 3)[3]
        if term == search.LATEST:
            return not self._is_newest(row)
        return bool(row.active) != self._query.active or term not in search.version_terms(row.model_id, fields_of(row))


def list_versions(user_id: str, model_id: str, *, limit: int, cursor: str | None) -> Page:
    """The versions of a model, newest first, active and not."""
    pages = [
        list_page(search.Query(user_id, model_id=model_id, active=active), limit=limit, cursor=cursor)
        for active in (True, False)
    ]
    rows = sorted((row for page in pages for row in page.versions), key=_sk_of, reverse=True)
    # Beyond a page's end the other page may hold versions that this one has not read yet.
    ends = [read_cursor(page.cursor) for page in pages if page.cursor]
    if ends:
        rows = [row for row in rows if _sk_of(row) >= max(ends)]
    more = bool(ends) or len(rows) > limit
    rows = rows[:limit]
    return Page(rows, make_cursor(_sk_of(rows[-1])) if more and rows else None)


def _sk_of(row: VersionRow) -> str:
    return search.posting_sk(row.created or "", row.model_id, row.version)


def make_cursor(text: str) -> str:
    """A place to go on from, as clients see it: opaque."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """The inverse of `make_cursor`; InvalidError."""
    bad = InvalidError("cursor is none of ours: take it from the Link header", code="bad_cursor")
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        if len(text) > naming.MAX_KEY_BYTES:  # also DynamoDB's limit for a sort key
            raise bad
        return text.decode()
    except ValueError:
        raise bad from None


def inline_files(row: VersionRow) -> list[StoredFile]:
    """The files that the version's own row holds: all, or the first ones by path."""
    return [StoredFile.unpack(packed) for packed in row.files or []]


def files_page(row: VersionRow, *, limit: int, after: str | None = None) -> list[StoredFile]:
    """Files by path, from behind `after` on: the inline ones, or a Query."""
    inline = inline_files(row)
    if len(inline) == row.file_count:
        return [file for file in inline if after is None or file.path > after][:limit]
    return _upto(iter_files(row, after=after), limit)


def _upto(walk: Iterator[StoredFile], limit: int) -> list[StoredFile]:
    page: list[StoredFile] = []
    for file in walk:
        page.append(file)
        if len(page) >= limit:
            break
    return page


def iter_files(row: VersionRow, *, after: str | None = None) -> Iterator[StoredFile]:
    """All files by path, read as they are asked for."""
    inline = inline_files(row)
    if len(inline) == row.file_count:
        yield from (file for file in inline if after is None or file.path > after)
        return
    for manifest in manifest_rows(row, first=after):
        for packed in manifest.files:
            if after is None or packed[0] > after:
                yield StoredFile.unpack(packed)


def manifest_rows(row: VersionRow, *, first: str | None = None, last: str | None = None) -> Iterator[ManifestRow]:
    """The rows that hold the files from one path to another, both included."""
    pk = f"F#{row.upload_id}"
    condition = None
    if first is not None:
        holding = ManifestRow.query(
            pk, ManifestRow.sk <= first, scan_index_forward=False, limit=1, consistent_read=True
        )
        first = next((found.sk for found in holding), first)
        condition = ManifestRow.sk >= first if last is None else ManifestRow.sk.between(first, last)
    yield from ManifestRow.query(pk, condition, consistent_read=True, page_size=10)


def find_file(row: VersionRow, path: str) -> StoredFile:
    """One file of a version: one read at most. NotFoundError."""
    candidates = inline_files(row)
    if len(candidates) < row.file_count and path and len(path.encode()) <= naming.MAX_KEY_BYTES:
        pk = f"F#{row.upload_id}"
        found = ManifestRow.query(pk, ManifestRow.sk <= path, scan_index_forward=False, limit=1, consistent_read=True)
        candidates = [StoredFile.unpack(packed) for manifest in found for packed in manifest.files]
    for file in candidates:
        if file.path == path:
            return file
    raise NotFoundError(
        f"File {path[:200]!r} not found in version {row.version!r} of model {row.model_id!r}", code="file_not_found"
    )
