"""Members that one function may not live long enough for: what is done of them is on record, for the next one to go on
from. Slower than `members`, so only where it may be needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from registry import archives, naming, records
from registry.archives import DEFLATED, Member, ResumableDecoder, State
from registry.deadlines import Deadline
from registry.errors import ArchiveError
from registry.files import StoredFile
from registry.hashing import StateError
from registry.observability import count_bytes, get_logger
from registry.records import MemberRow, UploadRow
from registry.settings import MIB
from registry.storage import copying, hashing, multiparts, objects
from registry.storage.appending import ResumableWriter
from registry.storage.client import ChecksumError, MultipartMissingError
from registry.storage.multiparts import StoredPart
from registry.storage.objects import StoredObject
from registry.uploads import members, specs
from registry.uploads.leases import Lease, LeaseLostError

_ALONE_BYTES = 32 * MIB  # what is larger is a run of its own, and resumed wherever that may help
# As slow as a member is reckoned to be when others are in flight beside it, so that few are begun and dropped.
_BYTES_A_SECOND = 16 * MIB
_SAVE_SECONDS = 30  # what a function that dies without a word costs its successor
_COPY_PART = 128 * MIB
_COPIES_AT_ONCE = 4


def plan_runs(due: Iterable[Member]) -> list[list[Member]]:
    """What is worked on as one: neighbours that one request reads, or a large member, those first."""
    listed = list(due)
    alone = [[member] for member in listed if member.size > _ALONE_BYTES]
    return alone + members.plan_runs(member for member in listed if member.size <= _ALONE_BYTES)


def is_long(member: Member, deadline: Deadline, *, hops: int) -> bool:
    """Whether a member may outlast this function, and can be gone on with by another; after a `hop` in which nothing
    was done, any may."""
    left = deadline.seconds_left
    if left is None or member.size <= _ALONE_BYTES:
        return False
    return (hops > 0 or member.size > left * _BYTES_A_SECOND) and archives.can_resume(member)


def refuse_endless(due: Iterable[Member], deadline: Deadline) -> None:
    """ArchiveError for a member that outlasts any function where it can't be resumed."""
    if deadline.whole is None:
        return
    largest = int(deadline.whole * _BYTES_A_SECOND)
    for member in due:
        if member.size > largest and not archives.can_resume(member):
            raise ArchiveError(
                f"{member.path} has {member.size} bytes. Where this registry runs, unpacking a file can't be continued "
                f"by another function, and one gets through {largest} bytes: upload such files directly",
                code="member_too_large",
            )


def write_member(lease: Lease, source: StoredObject, member: Member, deadline: Deadline) -> StoredFile | None:
    """Makes a member an object, from where an earlier function stopped; None if there was no time for all of it."""
    progress = _Progress(lease, source, member)
    if member.method != DEFLATED and copying.checks_crcs():
        file = _copy(progress, deadline)
    else:
        file = _decode(progress, deadline)
    if file is not None:
        count_bytes("BytesUnpacked", member.size)
    return file


def forget(upload: UploadRow, number: int) -> None:
    """A member is on record as done: what was noted on the way goes."""
    MemberRow(upload.pk, specs.member_sk(number)).delete()


class _Progress:
    """A member's row, of which this holder of the lease, and nobody before it, writes what is done."""

    def __init__(self, lease: Lease, source: StoredObject, member: Member) -> None:
        self.lease, self.source, self.member = lease, source, member
        self.key = naming.file_key(lease.upload.prefix, member.path)
        self.row = MemberRow(lease.upload.pk, specs.member_sk(member.index))
        # Another share's fences are others: they matter only where two versions of this code picked differently.
        free = MemberRow.pk.does_not_exist() | (MemberRow.share != lease.share) | (MemberRow.fence <= lease.fence)
        actions = [MemberRow.share.set(lease.share), MemberRow.fence.set(lease.fence)]
        if lease.upload.expires is not None:
            actions.append(MemberRow.expires.set(int(lease.upload.expires)))
        self._write(actions, free)

    @property
    def begun(self) -> str | None:
        """The multipart of this very archive's member, if there is one."""
        return self.row.multipart if self.row.etag == self.source.etag and self.row.key == self.key else None

    def begin(self, multipart: str) -> None:
        """Begins anew, with this multipart."""
        if self.row.key and self.row.multipart:
            multiparts.abort_multipart(self.row.key, self.row.multipart)
        actions = [
            MemberRow.etag.set(self.source.etag),
            MemberRow.key.set(self.key),
            MemberRow.multipart.set(multipart),
            MemberRow.crcs.remove(),
            MemberRow.state.remove(),
        ]
        try:
            self._write(actions, self._ours)
        except BaseException:
            multiparts.abort_multipart(self.key, multipart)
            raise

    def save(self, state: str, *, crcs: str | None = None) -> None:
        """Notes how far it is. LeaseLostError if somebody else goes on with it."""
        self.lease.check()
        self._write([MemberRow.state.set(state), *([MemberRow.crcs.set(crcs)] if crcs is not None else [])], self._ours)
        self.lease.moved = True

    @property
    def _ours(self) -> Any:
        return (MemberRow.share == self.lease.share) & (MemberRow.fence == self.lease.fence)

    def _write(self, actions: Sequence[Any], condition: Any) -> None:
        if not records.update_if(self.row, actions, condition):
            raise LeaseLostError(self.lease.upload.upload_id)


