"""ZIPs: from one object in the inbox to the files of a version, by ranged reads, without a disk, in flat memory."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from registry import archives, naming, records
from registry.archives import Archive, Member
from registry.catalog import changing
from registry.deadlines import Deadline, OutOfTimeError
from registry.errors import ArchiveError, InvalidError
from registry.files import StoredFile
from registry.observability import get_logger
from registry.records import FILES_A_ROW, ResultRow, UploadRow
from registry.storage import copying, hashing, multiparts, objects
from registry.storage.client import ObjectChangedError, ObjectMissingError
from registry.storage.objects import StoredObject
from registry.uploads import ending, long_copies, long_members, members, promoting, sharing, specs
from registry.uploads.leases import OPEN, Lease, LeaseLostError, ShareLease, TimedLease
from registry.uploads.limits import get_limits
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
    """Unpacks the archive if it has arrived, from where an earlier worker stopped, and publishes; one with much to
    inflate is only handed out, in shares, and published when they are done. Whether the upload has ended by it."""
    upload = lease.upload
    source = _find_archive(upload)
    if source is None:
        return False
    if sharing.is_spread(upload) and upload.archive["etag"] == source.etag:
        return _gather(lease)
    try:
        archive = _open(lease, source, deadline)
        if archive is None:
            return False
        if sharing.is_spread(upload):
            lease.moved = sharing.start_free(upload)
            return False
        if not _write_due(lease, source, archive.members, deadline):
            return False
    except (ArchiveError, InvalidError) as error:
        lease.check()
        return ending.fail(upload, code=error.code, detail=error.detail)
    except (ObjectChangedError, ObjectMissingError):
        get_logger().info("archive replaced while it was read", upload_id=upload.upload_id)
        return False  # the new one's event wakes the upload
    return promoting.publish(lease, list(_done(upload).values()))


def unpack_share(lease: ShareLease, deadline: Deadline) -> bool:
    """Unpacks one share of an archive, from where an earlier worker stopped. Whether the share is done; the upload has
    ended if it shows the archive to be bad."""
    upload = lease.upload
    source = _find_archive(upload)
    if source is None or not sharing.is_spread(upload) or upload.archive["etag"] != source.etag:
        return False
    try:
        archive = _read(upload, source)
        picked = sharing.pick(archive.members, lease.share, int(upload.archive["shares"]))
        return _write_due(lease, source, picked, deadline)
    except (ArchiveError, InvalidError) as error:
        lease.check()
        ending.fail(UploadRow.find(upload.pk) or upload, code=error.code, detail=error.detail)
    except (ObjectChangedError, ObjectMissingError):
        get_logger().info("archive replaced while it was read", upload_id=upload.upload_id, share=lease.share)
    return False


def _find_archive(upload: UploadRow) -> StoredObject | None:
    return objects.find_object(naming.inbox_key(upload.user_id, upload.upload_id, naming.ARCHIVE_SLOT))


def _gather(lease: Lease) -> bool:
    """Publishes when all shares are done, and has somebody go on with those that nobody works on."""
    upload = lease.upload
    if sharing.start_free(upload):
        return False
    done = _done(upload)
    if len(done) < upload.file_count:
        sharing.reopen(upload)
        return False
    return promoting.publish(lease, list(done.values()))


def _open(lease: Lease, source: StoredObject, deadline: Deadline) -> Archive | None:
    """Reads and checks the directory and all headers, and the archive's digest if the client gave one: what this
    shows to be wrong is refused before a byte is written. None while an earlier archive is still worked on, or if there
    was no time for the digest."""
    upload = lease.upload
    wanted = upload.archive
    if source.size != wanted["size"]:
        raise ArchiveError(
            f"The archive has {source.size} bytes, and {wanted['size']} were announced", code="size_mismatch"
        )
    first = wanted.get("etag") != source.etag
    if first and wanted.get("etag") is not None:
        if not sharing.retire(upload):
            return None  # each share sees for itself that its archive is gone, and wakes the upload then
        _start_over(lease)
    if first and wanted.get("sha256"):
        digest = _digest_of(lease, source, deadline)
        if digest is None:
            return None
        if digest != wanted["sha256"]:
            raise ArchiveError("The archive's SHA-256 is not the one that was announced", code="sha256_mismatch")
    archive = _read(upload, source)
    if first:
        _note_start(lease, source, archive)
    return archive


def _digest_of(lease: Lease, source: StoredObject, deadline: Deadline) -> str | None:
    """None if there was no time for all of it; then it is on record how far it is."""
    upload = lease.upload
    if not copying.has_to_read(source.size):
        return copying.digest_of(source)

    def until() -> bool:
        lease.check()
        return deadline.passed

    def save(state: str) -> None:
        _update(lease, [UploadRow.archive.set({**upload.archive, "hash": state})])
        lease.moved = True

    state = upload.archive.get("hash")
    digest = hashing.hash_range(source, 0, source.size, state=state, until=until, save=save)
    return None if digest is None else digest.sha256


def _read(upload: UploadRow, source: StoredObject) -> Archive:
    preserve = upload.archive["preserve_structure"]
    archive = archives.read_archive(_ObjectReader(source), limits=get_limits(), preserve_structure=preserve)
    for member in archive.members:
        naming.file_key(upload.prefix, member.path)
    return archive


def _note_start(lease: Lease, source: StoredObject, archive: Archive) -> None:
    upload = lease.upload
    rows = -(-len(archive.members) // FILES_A_ROW)
    for row in range(rows):
        records.save_if(specs.new_result_row(upload, specs.result_sk(row)), ResultRow.pk.does_not_exist())
    noted = {**upload.archive, "etag": source.etag}
    noted.pop("hash", None)
    shares = sharing.count_shares(upload, archive.members)
    if shares > 1:
        sharing.create(upload, shares)
        noted["shares"] = shares
    count = UploadRow.file_count.set(len(archive.members))
    _update(lease, [UploadRow.status.set("processing"), UploadRow.archive.set(noted), count])


def _update(lease: Lease, actions: list[Any]) -> None:
    upload = lease.upload
    lease.check()
    ours = (UploadRow.fence == int(upload.fence)) & UploadRow.status.is_in(*OPEN)
    wake = upload.wake
    if not records.update_if(upload, actions, ours):
        raise LeaseLostError(upload.upload_id)
    upload.wake = wake  # a wake that came meanwhile has not been looked at


def _start_over(lease: Lease) -> None:
    """The client has sent another archive: what was taken from the one before goes."""
    upload = lease.upload
    # Of neither archive from here on, so that whoever comes after our death does this once more.
    noted = {name: value for name, value in upload.archive.items() if name != "shares"}
    _update(lease, [UploadRow.archive.set({**noted, "etag": ""})])
    ending.abort_members(upload)
    multiparts.abort_prefix(upload.prefix)
    objects.delete_prefix(upload.prefix)
    changing.delete_results(upload.upload_id)


def _done(upload: UploadRow) -> dict[int, StoredFile]:
    done: dict[int, StoredFile] = {}
    condition = ResultRow.sk.between("R#000000", "R#999999")
    for row in ResultRow.query(upload.pk, condition, consistent_read=True):
        done |= {number: result.file for number, result in specs.results_of(row).items() if result.file}
    return done


def _write_due(lease: Lease, source: StoredObject, picked: Sequence[Member], deadline: Deadline) -> bool:
    """Writes those members that are not done yet; whether all are now."""
    before = _done(lease.upload)
    due = [member for member in picked if member.index not in before]
    long_members.refuse_endless(due, deadline)
    return _write_members(lease, source, due, deadline) == len(due)


def _write_members(lease: Lease, source: StoredObject, due: Sequence[Member], deadline: Deadline) -> int:
    """How many members there was time for."""
    if not due:
        return 0
    count, fresh, resumed = 0, dict[int, Result](), set[int]()
    begun = specs.find_begun(lease.upload)

    def write(run: list[Member]) -> dict[int, StoredFile]:
        first = run[0]
        if first.index not in begun and not long_members.is_long(first, deadline, hops=lease.hops):
            return _write_run(lease, source, run, deadline)
        if deadline.passed:
            return {}
        resumed.add(first.index)
        file = long_members.write_member(lease, source, first, deadline)
        return {} if file is None else {first.index: file}

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        started = [pool.submit(write, run) for run in long_members.plan_runs(due)]
        try:
            for future in as_completed(started):
                fresh |= {number: Result("verified", file) for number, file in future.result().items()}
                large = any(result.file and result.file.size >= members.RUN_BYTES for result in fresh.values())
                if len(fresh) >= _RECORD_FILES or large:
                    count += _record(lease, fresh, resumed)
                    fresh = {}
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return count + _record(lease, fresh, resumed)


def _write_run(lease: Lease, source: StoredObject, run: list[Member], deadline: Deadline) -> dict[int, StoredFile]:
    if len(run) > 1:  # small: what is written of it is not dropped
        return members.write_run(lease, source, run, deadline)
    try:
        return members.write_run(TimedLease(lease, deadline), source, run, deadline)
    except OutOfTimeError:
        long_members.mark(lease, source, run[0])
        return {}


def _record(lease: Lease, fresh: dict[int, Result], resumed: set[int]) -> int:
    lease.check()
    by_row: dict[int, dict[int, Result]] = {}
    for number, result in fresh.items():
        by_row.setdefault(number // FILES_A_ROW, {})[number] = result
    for row, results in by_row.items():
        specs.record(lease.upload, row, results)
        lease.moved = True
    for number in resumed & fresh.keys():
        long_copies.forget(lease.upload, number)
    return len(fresh)
