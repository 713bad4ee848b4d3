"""ZIPs: from one object in the inbox to the files of a version, by ranged reads, without a disk, in flat memory."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from registry import archives, naming, records
from registry.archives import Archive, Member
from registry.catalog import changing
from registry.deadlines import Deadline
from registry.errors import ArchiveError, InvalidError
from registry.files import StoredFile
from registry.observability import get_logger
from registry.records import FILES_A_ROW, ResultRow, UploadRow
from registry.storage import copying, multiparts, objects
from registry.storage.client import ObjectChangedError, ObjectMissingError
from registry.storage.objects import StoredObject
from registry.uploads import ending, members, promoting, specs
from registry.uploads.leases import OPEN, Lease, LeaseLostError
from registry.uploads.specs import Result

_AT_ONCE = 3  # runs in flight, each with up to members.RUN_BYTES read and one writer's parts
_RECORD_FILES = 50


class _ObjectReader:
    """An object as `archives` reads it, pinned to its ETag."""

    def __init__(self, source: StoredObject) -> None:
        self._source = source

    @property
    def size(self) -> int:
        return self._source.size

    def read(self, offset: int, length: int) -> bytes:
        return objects.read_range(self._source.key, offset, length, etag=self._source.etag)


def unpack(lease: Lease, deadline: Deadline) -> bool:
    """Unpacks the archive if it has arrived, from where an earlier worker stopped, and publishes. Whether the upload
    has ended by it."""
    upload = lease.upload
    source = objects.find_object(naming.inbox_key(upload.user_id, upload.upload_id, naming.ARCHIVE_SLOT))
    if source is None:
        return False
    try:
        archive = _open(lease, source)
        before = _done(upload)
        due = [member for member in archive.members if member.index not in before]
        _write_members(lease, source, due, deadline)
    except (ArchiveError, InvalidError) as error:
        lease.check()
        return ending.fail(upload, code=error.code, detail=error.detail)
    except (ObjectChangedError, ObjectMissingError):
        get_logger().info("archive replaced while it was read", upload_id=upload.upload_id)
        return False  # the new one's event wakes the upload
    done = _done(upload)
    if len(done) < len(archive.members):
        return False
    return promoting.publish(lease, list(done.values()))


def _open(lease: Lease, source: StoredObject) -> Archive:
    """Reads and checks the directory and all headers, and the archive's digest if the client gave one: what this
    shows to be wrong is refused before a byte is written."""
    upload = lease.upload
    wanted = upload.archive
    if source.size != wanted["size"]:
        raise ArchiveError(
            f"The archive has {source.size} bytes, and {wanted['size']} were announced", code="size_mismatch"
        )
    first = wanted.get("etag") != source.etag
    if first and wanted.get("etag") is not None:
        _start_over(lease)
    if first and wanted.get("sha256") and copying.digest_of(source) != wanted["sha256"]:
        raise ArchiveError("The archive's SHA-256 is not the one that was announced", code="sha256_mismatch")
    archive = archives.read_archive(_ObjectReader(source), preserve_structure=wanted["preserve_structure"])
    for member in archive.members:
        naming.file_key(upload.prefix, member.path)
    if first:
        _note_start(lease, source, archive)
    return archive


def _note_start(lease: Lease, source: StoredObject, archive: Archive) -> None:
    upload = lease.upload
    rows = -(-len(archive.members) // FILES_A_ROW)
    for row in range(rows):
        records.save_if(specs.new_result_row(upload, specs.result_sk(row)), ResultRow.pk.does_not_exist())
    lease.check()
    actions = [
        UploadRow.status.set("processing"),
        UploadRow.archive.set({**upload.archive, "etag": source.etag}),
        UploadRow.file_count.set(len(archive.members)),
    ]
    ours = (UploadRow.fence == int(upload.fence)) & UploadRow.status.is_in(*OPEN)
    wake = upload.wake
    if not records.update_if(upload, actions, ours):
        raise LeaseLostError(upload.upload_id)
    upload.wake = wake  # a wake that came meanwhile has not been looked at


def _start_over(lease: Lease) -> None:
    """The client has sent another archive: what was taken from the one before goes."""
    upload = lease.upload
    multiparts.abort_prefix(upload.prefix)
    objects.delete_prefix(upload.prefix)
    changing.delete_results(upload.upload_id)


def _done(upload: UploadRow) -> dict[int, StoredFile]:
    done: dict[int, StoredFile] = {}
    condition = ResultRow.sk.between("R#000000", "R#999999")
    for row in ResultRow.query(upload.pk, condition, consistent_read=True):
        done |= {number: result.file for number, result in specs.results_of(row).items() if result.file}
    return done


def count_done(upload: UploadRow) -> int:
    """How many members are files by now."""
    return len(_done(upload))


def _write_members(lease: Lease, source: StoredObject, due: Sequence[Member], deadline: Deadline) -> None:
    if not due:
        return
    fresh: dict[int, Result] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        started = [pool.submit(members.write_run, lease, source, run, deadline) for run in members.plan_runs(due)]
        try:
            for future in as_completed(started):
                fresh |= {number: Result("verified", file) for number, file in future.result().items()}
                if len(fresh) >= _RECORD_FILES or any(
                    r.file and r.file.size >= members.RUN_BYTES for r in fresh.values()
                ):
                    _record(lease, fresh)
                    fresh = {}
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    _record(lease, fresh)


def _is_large(fresh: dict[int, Result]) -> bool:
    return any(result.file and result.file.size >= members.RUN_BYTES for result in fresh.values())


def _record(lease: Lease, fresh: dict[int, Result]) -> None:
    lease.check()
    by_row: dict[int, dict[int, Result]] = {}
    for number, result in fresh.items():
        by_row.setdefault(number // FILES_A_ROW, {})[number] = result
    for row, results in by_row.items():
        specs.record(lease.upload, row, results)