def _decode(progress: _Progress, deadline: Deadline) -> StoredFile | None:
    """By way of this function, part by part."""
    lease, member, source = progress.lease, progress.member, progress.source
    writer, decoder, consumed = _resume(progress) or _begin(progress)
    saved, saved_at = 0, time.monotonic()
    with writer:
        length = member.compressed_size - consumed
        chunks = objects.stream_range(source.key, member.data_offset + consumed, length, etag=source.etag)
        for piece in (piece for chunk in chunks for piece in decoder.feed(chunk)):
            lease.check()
            writer.write(piece)
            stopping = deadline.passed
            if stopping or time.monotonic() - saved_at >= _SAVE_SECONDS:
                if stopping:
                    writer.settle()
                state = decoder.checkpoint(writer.stored)
                if state is not None and state.produced > saved:
                    progress.save(state.text, crcs=writer.crcs)
                    saved = state.produced
                saved_at = time.monotonic()
            if stopping:
                get_logger().info("member put off", path=member.path, stored=writer.stored, size=member.size)
                return None
        sha256 = decoder.finish()
        lease.check()
        etag = writer.finish()
    return StoredFile(member.path, member.size, sha256, etag, decoder.crc32)


def _resume(progress: _Progress) -> tuple[ResumableWriter, ResumableDecoder, int] | None:
    row, member = progress.row, progress.member
    if progress.begun is None or row.state is None:
        return None
    try:
        state = State.parse(row.state)
        writer = ResumableWriter(progress.key, member.size, multipart=progress.begun, crcs=row.crcs or "")
        return writer, ResumableDecoder.resume(member, state, stored=writer.stored), state.consumed
    except (StateError, MultipartMissingError):
        get_logger().exception("member begun anew", path=member.path)
        return None


def _begin(progress: _Progress) -> tuple[ResumableWriter, ResumableDecoder, int]:
    writer = ResumableWriter(progress.key, progress.member.size)
    progress.begin(writer.multipart)
    return writer, ResumableDecoder(progress.member), 0


def _copy(progress: _Progress, deadline: Deadline) -> StoredFile | None:
    """Inside the store, part by part, as it is stored plainly; read only to be hashed."""
    lease, member, source = progress.lease, progress.member, progress.source
    plan = multiparts.plan_parts(member.size, smallest=_COPY_PART)
    parts = _copied_before(progress, plan)
    if parts is None:
        progress.begin(multiparts.create_multipart(progress.key, checksum="CRC32", whole=True))
        parts = {}
    multipart = progress.begun
    assert multipart is not None

    def copy(number: int) -> None:
        lease.check()
        if not deadline.passed:
            offset = member.data_offset + (number - 1) * plan.part_bytes
            parts[number] = multiparts.copy_part(
                source, progress.key, multipart, number, offset=offset, length=plan.length(number)
            )
            lease.moved = True

    with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
        started = [pool.submit(copy, number) for number in range(1, plan.count + 1) if number not in parts]
        try:
            digest = hashing.hash_range(
                source,
                member.data_offset,
                member.size,
                state=progress.row.state,
                until=_until(lease, deadline),
                save=progress.save,
            )
            for future in started:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)
    if digest is None or len(parts) < plan.count:
        get_logger().info("member put off", path=member.path, copied=len(parts), parts=plan.count)
        return None
    lease.check()
    try:
        if digest.crc32 != member.crc32:
            raise ChecksumError
        etag = multiparts.complete_multipart(
            progress.key, multipart, [parts[number] for number in sorted(parts)], crc32=member.crc32
        )
    except ChecksumError:
        raise ArchiveError(
            f"{member.path} declares CRC-32 {member.crc32:08x} and has another: the archive is damaged",
            code="archive_bad_crc",
        ) from None
    return StoredFile(member.path, member.size, digest.sha256, etag, member.crc32)


def _until(lease: Lease, deadline: Deadline) -> Callable[[], bool]:
    def until() -> bool:
        lease.check()
        return deadline.passed

    return until


def _copied_before(progress: _Progress, plan: multiparts.PartPlan) -> dict[int, StoredPart] | None:
    if progress.begun is None:
        return None
    try:
        found = multiparts.list_parts(progress.key, progress.begun)
    except MultipartMissingError:
        return None
    return {part.number: part for part in found if part.number <= plan.count and part.size == plan.length(part.number)}
