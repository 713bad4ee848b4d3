"""Members of a ZIP in the inbox, each made a file of the version: read, decoded, checked, and only then an object."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache

from registry import naming
from registry.archives import STORED, Fault, Member, MemberDecoder
from registry.archives.faults import refusal, show
from registry.deadlines import Deadline
from registry.files import StoredFile
from registry.observability import count_bytes
from registry.settings import MIB
from registry.storage import copying, objects
from registry.storage.client import ChecksumError
from registry.storage.objects import StoredObject
from registry.storage.writing import ObjectWriter
from registry.uploads.leases import Lease

RUN_BYTES = 8 * MIB  # neighbours that are read by one request
_PUTS_AT_ONCE = 24  # of all runs together, beside their reads; the client has 32 connections
_PUT_BYTES = 8 * MIB  # what a run has decoded and the store has not got yet


def plan_runs(members: Iterable[Member]) -> list[list[Member]]:
    """Neighbours that one ranged read of at most 8 MiB covers; a larger member is a run of its own, and so is one that
    the store copies."""
    runs: list[list[Member]] = []
    end, closed = 0, True
    for member in sorted(members, key=lambda each: each.data_offset):
        member_end = member.data_offset + member.compressed_size
        alone = is_copied(member)
        near = runs and member_end - runs[-1][0].data_offset <= RUN_BYTES and member.data_offset - end <= MIB
        if near and not closed and not alone:
            runs[-1].append(member)
        else:
            runs.append([member])
        end, closed = member_end, alone
    return runs


def is_copied(member: Member) -> bool:
    """Whether its bytes lie in the archive as they shall lie in the version, and are enough for a part."""
    return member.method == STORED and member.size >= copying.SMALL_BYTES


def write_run(lease: Lease, source: StoredObject, run: list[Member], deadline: Deadline) -> dict[int, StoredFile]:
    """Writes the members of a run; those that there was no time for are left out."""
    if deadline.passed:
        return {}
    lease.check()
    if len(run) > 1:
        return _write_neighbours(lease, source, run, deadline)
    member = run[0]
    if is_copied(member):
        return {member.index: _copy_member(lease, source, member)}
    return {member.index: _stream_member(lease, member, _stream(source, member))}


def _copy_member(lease: Lease, source: StoredObject, member: Member) -> StoredFile:
    """Inside the store, without a byte of it coming here where the store can."""
    key, offset = naming.file_key(lease.upload.prefix, member.path), member.data_offset
    try:
        copied = copying.copy_range(source, key, offset, member.size, crc32=member.crc32, check=lease.check)
    except ChecksumError:
        raise wrong_crc(member) from None
    count_bytes("BytesUnpacked", member.size)
    return StoredFile(member.path, member.size, copied.sha256, copied.etag, member.crc32)


def wrong_crc(member: Member) -> Exception:
    """The refusal of a member whose bytes nobody here has seen."""
    return refusal(
        Fault.BAD_CRC,
        f"{show(member.path)} declares CRC-32 {member.crc32:08x} and has another: the archive is damaged.",
    )


def _stream(source: StoredObject, member: Member) -> Iterator[bytes | memoryview]:
    if member.compressed_size:
        yield from objects.stream_range(source.key, member.data_offset, member.compressed_size, etag=source.etag)


def _stream_member(lease: Lease, member: Member, chunks: Iterable[bytes | memoryview]) -> StoredFile:
    """One member, decoded, hashed, checked against its CRC-32 and only then made an object."""
    decoder = MemberDecoder(member)
    with ObjectWriter(naming.file_key(lease.upload.prefix, member.path), member.size) as writer:
        for chunk in chunks:
            lease.check()
            for piece in decoder.feed(chunk):
                writer.write(piece)
        sha256 = decoder.finish()
        etag = writer.finish(sha256=sha256)
    count_bytes("BytesUnpacked", member.size)
    return StoredFile(member.path, member.size, sha256, etag, decoder.crc32)


@cache
def _putters() -> ThreadPoolExecutor:
    """One bound for the small files of all archives: a file's PUT is waiting, most of it."""
    return ThreadPoolExecutor(_PUTS_AT_ONCE, "puts")


def _write_neighbours(
    lease: Lease, source: StoredObject, run: list[Member], deadline: Deadline
) -> dict[int, StoredFile]:
    """One read for all of them; while one is decoded, those before it are on their way."""
    first = run[0].data_offset
    length = run[-1].data_offset + run[-1].compressed_size - first
    whole = memoryview(objects.read_range(source.key, first, length, etag=source.etag))
    written: dict[int, StoredFile] = {}
    in_flight: deque[tuple[Member, Future[StoredFile]]] = deque()
    waiting = 0
    try:
        for member in run:
            lease.check()
            if deadline.passed:
                break
            data = whole[member.data_offset - first :][: member.compressed_size]
            if member.size > _PUT_BYTES:  # deflated to next to nothing
                written[member.index] = _stream_member(lease, member, [data])
                continue
            while in_flight and waiting + member.size > _PUT_BYTES:
                before, put = in_flight.popleft()
                written[before.index] = put.result()
                waiting -= before.size
            decoder = MemberDecoder(member)
            content = b"".join(decoder.feed(data))
            put = _putters().submit(_put, lease, member, content, decoder.finish())
            in_flight.append((member, put))
            waiting += member.size
        written |= {member.index: put.result() for member, put in in_flight}
    finally:
        # Whoever takes back what was written must find all of it.
        wait([put for _, put in in_flight if not put.cancel()])
    return written


def _put(lease: Lease, member: Member, content: bytes, sha256: str) -> StoredFile:
    lease.check()
    etag = objects.put_object(naming.file_key(lease.upload.prefix, member.path), content, sha256=sha256)
    count_bytes("BytesUnpacked", member.size)
    return StoredFile(member.path, member.size, sha256, etag, member.crc32)
