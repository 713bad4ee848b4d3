"""Direct files: from the inbox, where clients write, to the version, where nobody does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from threading import BoundedSemaphore

from registry import naming, records
from registry.catalog import publishing
from registry.deadlines import Deadline, OutOfTimeError
from registry.files import StoredFile, find_requirements, parse_requirements
from registry.hashing import ResumableHash
from registry.observability import count_bytes, get_logger, write_damaged_files
from registry.records import FILES_A_ROW, MemberRow, SpecRow, UploadRow
from registry.settings import MIB
from registry.storage import copying, multiparts, objects, verifying
from registry.storage.client import STORE_ERRORS, ChecksumError, ObjectChangedError, ObjectMissingError
from registry.storage.copying import Copied
from registry.storage.objects import StoredObject
from registry.uploads import ending, long_copies, specs
from registry.uploads.leases import OPEN, Lease, LeaseLostError, TimedLease
from registry.uploads.long_copies import Progress
from registry.uploads.specs import Result, Spec

_AT_ONCE = 8
_LONG_AT_ONCE = 2  # each has 32 MiB in memory
_ALONE_BYTES = 64 * MIB
_BYTES_A_SECOND = 16 * MIB  # read beside others; what needs longer than there is time for is noted down as it is done
_RECORD_FILES = 20  # results written together; a large file's at once, as doing it again would cost more
_RECORD_BYTES = 16 * MIB
_REQUIREMENTS_BYTES = MIB


def promote(lease: Lease, deadline: Deadline) -> bool:
    """Promotes what lies in the inbox and what earlier versions have; publishes when all is there. Whether the
    upload has ended by it."""
    upload = lease.upload
    inbox = _list_inbox(upload)
    rows = {number // FILES_A_ROW for number in inbox} | {int(row) for row in upload.source_rows or ()}
    for row in sorted(rows & {int(row) for row in upload.row_set or ()}):
        if deadline.passed:
            return False
        _promote_row(lease, row, inbox, deadline)
    _, done = specs.progress(upload)
    if len(done) < upload.rows or deadline.passed:
        return False
    return publish(lease, [result.file for result in _all_results(upload) if result.file is not None])


def _list_inbox(upload: UploadRow) -> dict[int, StoredObject]:
    found: dict[int, StoredObject] = {}
    for entry in objects.list_objects(naming.inbox_prefix(upload.user_id, upload.upload_id)):
        parsed = naming.parse_inbox_key(entry.key)
        if parsed is not None and parsed.slot != naming.ARCHIVE_SLOT:
            found[int(parsed.slot)] = entry
    return found


def _promote_row(lease: Lease, row: int, inbox: dict[int, StoredObject], deadline: Deadline) -> None:
    upload = lease.upload
    spec_row = SpecRow.find(upload.pk, f"S#{row:06d}")
    if spec_row is None:
        return
    listed = specs.specs_of(spec_row)
    results = specs.find_results(upload, row)
    fresh: dict[int, Result] = {}
    ended: set[int] = set()
    due = [spec for spec in listed if _is_due(spec, results.get(spec.number), inbox)]
    begun = specs.find_begun(upload) if any(spec.size > _ALONE_BYTES for spec in due) else {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        started = {
            pool.submit(_promote_file, lease, spec, inbox.get(spec.number), deadline, begun): spec for spec in due
        }
        for future in as_completed(started):
            spec, result = started[future], future.result()
            if result is None:
                continue
            fresh[spec.number] = results[spec.number] = result
            ended.add(spec.number)
            if len(fresh) >= _RECORD_FILES or spec.size >= _RECORD_BYTES:
                specs.record(upload, row, fresh)
                fresh = {}
    specs.record(upload, row, fresh)
    for number in begun.keys() & ended:
        if results[number].status != "verified":
            long_copies.abort(begun[number])
        long_copies.forget(upload, number)
    _record_row(lease, row, listed, results)
    if any(result.status != "verified" for result in results.values()):
        _reopen(upload)
    # What is on record is not needed in the inbox any more.
    objects.delete_objects(
        inbox[number].key for number, result in results.items() if number in inbox and result.status == "verified"
    )


def _record_row(lease: Lease, row: int, listed: list[Spec], results: dict[int, Result]) -> None:
    lease.check()
    verified = [spec for spec in listed if (r := results.get(spec.number)) is not None and r.status == "verified"]
    specs.record_progress(
        lease.upload, row, stored=sum(spec.size for spec in verified), done=len(verified) == len(listed)
    )
    if row in (lease.upload.source_rows or ()):
        waiting = any(spec.source and spec.number not in results for spec in listed)
        if not waiting:
            # Of a row object of its own: `lease.upload` must not learn of a wake that nobody has looked at.
            upload = UploadRow(lease.upload.pk, lease.upload.sk)
            records.update_if(upload, [UploadRow.source_rows.delete({row})], UploadRow.status.is_in(*OPEN))


def _reopen(upload: UploadRow) -> None:
    """A file was refused and has to be sent again: the upload is not complete after all."""
    ours = UploadRow.status.is_in(*OPEN) & (UploadRow.fence == int(upload.fence))
    actions = [UploadRow.complete.set(False), UploadRow.status.set("uploading")]
    records.update_if(UploadRow(upload.pk, upload.sk), actions, ours)


def _is_due(spec: Spec, result: Result | None, inbox: dict[int, StoredObject]) -> bool:
    if result is not None and result.status == "verified":
        return False
    return spec.number in inbox or (spec.source is not None and result is None)


def _promote_file(
    lease: Lease, spec: Spec, arrived: StoredObject | None, deadline: Deadline, begun: dict[int, MemberRow]
) -> Result | None:
    """What became of a file; None if there was no time, or the object is another by now (its event comes). `begun`
    are the rows that tell how far files are."""
    lease.check()
    if deadline.passed:
        return None
    if arrived is None:
        return _copy_source(lease, spec, deadline, begun)
    if arrived.size != spec.size:
        return _refuse(arrived, "size_mismatch")
    try:
        copied = _copy(lease, spec, arrived, deadline, begun)
    except ChecksumError:
        return _refuse(arrived, "sha256_mismatch")
    except (ObjectChangedError, ObjectMissingError):
        return None
    if copied is None:
        return None
    count_bytes("BytesPromoted", spec.size)
    stored = StoredFile(spec.path, spec.size, copied.sha256, copied.etag, copied.crc32, spec.description)
    return Result("verified", stored)


def _copy(
    lease: Lease, spec: Spec, source: StoredObject, deadline: Deadline, begun: dict[int, MemberRow]
) -> Copied | None:
    """None if there was no time for all of it. ChecksumError: nothing is left of it."""
    key = naming.file_key(lease.upload.prefix, spec.path)
    long = spec.number in begun or _is_long(lease, source.size, deadline)
    if not (long and copying.has_to_read(source.size)):
        try:
            return copying.copy_hashed(source, key, sha256=spec.sha256, check=TimedLease(lease, deadline).check)
        except OutOfTimeError:  # slower than reckoned: whoever begins it anew does so by `begun`
            get_logger().info("file dropped", key=key, size=source.size)
            begun[spec.number] = Progress(lease, source, key, spec.number).row
            return None

    def check(digest: ResumableHash) -> None:
        if spec.sha256 is not None and digest.sha256 != spec.sha256:
            raise ChecksumError(key)

    with _long():
        if deadline.passed:
            return None
        progress = Progress(lease, source, key, spec.number)
        begun[spec.number] = progress.row
        try:
            copied = long_copies.copy(progress, 0, source.size, deadline, check=check)
        except ChecksumError:
            progress.abandon()
            raise
    if copied is None:
        return None
    etag, digest = copied
    assert digest is not None
    return Copied(etag, digest.sha256, digest.crc32)


def _is_long(lease: Lease, size: int, deadline: Deadline) -> bool:
    """Whether a file may outlast this function; after a hop in which nothing was done, any may."""
    left = deadline.seconds_left
    return left is not None and size > _ALONE_BYTES and (lease.hops > 0 or size > left * _BYTES_A_SECOND)


@cache
def _long() -> BoundedSemaphore:
    return BoundedSemaphore(_LONG_AT_ONCE)


def _refuse(arrived: StoredObject, code: str) -> Result:
    """The client has to send it again. It goes before that is on record: whoever reads that it failed may send it
    at once, and that one must stay."""
    objects.delete_object(arrived.key)
    get_logger().info("file refused", key=arrived.key, code=code)
    return Result("failed", code=code)


def _copy_source(lease: Lease, spec: Spec, deadline: Deadline, begun: dict[int, MemberRow]) -> Result | None:
    """From the version that has the bytes, which were right when they were verified: they are held against the digest
    once more while they are copied, so that no damage of the one gets into the other."""
    assert spec.source is not None and spec.sha256 is not None
    source_key, source_etag, crc32 = spec.source
    source = StoredObject(source_key, spec.size, source_etag)
    try:
        if source.size > multiparts.MAX_PART_BYTES and crc32 is not None and copying.checks_crcs():
            copied = _copy_by_crc(lease, spec, source, deadline, begun, crc32)
        else:
            copied = _copy(lease, spec, source, deadline, begun)
    except (ObjectChangedError, ObjectMissingError):
        return Result("pending", code="source_gone")
    except ChecksumError:
        return _report_source(lease, source, "damaged")
    except STORE_ERRORS:
        fault = verifying.read(source, spec.sha256)
        if fault is None:  # it is not the source's
            raise
        return _report_source(lease, source, fault)
    if copied is None:
        return None
    crc32 = crc32 if copied.crc32 is None else copied.crc32
    return Result("verified", StoredFile(spec.path, spec.size, spec.sha256, copied.etag, crc32, spec.description))


def _report_source(lease: Lease, source: StoredObject, what: str) -> Result:
    get_logger().error("file damaged", what=what, key=source.key, upload_id=lease.upload.upload_id)
    write_damaged_files(1, "receive_upload")
    return Result("pending", code="source_damaged")


def _copy_by_crc(
    lease: Lease, spec: Spec, source: StoredObject, deadline: Deadline, begun: dict[int, MemberRow], crc32: int
) -> Copied | None:
    """What is too large for the store to tell its digest at once, without a byte of it passing here."""
    assert spec.sha256 is not None
    progress = Progress(lease, source, naming.file_key(lease.upload.prefix, spec.path), spec.number)
    begun[spec.number] = progress.row
    copied = long_copies.copy(progress, 0, source.size, deadline, read=False, crc32=crc32)
    return None if copied is None else Copied(copied[0], spec.sha256, crc32)


def _all_results(upload: UploadRow) -> Iterator[Result]:
    condition = records.ResultRow.sk.between("R#000000", "R#999999")
    for row in records.ResultRow.query(upload.pk, condition, consistent_read=True):
        yield from specs.results_of(row).values()


def publish(lease: Lease, stored: list[StoredFile]) -> bool:
    """All files are there: makes them a version, and tidies up."""
    lease.check()
    upload = lease.upload
    version = publishing.publish(upload, stored, dependencies=read_dependencies(upload.prefix, stored))
    if version is None:
        if not lease.is_ours():
            raise LeaseLostError(upload.upload_id)
        return False  # files were added meanwhile, which also woke the upload
    ending.finish(upload, version, stored)
    get_logger().info("version published", upload_id=upload.upload_id, files=len(stored))
    return True


def read_dependencies(prefix: str, stored: list[StoredFile]) -> list[str] | None:
    """What the version's least deep requirements.txt names; None if it has none, or one that is no text."""
    path = find_requirements(file.path for file in stored)
    file = next((file for file in stored if file.path == path), None)
    if file is None or file.size > _REQUIREMENTS_BYTES:
        return None
    data = objects.read_range(naming.file_key(prefix, file.path), 0, file.size, etag=file.etag)
    try:
        return parse_requirements(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return None
