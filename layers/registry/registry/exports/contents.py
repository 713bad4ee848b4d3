"""A whole version as a ZIP, laid out beforehand from sizes and CRC-32s, and read in any range."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from registry import archives, naming, records
from registry.archives import Entry, Segment
from registry.catalog import changing, reading
from registry.deadlines import Deadline
from registry.files import StoredFile
from registry.records import VersionRow, WorkRow
from registry.settings import MIB, get_settings
from registry.storage import assembling, copying, objects
from registry.storage.client import ChecksumError
from registry.storage.objects import StoredObject

# Files that are looked at before their CRCs are written down: so many, and no more bytes (or one file), as a builder
# does not stop in between.
_CRCS_AT_ONCE, _CRC_BYTES_AT_ONCE = 8, 32 * 1024 * MIB


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to answer with: some range of `size`, saved under `filename`."""

    filename: str
    size: int
    etag: str
    segments: list[Segment]
    objects: list[StoredObject]  # what the segments' entries are
    crc32: int | None = None

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """The bytes from `first` to `last`, both included, as they come from the store."""
        if not self.size:
            return
        for piece in archives.slice_segments(self.segments, first, last):
            yield from self._read_piece(*piece)

    def read_at_once(self, first: int, last: int) -> bytes:
        """The same in one: many small files are read side by side."""
        pieces = archives.slice_segments(self.segments, first, last)
        return b"".join(records.side_by_side(lambda piece: b"".join(self._read_piece(*piece)), pieces))

    def _read_piece(self, segment: Segment, offset: int, length: int) -> Iterator[bytes]:
        if segment.data is not None:
            yield segment.data[offset : offset + length]
        else:
            source = self.source_of(segment)
            yield from objects.stream_range(source.key, offset, length, etag=source.etag)

    def source_of(self, segment: Segment) -> StoredObject:
        """The object that a segment is."""
        assert segment.entry is not None
        return self.objects[segment.entry]


class OutOfTimeError(Exception):
    """The time is over before the ZIP is there. How much is `done` tells whether this builder got anywhere."""

    def __init__(self, done: int) -> None:
        super().__init__(done)
        self.done = done


def plan_version(row: VersionRow, *, filename: str, deadline: Deadline | None = None) -> Content:
    """The ZIP of a version, to the byte. A CRC-32 that nobody knows yet is found out, once for all."""
    stored = _with_crcs(row, list(reading.iter_files(row)), deadline or Deadline(None))
    entries = [Entry(file.path, file.size, file.crc32 or 0) for file in stored]
    segments = archives.plan_archive(entries)
    sources = [_source(row, file) for file in stored]
    size, crc32 = archives.archive_size(segments), archives.crc32_archive(segments, entries)
    return Content(filename, size, f'"{row.upload_id}.zip"', segments, sources, crc32)


def _source(row: VersionRow, file: StoredFile) -> StoredObject:
    return StoredObject(naming.file_key(row.prefix, file.path), file.size, file.etag)


def _with_crcs(row: VersionRow, stored: list[StoredFile], deadline: Deadline) -> list[StoredFile]:
    missing = [file for file in stored if file.crc32 is None]
    found: list[StoredFile] = []
    for files in _batches(missing):
        if deadline.passed:
            raise OutOfTimeError(len(stored) - len(missing) + len(found))
        batch = _find_crcs(row, files)
        changing.remember_files(row, batch)
        found += batch
    by_path = {file.path: file for file in found}
    return [by_path.get(file.path, file) for file in stored]


def _batches(files: list[StoredFile]) -> Iterator[list[StoredFile]]:
    batch: list[StoredFile] = []
    for file in files:
        if batch and (len(batch) >= _CRCS_AT_ONCE or sum(each.size for each in batch) + file.size > _CRC_BYTES_AT_ONCE):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


def _find_crcs(row: VersionRow, files: list[StoredFile]) -> list[StoredFile]:
    """By the store while it copies, where it can; small files, and all where it can't, are read."""

    def read(file: StoredFile) -> StoredFile:
        sha256, crc32 = copying.hash_object(_source(row, file))
        if sha256 != file.sha256:
            raise ChecksumError(file.path)  # it was read wrong: remembered, no ZIP would ever be right
        return replace(file, crc32=crc32)

    large = [file for file in files if file.size >= archives.MIN_PART_BYTES]
    found: list[StoredFile] = []
    if large and copying.checks_crcs():
        work_row(row).save()
        scratch = f"{assembling.scratch_prefix(archive_key(row))}crc"
        told = assembling.crcs_of([_source(row, file) for file in large], scratch)
        found = [replace(file, crc32=_combine(ranges)) for file, ranges in zip(large, told, strict=True)]
    done = {file.path for file in found}
    return found + records.side_by_side(read, [file for file in files if file.path not in done], at_once=4)


def _combine(ranges: list[tuple[int, int]]) -> int:
    crc = 0
    for each, length in ranges:
        crc = archives.crc32_combine(crc, each, length)
    return crc


def archive_key(row: VersionRow) -> str:
    """Where a version's ZIP is kept once built."""
    return naming.archive_key(row.user_id, row.model_id, row.version, row.upload_id)


def work_row(row: VersionRow) -> WorkRow:
    """What has the sweep drop a version's ZIP, and all that was written for it, when it has expired."""
    return WorkRow(
        *records.work_key(row.upload_id, time.time() + get_settings().archive_expires_seconds, "archive"),
        kind="archive",
        upload_id=row.upload_id,
        user_id=row.user_id,
        model_id=row.model_id,
        version=row.version,
        prefix=row.prefix,
    )
