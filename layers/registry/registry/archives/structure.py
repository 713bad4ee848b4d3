"""Reading a ZIP's structure and refusing every archive that two tools could see differently, before a byte is unpacked.

The members must follow each other without gaps from byte 0 to the central directory, so no two can share bytes and
nothing can hide between them (Fifield's overlaps and quoted overlaps, docs/archives.md: Z10, Z13, Z19).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from registry.archives.ending import Directory, find_directory
from registry.archives.faults import Fault, refusal, show
from registry.archives.limits import DEFAULT_LIMITS, KIB, Limits
from registry.archives.names import check_path, check_path_set, flatten, is_junk
from registry.archives.reading import MAX_RANGE_BYTES, RangeReader, Window
from registry.archives.records import (
    DESCRIPTOR_BYTES,
    HAS_DESCRIPTOR,
    LOCAL_HEADER_BYTES,
    LocalHeader,
    Record,
    check_descriptor,
    read_local_header,
    read_records,
)

# Data between two headers that is read along with them: at the ~70 MB/s of a Lambda (docs/archives.md) it takes
# 7 ms, and a request of its own would take 15 ms or more.
_MAX_GAP_BYTES = 512 * KIB
_EXTRA_ALLOWANCE_BYTES = KIB  # a local header's extra fields are of unknown length; longer ones cost one more read
_TAR_BLOCK_BYTES, _TAR_SUM = 512, slice(148, 156)
_COMPRESSION_LEVEL_FLAGS = 1 << 1 | 1 << 2  # say how hard the writer tried; no reader uses them


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive. `data_offset` is where its `compressed_size` bytes begin; sizes in bytes."""

    index: int
    path: str
    method: int
    crc32: int
    compressed_size: int
    size: int
    header_offset: int
    data_offset: int


@dataclass(frozen=True, slots=True)
class Archive:
    """The files of an archive in the central directory's order, and the paths of the junk that is left out."""

    members: tuple[Member, ...]
    skipped: tuple[str, ...]
    total_size: int


def read_archive(source: RangeReader, *, limits: Limits = DEFAULT_LIMITS, preserve_structure: bool = True) -> Archive:
    """Read and check everything of a ZIP but its members' content; ArchiveError for what is refused.

    `preserve_structure=False` drops the files' folders. Memory: the records, and ranges of at most 8 MiB.
    """
    window = Window(source)
    directory = find_directory(window)
    _check_directory(directory, limits)
    records = list(read_records(window, directory, limits))
    _check_totals(records, window.size, limits)
    data_offsets = _locate_data(window, records, directory)
    return _select(records, data_offsets, limits, preserve_structure)


def _check_directory(directory: Directory, limits: Limits) -> None:
    if directory.count == 0:
        raise _empty()
    if directory.count > limits.max_members:
        raise refusal(
            Fault.TOO_MANY_MEMBERS,
            f"The archive has {directory.count} members; at most {limits.max_members} are allowed.",
        )
    if directory.size > limits.max_directory_bytes:
        raise refusal(
            Fault.TOO_LARGE,
            f"The central directory has {directory.size} bytes; at most {limits.max_directory_bytes} are allowed.",
        )


def _check_totals(records: Sequence[Record], archive_size: int, limits: Limits) -> None:
    for record in records:
        if record.header_offset + LOCAL_HEADER_BYTES + record.compressed_size > archive_size:
            raise refusal(
                Fault.TRUNCATED,
                f"{show(record.name)} would end after the archive, which has {archive_size} bytes: "
                "the archive is cut off or damaged.",
            )
    total = sum(record.size for record in records)
    if total > limits.max_total_bytes:
        raise refusal(
            Fault.TOO_LARGE, f"The members declare {total} bytes; at most {limits.max_total_bytes} are allowed."
        )
    # By what was really sent, not by the members' compressed sizes: these may count one stream many times.
    if limits.max_ratio and total > max(limits.ratio_from_bytes, limits.max_ratio * archive_size):
        raise refusal(
            Fault.BOMB,
            f"The members declare {total} bytes, {total // archive_size} for each byte of the archive; beyond "
            f"{limits.ratio_from_bytes} bytes at most {limits.max_ratio} are allowed. Make the archive without "
            "compression (`zip -0`), or send the files themselves.",
        )


def _locate_data(window: Window, records: Sequence[Record], directory: Directory) -> dict[int, int]:
    """Read every local header in the order of the file; the data offset by header offset."""
    ordered = sorted(records, key=lambda record: record.header_offset)
    for record, other in pairwise(ordered):
        if record.header_offset == other.header_offset:
            raise refusal(Fault.OVERLAP, f"{show(record.name)} and {show(other.name)} share one local header.")
    first = ordered[0].header_offset
    if first != 0:
        raise refusal(Fault.STRAY_BYTES, f"There are {first} bytes before the first member: remove them.")
    data_offsets: dict[int, int] = {}
    for index, record in enumerate(ordered):
        if not window.holds(record.header_offset, LOCAL_HEADER_BYTES):
            window.load(record.header_offset, _range_end(ordered, index, record.header_offset, directory.offset))
        if index == 0:
            _refuse_tar(window)
        header = read_local_header(window, record)
        following = ordered[index + 1].header_offset if index + 1 < len(ordered) else directory.offset
        descriptor_length = _measure_rest(record, header, following)
        if descriptor_length:
            start = following - descriptor_length
            if not window.holds(start, descriptor_length):
                window.load(start, _range_end(ordered, index + 1, start, directory.offset))
            check_descriptor(record, window.get(start, descriptor_length))
        _compare(record, header)
        data_offsets[record.header_offset] = header.data_offset
    return data_offsets


