"""Members of a ZIP in the inbox, each made a file of the version: read, decoded, checked, and only then an object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from registry import naming
from registry.archives import Member, MemberDecoder
from registry.deadlines import Deadline
from registry.files import StoredFile
from registry.observability import count_bytes
from registry.settings import MIB
from registry.storage import objects
from registry.storage.objects import StoredObject
from registry.storage.writing import ObjectWriter
from registry.uploads.leases import Lease

RUN_BYTES = 8 * MIB  # neighbours that are read by one request


def plan_runs(members: Iterable[Member]) -> list[list[Member]]:
    """Neighbours that one ranged read of at most 8 MiB covers; a larger member is a run of its own."""
    runs: list[list[Member]] = []
    end = 0
    for member in sorted(members, key=lambda each: each.data_offset):
        member_end = member.data_offset + member.compressed_size
        if runs and member_end - runs[-1][0].data_offset <= RUN_BYTES and member.data_offset - end <= MIB:
            runs[-1].append(member)
        else:
            runs.append([member])
        end = member_end
    return runs


def write_run(lease: Lease, source: StoredObject, run: list[Member], deadline: Deadline) -> dict[int, StoredFile]:
    """Writes the members of a run; those that there was no time for are left out."""
    written: dict[int, StoredFile] = {}
    if deadline.passed:
        return written
    first, last = run[0].data_offset, run[-1].data_offset + run[-1].compressed_size
    whole = None
    if len(run) > 1:
        whole = memoryview(objects.read_range(source.key, first, last - first, etag=source.etag))
    for member in run:
        lease.check()
        if deadline.passed:
            break
        if whole is None:
            chunks: Iterator[bytes | memoryview] = _stream(source, member)
        else:
            start = member.data_offset - first
            chunks = iter([whole[start : start + member.compressed_size]])
        written[member.index] = _write_member(lease, member, chunks)
    return written


def _stream(source: StoredObject, member: Member) -> Iterator[bytes | memoryview]:
    if member.compressed_size:
        yield from objects.stream_range(source.key, member.data_offset, member.compressed_size, etag=source.etag)


def _write_member(lease: Lease, member: Member, chunks: Iterator[bytes | memoryview]) -> StoredFile:
    """One member, decoded, hashed, checked against its CRC-32 and only then made an object."""
    decoder = MemberDecoder(member)
    with ObjectWriter(naming.file_key(lease.upload.prefix, member.path), member.size) as writer:
        for chunk in chunks:
            lease.check()
            for piece in decoder.feed(chunk):
                writer.write(piece)
        sha256 = decoder.finish()
        etag = writer.finish()
    count_bytes("BytesUnpacked", member.size)
    return StoredFile(member.path, member.size, sha256, etag, decoder.crc32)
