"""A whole version as a ZIP: laid out beforehand from sizes and CRCs, answered in any range, or built in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from registry import archives, naming, records, tasks
from registry.archives import Entry, Segment
from registry.catalog import changing, reading
from registry.errors import UnavailableError
from registry.files import StoredFile
from registry.observability import get_logger
from registry.records import ArchiveRow, VersionRow, WorkRow
from registry.settings import get_settings
from registry.storage import copying, multiparts, objects
from registry.storage.objects import StoredObject
from registry.storage.writing import ObjectWriter

_CRCS_AT_ONCE = 16  # files that are read before their CRCs are written down


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to answer with: some range of `size`, saved under `filename`."""

    filename: str
    size: int
    etag: str
    segments: list[Segment]
    objects: list[tuple[str, str]]  # key and ETag of what the segments' entries are

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """The bytes from `first` to `last`, both included, as they come from the store."""
        if not self.size:
            return
        for segment, offset, length in archives.slice_segments(self.segments, first, last):
            if segment.data is not None:
                yield segment.data[offset : offset + length]
            else:
                assert segment.entry is not None
                key, etag = self.objects[segment.entry]
                yield from objects.stream_range(key, offset, length, etag=etag)


def plan_version(row: VersionRow, *, filename: str, alive: Callable[[], None] = lambda: None) -> Content:
    """The ZIP of a version, to the byte. Files whose CRC-32 nobody knows yet are read for it, once for all."""
    stored = _with_crcs(row, list(reading.iter_files(row)), alive)
    segments = archives.plan_archive([Entry(file.path, file.size, file.crc32 or 0) for file in stored])
    keys = [(naming.file_key(row.prefix, file.path), file.etag) for file in stored]
    return Content(filename, archives.archive_size(segments), f'"{row.upload_id}.zip"', segments, keys)


def _with_crcs(row: VersionRow, stored: list[StoredFile], alive: Callable[[], None]) -> list[StoredFile]:
    def read(file: StoredFile) -> StoredFile:
        source = StoredObject(naming.file_key(row.prefix, file.path), file.size, file.etag)
        return replace(file, crc32=copying.hash_object(source)[1])

    missing = [file for file in stored if file.crc32 is None]
    found: list[StoredFile] = []
    for start in range(0, len(missing), _CRCS_AT_ONCE):
        found += records.side_by_side(read, missing[start : start + _CRCS_AT_ONCE], at_once=4)
        changing.remember_crcs(row, found)
        alive()
    by_path = {file.path: file for file in found}
    return [by_path.get(file.path, file) for file in stored]


def find_or_build(row: VersionRow) -> str:
    """The key of a version's ZIP in the store, built if need be. UnavailableError `archive_building` where that
    takes longer than a request may wait."""
    key = naming.archive_key(row.user_id, row.model_id, row.version, row.upload_id)
    wait = get_settings().wait_seconds
    end = time.monotonic() + wait if wait else None
    started, fence, pause = False, None, 0.05
    while objects.find_object(key) is None:
        builder = ArchiveRow.find(f"Z#{row.upload_id}")
        if builder is None or builder.lease_until < time.time():
            if started and builder is not None and builder.lease_until == 0 and builder.fence != fence:
                raise UnavailableError("The ZIP could not be built: try again later", code="archive_failed")
            if not started:
                fence = builder.fence if builder is not None else None
                event = {"user_id": row.user_id, "model_id": row.model_id, "version": row.version}
                tasks.start_function("build_archive", event)
                started = True
        if end is not None and time.monotonic() >= end:
            raise UnavailableError("The ZIP is being built: ask again", code="archive_building")
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)
    return key


def build_archive(event: dict[str, Any]) -> None:
    """Builds a version's ZIP in the store, unless somebody does or has. Bytes stream through in flat memory."""
    row = VersionRow.find(*records.version_key(event["user_id"], event["model_id"], event["version"]))
    if row is None or row.status != "ready":
        return
    key = naming.archive_key(row.user_id, row.model_id, row.version, row.upload_id)
    lease = _Builder(row.upload_id)
    if not lease.acquire():
        return
    try:
        if objects.find_object(key) is not None:
            return
        _work_row(row).save()
        content = plan_version(row, filename="", alive=lease.renew)
        with ObjectWriter(key, content.size) as writer:
            for chunk in content.read(0, content.size - 1):
                lease.renew()
                writer.write(chunk)
            writer.finish()
    finally:
        lease.release()
    now = VersionRow.find(row.pk, row.sk)
    if now is None or now.status != "ready" or now.upload_id != row.upload_id:
        objects.delete_object(key)  # deleted meanwhile, and its archive with it: this one came later
    get_logger().info("archive built", upload_id=row.upload_id, bytes=content.size)


def _work_row(row: VersionRow) -> WorkRow:
    return WorkRow(
        *records.work_key(row.upload_id, time.time() + get_settings().archive_expires_seconds),
        kind="archive",
        upload_id=row.upload_id,
        user_id=row.user_id,
        model_id=row.model_id,
        version=row.version,
        prefix=row.prefix,
    )


def drop(work: WorkRow) -> None:
    """Takes a built ZIP away; it is built again when somebody asks."""
    key = naming.archive_key(work.user_id, work.model_id, work.version, work.upload_id)
    multiparts.abort_prefix(key)
    objects.delete_object(key)
    ArchiveRow(f"Z#{work.upload_id}", "#").delete()
    work.delete()


class _Builder:
    """The right to build one archive: a lease that is renewed while bytes move."""

    def __init__(self, upload_id: str) -> None:
        self._row = ArchiveRow(f"Z#{upload_id}", "#")
        self._renewed = 0.0

    def acquire(self) -> bool:
        """Takes it, if nobody has it."""
        self._renewed = time.time()
        free = ArchiveRow.lease_until.does_not_exist() | (ArchiveRow.lease_until < int(self._renewed))
        expires = int(self._renewed) + 2 * get_settings().archive_expires_seconds
        actions = [ArchiveRow.lease_until.set(self._until()), ArchiveRow.fence.add(1), ArchiveRow.expires.set(expires)]
        return records.update_if(self._row, actions, free)

    def renew(self) -> None:
        """Keeps it; RuntimeError if it was lost."""
        if time.time() - self._renewed > get_settings().lease_seconds / 3:
            self._renewed = time.time()
            ours = ArchiveRow.fence == int(self._row.fence)
            if not records.update_if(self._row, [ArchiveRow.lease_until.set(self._until())], ours):
                raise RuntimeError("the lease of this archive was lost")

    def release(self) -> None:
        """Gives it up."""
        ours = ArchiveRow.fence == int(self._row.fence)
        records.update_if(self._row, [ArchiveRow.lease_until.set(0)], ours)

    def _until(self) -> int:
        return int(self._renewed) + get_settings().lease_seconds