def _refuse_tar(window: Window) -> None:
    """Refuse what tar would read too, which takes any 512 bytes for a header that hold their own sum (Z20): a first
    member can be made to, by its name, its extra field or its content."""
    if window.size < _TAR_BLOCK_BYTES:
        return
    block = window.get(0, _TAR_BLOCK_BYTES)
    try:
        told = int(block[_TAR_SUM].split(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return
    rest = block[: _TAR_SUM.start] + b" " * 8 + block[_TAR_SUM.stop :]
    if told in (sum(rest), sum(rest) - 256 * sum(byte > 127 for byte in rest)):  # some tars took bytes for signed
        raise refusal(Fault.MALFORMED, "The archive is a tar as well, so tools would see different files in it.")


def _range_end(ordered: Sequence[Record], index: int, start: int, limit: int) -> int:
    """How far to read from `start`, so that header `index` and the headers close behind it come in one range."""
    end = start + DESCRIPTOR_BYTES[-1]
    for position in range(index, len(ordered)):
        record = ordered[position]
        header_end = record.header_offset + LOCAL_HEADER_BYTES + len(record.raw_name) + _EXTRA_ALLOWANCE_BYTES
        if position > index and (record.header_offset - end > _MAX_GAP_BYTES or header_end - start > MAX_RANGE_BYTES):
            break
        end = max(end, header_end)
    return max(min(end, limit), start + LOCAL_HEADER_BYTES)


def _measure_rest(record: Record, header: LocalHeader, following: int) -> int:
    """The bytes between a member's data and the next record: 0, or the length of its data descriptor."""
    data_end = header.data_offset + record.compressed_size
    if data_end > following:
        raise refusal(
            Fault.OVERLAP,
            f"The data of {show(record.name)} reaches to byte {data_end}, into the record that begins at {following}.",
        )
    rest = following - data_end
    if header.flags & HAS_DESCRIPTOR:
        if rest not in DESCRIPTOR_BYTES:
            raise refusal(
                Fault.SIZE_MISMATCH,
                f"{show(record.name)} announces a data descriptor, but {rest} bytes follow its data: "
                "its compressed size in the central directory is wrong, or the descriptor is missing.",
            )
        return rest
    if rest:
        raise refusal(
            Fault.STRAY_BYTES, f"After the data of {show(record.name)} come {rest} bytes that belong to no member."
        )
    return 0


def _compare(record: Record, header: LocalHeader) -> None:
    """Refuse a local header that disagrees with the central directory; before a descriptor, 0 means "see there"."""
    unknown = (0,) if header.flags & HAS_DESCRIPTOR else ()
    agree = {
        "compression method": header.method == record.method,
        "CRC-32": header.crc32 in (record.crc32, *unknown),
        "compressed size": header.compressed_size in (record.compressed_size, *unknown),
        "size": header.size in (record.size, *unknown),
        "flags": (header.flags ^ record.flags) & ~_COMPRESSION_LEVEL_FLAGS == 0,
    }
    for field, equal in agree.items():
        if not equal:
            raise refusal(
                Fault.HEADER_MISMATCH,
                f"The local header of {show(record.name)} has another {field} than the central directory: "
                "tools would see different files.",
            )


def _select(
    records: Sequence[Record], data_offsets: dict[int, int], limits: Limits, preserve_structure: bool
) -> Archive:
    """Check the paths, leave out folders and junk, and number what is kept."""
    kept: list[tuple[str, Record]] = []
    directories: list[str] = []
    skipped: list[str] = []
    for record in records:
        if record.name == "./":  # bsdtar's record for the folder it was called in
            continue
        path = check_path(record.name.removeprefix("./").removesuffix("/"), limits=limits)
        junk = is_junk(path)
        if record.is_directory:
            directories += [] if junk else [path]
        elif junk:
            skipped.append(path)
        else:
            kept.append((path, record))
    if not kept:
        raise _empty()
    paths = [path for path, _ in kept]
    check_path_set(paths, directories)
    names = paths if preserve_structure else flatten(paths)
    members = tuple(
        Member(
            index=index,
            path=name,
            method=record.method,
            crc32=record.crc32,
            compressed_size=record.compressed_size,
            size=record.size,
            header_offset=record.header_offset,
            data_offset=data_offsets[record.header_offset],
        )
        for index, (name, (_, record)) in enumerate(zip(names, kept, strict=True))
    )
    return Archive(members=members, skipped=tuple(skipped), total_size=sum(member.size for member in members))


def _empty() -> Exception:
    return refusal(Fault.EMPTY, "The archive holds no file: put at least one into it.")
