"""Members that one function may not live long enough for: what is done of them is on record, for the next one to go on
from. Slower than `members`, so only where it may be needed."""

from __future__ import annotations

import time
from collections.abc import Iterable

from registry import archives, naming
from registry.archives import DEFLATED, Member, ResumableDecoder, State
from registry.deadlines import Deadline
from registry.errors import ArchiveError
from registry.files import StoredFile
from registry.hashing import ResumableHash, StateError
from registry.observability import count_bytes, get_logger
from registry.settings import MIB
from registry.storage import objects
from registry.storage.appending import ResumableWriter
from registry.storage.client import ChecksumError, MultipartMissingError
from registry.storage.objects import StoredObject
from registry.uploads import long_copies, members
from registry.uploads.leases import Lease
from registry.uploads.long_copies import Progress

_ALONE_BYTES = 32 * MIB  # what is larger is a run of its own, and resumed wherever that may help
# As slow as a member is reckoned to be beside others, so that next to none is begun only to be dropped; and as quick as
# one can be hoped to be.
_BYTES_A_SECOND = 4 * MIB
_BYTES_A_SECOND_AT_BEST = 16 * MIB
_SAVE_SECONDS = 30  # what a function that dies without a word costs its successor


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
    largest = int(deadline.whole * _BYTES_A_SECOND_AT_BEST)
    for member in due:
        if member.size > largest and not archives.can_resume(member):
            raise ArchiveError(
                f"{member.path} has {member.size} bytes. Where this registry runs, unpacking a file can't be continued "
                f"by another function, and one gets through {largest} bytes: upload such files directly",
                code="member_too_large",
            )


def write_member(lease: Lease, source: StoredObject, member: Member, deadline: Deadline) -> StoredFile | None:
    """Makes a member an object, from where an earlier function stopped; None if there was no time for all of it."""
    progress = _claim(lease, source, member)
    file = (_decode if member.method == DEFLATED else _copy)(progress, member, deadline)
    if file is not None:
        count_bytes("BytesUnpacked", member.size)
    return file


def mark(lease: Lease, source: StoredObject, member: Member) -> None:
    """A member was dropped as the time was over: whoever begins it anew does so here."""
    get_logger().info("member dropped", path=member.path, size=member.size)
    if member.size > _ALONE_BYTES and archives.can_resume(member):
        _claim(lease, source, member)


def _claim(lease: Lease, source: StoredObject, member: Member) -> Progress:
    return Progress(lease, source, naming.file_key(lease.upload.prefix, member.path), member.index)


def _decode(progress: Progress, member: Member, deadline: Deadline) -> StoredFile | None:
    """By way of this function, part by part."""
    lease, source = progress.lease, progress.source
    writer, decoder, consumed = _resume(progress, member) or _begin(progress, member)
    resumed = decoder.checkpoint(writer.stored)
    # What was there before is no progress: to save it once more would have successors started for ever.
    saved, saved_at = resumed.produced if resumed is not None else 0, time.monotonic()
    with writer:
        length = member.compressed_size - consumed
        chunks = objects.stream_range(source.key, member.data_offset + consumed, length, etag=source.etag)
        for piece in (piece for chunk in chunks for piece in decoder.feed(chunk)):
            lease.check()
            writer.write(piece)
            stopping = deadline.passed
            if stopping or time.monotonic() - saved_at >= _SAVE_SECONDS:
                if stopping:
                    writer.settle(deadline.grace_left)
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


def _resume(progress: Progress, member: Member) -> tuple[ResumableWriter, ResumableDecoder, int] | None:
    row = progress.row
    if progress.begun is None or row.state is None:
        return None
    try:
        state = State.parse(row.state)
        writer = ResumableWriter(progress.key, member.size, multipart=progress.begun, crcs=row.crcs or "")
        return writer, ResumableDecoder.resume(member, state, stored=writer.stored), state.consumed
    except (StateError, MultipartMissingError):
        get_logger().exception("member begun anew", path=member.path)
        return None


def _begin(progress: Progress, member: Member) -> tuple[ResumableWriter, ResumableDecoder, int]:
    writer = ResumableWriter(progress.key, member.size)
    progress.begin(writer.multipart)
    return writer, ResumableDecoder(member), 0


def _copy(progress: Progress, member: Member, deadline: Deadline) -> StoredFile | None:
    """Inside the store, as it is stored plainly; read only to be hashed."""

    def check(digest: ResumableHash) -> None:
        if digest.crc32 != member.crc32:
            raise ChecksumError(progress.key)

    try:
        copied = long_copies.copy(progress, member.data_offset, member.size, deadline, crc32=member.crc32, check=check)
    except ChecksumError:
        raise members.wrong_crc(member) from None
    if copied is None:
        return None
    etag, digest = copied
    assert digest is not None
    return StoredFile(member.path, member.size, digest.sha256, etag, member.crc32)
