"""The files of an upload as rows of 100: what was asked for, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from registry import naming, records
from registry.files import StoredFile
from registry.records import FILES_A_ROW, MemberRow, ProgressRow, ResultRow, ShareRow, SpecRow, UploadRow

ARCHIVE_ROW = "R#archive"  # where the archive's own multipart is kept


@dataclass(frozen=True, slots=True)
class Spec:
    """One file as a client announced it; `source` where a version of this user has the bytes: key, ETag, CRC-32."""

    number: int
    path: str
    size: int
    sha256: str | None
    description: str | None
    source: tuple[str, str, int | None] | None

    def pack(self) -> list[Any]:
        """The shortest JSON that holds it."""
        return [self.path, self.size, self.sha256, self.description, self.source]

    @classmethod
    def unpack(cls, number: int, packed: list[Any]) -> Spec:
        """The inverse of `pack`."""
        path, size, sha256, description, source = packed
        return cls(number, path, size, sha256, description, tuple(source) if source else None)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a file: `verified` with its `file`, `failed` with a `code`, or `pending` (its source is gone)."""

    status: str
    file: StoredFile | None = None
    code: str | None = None

    def dump(self) -> str:
        """As JSON text."""
        return json.dumps([self.status, self.file.pack() if self.file else None, self.code], ensure_ascii=False)

    @classmethod
    def load(cls, text: str) -> Result:
        """The inverse of `dump`."""
        status, packed, code = json.loads(text)
        return cls(status, StoredFile.unpack(packed) if packed else None, code)


def result_sk(row: int) -> str:
    """The sort key of a ResultRow."""
    return f"R#{row:06d}"


def new_rows(upload: UploadRow, specs: list[Spec], *, first_row: int) -> list[records.Row]:
    """The rows of some files; not yet written."""
    rows: list[records.Row] = []
    for offset in range(0, len(specs), FILES_A_ROW):
        row = first_row + offset // FILES_A_ROW
        packed = [spec.pack() for spec in specs[offset : offset + FILES_A_ROW]]
        rows.append(SpecRow(upload.pk, f"S#{row:06d}", files=packed, expires=upload.expires))
        rows.append(new_result_row(upload, result_sk(row)))
    return rows


def new_result_row(upload: UploadRow, sk: str) -> ResultRow:
    """A ResultRow with nothing done."""
    return ResultRow(upload.pk, sk, done={}, multiparts={}, expires=upload.expires)


def share_sk(number: int) -> str:
    """The sort key of a ShareRow."""
    return f"U#{number:03d}"


def new_share_row(upload: UploadRow, number: int) -> ShareRow:
    """A ShareRow with nothing done."""
    return ShareRow(upload.pk, share_sk(number), expires=upload.expires)


def member_sk(number: int) -> str:
    """The sort key of a MemberRow."""
    return f"T#{number:06d}"


def find_begun(upload: UploadRow) -> dict[int, MemberRow]:
    """The members that earlier functions did not come to the end of, by number."""
    begun = MemberRow.query(upload.pk, MemberRow.sk.startswith("T#"), consistent_read=True)
    return {int(row.sk[2:]): row for row in begun}


def new_progress_row(upload: UploadRow) -> ProgressRow:
    """A ProgressRow with nothing done."""
    return ProgressRow(upload.pk, "P", stored={}, expires=upload.expires)


def specs_of(row: SpecRow) -> list[Spec]:
    """The files of a SpecRow."""
    first = row_number(row) * FILES_A_ROW
    return [Spec.unpack(first + i, packed) for i, packed in enumerate(row.files)]


def iter_specs(upload: UploadRow, *, first_row: int = 0) -> Iterator[SpecRow]:
    """All SpecRows of an upload from one on, read as they are asked for; not those of a request that died half done."""
    condition = SpecRow.sk.between(f"S#{first_row:06d}", "S#999999")
    for row in SpecRow.query(upload.pk, condition, consistent_read=True):
        if row_number(row) in (upload.row_set or ()):
            yield row


def row_number(row: SpecRow) -> int:
    """The number of a SpecRow."""
    return int(row.sk[2:])


def find_results(upload: UploadRow, row: int) -> dict[int, Result]:
    """What became of the files of a row, by the file's number."""
    found = ResultRow.find(upload.pk, result_sk(row))
    return results_of(found) if found is not None else {}


def results_of(row: ResultRow) -> dict[int, Result]:
    """The results of a ResultRow."""
    return {int(number): Result.load(text) for number, text in row.done.as_dict().items()}


def iter_multiparts(upload: UploadRow) -> Iterator[tuple[int | str, str]]:
    """The multiparts that were begun in the inbox: the file's number, or naming.ARCHIVE_SLOT, and S3's id."""
    for row in ResultRow.query(upload.pk, ResultRow.sk.startswith("R#"), consistent_read=True):
        for slot, text in row.multiparts.as_dict().items():
            yield naming.ARCHIVE_SLOT if row.sk == ARCHIVE_ROW else int(slot), text.partition(":")[2]


def record(upload: UploadRow, row: int, results: dict[int, Result]) -> None:
    """Writes what became of some files of one row; writing it twice changes nothing."""
    if results:
        actions = [ResultRow.done[str(number)].set(result.dump()) for number, result in results.items()]
        # What failed is sent again, by a multipart of its own.
        actions += [ResultRow.multiparts[str(n)].remove() for n, result in results.items() if result.status == "failed"]
        ResultRow(upload.pk, result_sk(row)).update(actions=actions)


def record_progress(upload: UploadRow, row: int, *, stored: int, done: bool) -> None:
    """Writes how many bytes of a row are stored, and whether all of it is."""
    actions = [ProgressRow.stored[str(row)].set(str(stored))]
    actions.append(ProgressRow.done.add({row}) if done else ProgressRow.done.delete({row}))
    ProgressRow(upload.pk, "P").update(actions=actions)


def progress(upload: UploadRow) -> tuple[int, set[int]]:
    """Bytes stored, and the rows that are done."""
    row = ProgressRow.find(upload.pk, "P")
    if row is None:
        return 0, set()
    return sum(map(int, row.stored.as_dict().values())), {int(number) for number in row.done or ()}
