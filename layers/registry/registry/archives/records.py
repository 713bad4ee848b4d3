"""The records of an archive's members: central directory headers, local headers, extra fields, data descriptors.

Layouts: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.9, 4.3.12, 4.5; Info-ZIP's extrafld.txt for 0x7075.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isal import isal_zlib

from registry.archives.ending import U32_FULL, Directory
from registry.archives.faults import Fault, refusal, show
from registry.archives.limits import MIB, Limits
from registry.archives.reading import MAX_RANGE_BYTES, Window

STORED, DEFLATED = 0, 8
HAS_DESCRIPTOR = 1 << 3
LOCAL_HEADER_BYTES = 30
DESCRIPTOR_BYTES = (12, 16, 20, 24)  # with or without a signature, 32-bit or 64-bit sizes

# A DEFLATE match of 258 bytes takes at least two bits (RFC 1951): 258 * 8 / 2. Real streams reach 1,029.
MAX_DEFLATE_RATIO = 1032
# Below this an impossible size is damage or a mistake, above it a bomb; PyPI's threshold (docs/archives.md, Z9).
BOMB_BYTES = 64 * MIB

_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_ENCRYPTED_FLAGS = 1 << 0 | 1 << 6 | 1 << 13
_PATCH_FLAG, _UTF8_FLAG = 1 << 5, 1 << 11
_ZIP64, _UNICODE_PATH, _AES = 0x0001, 0x7075, 0x9901
_AES_METHOD = 99
_DOS_DIRECTORY = 0x10
_EMPTY_DEFLATE_BYTES = 2  # an empty DEFLATE stream, `03 00`; Java writes it for folders too
_AROUND_PATH_BYTES = 3  # a leading "./" and a folder's "/", which are no part of a path


@dataclass(frozen=True, slots=True)
class Record:
    """One member as the central directory has it. Sizes are 64-bit already."""

    name: str
    raw_name: bytes
    is_directory: bool
    flags: int
    method: int
    crc32: int
    compressed_size: int
    size: int
    header_offset: int


@dataclass(frozen=True, slots=True)
class LocalHeader:
    """One member as its local header has it; a streaming writer may leave crc32 and sizes at 0."""

    flags: int
    method: int
    crc32: int
    compressed_size: int
    size: int
    data_offset: int


def read_records(window: Window, directory: Directory, limits: Limits) -> Iterator[Record]:
    """Every record of the central directory in its order; ArchiveError at the first that cannot be taken."""
    position = directory.offset
    for _ in range(directory.count):
        if position + _CENTRAL.size > directory.end:
            raise refusal(Fault.MALFORMED, f"The central directory has room for fewer than {directory.count} records.")
        if not window.holds(position, _CENTRAL.size):
            window.load(position, min(position + MAX_RANGE_BYTES, directory.end))
        fields = _CENTRAL.unpack(window.get(position, _CENTRAL.size))
        length = _CENTRAL.size + sum(fields[10:13])
        if fields[0] != b"PK\x01\x02" or position + length > directory.end:
            raise refusal(Fault.MALFORMED, f"There is no whole central directory header at byte {position}.")
        # Here already, as all names are in memory before any of them is checked.
        if fields[10] > limits.max_path_bytes + _AROUND_PATH_BYTES:
            raise refusal(
                Fault.NAME_TOO_LONG, f"A name has {fields[10]} bytes; at most {limits.max_path_bytes} are allowed."
            )
        record = _parse_central(fields, window.get(position, length))
        _check_sizes(record, limits)
        yield record
        position += length
    if position != directory.end:
        raise refusal(Fault.MALFORMED, f"The central directory has more bytes than its {directory.count} records take.")


def read_local_header(window: Window, record: Record) -> LocalHeader:
    """The local header of a member; ArchiveError if it is none, or has another name."""
    offset = record.header_offset
    signature, _, flags, method, _, _, crc32, narrow_compressed, narrow_size, name_length, extra_length = _LOCAL.unpack(
        window.get(offset, _LOCAL.size)
    )
    if signature != b"PK\x03\x04":
        raise refusal(Fault.MALFORMED, f"There is no local header for {show(record.name)} at byte {offset}.")
    variable = window.get(offset, _LOCAL.size + name_length + extra_length)[_LOCAL.size :]
    if variable[:name_length] != record.raw_name:
        raise refusal(
            Fault.HEADER_MISMATCH,
            f"The local header of {show(record.name)} has another name: tools would see different files.",
        )
    extra = _read_extra(variable[name_length:], record.name)
    size, compressed_size = _widen((narrow_size, narrow_compressed), extra, record.name)
    _check_unicode_path(extra, record.raw_name, record.name)
    return LocalHeader(
        flags=flags,
        method=method,
        crc32=crc32,
        compressed_size=compressed_size,
        size=size,
        data_offset=offset + _LOCAL.size + name_length + extra_length,
    )


def check_descriptor(record: Record, descriptor: bytes) -> None:
    """Refuse a data descriptor (one of DESCRIPTOR_BYTES long) that disagrees with the central directory."""
    body = descriptor
    if len(descriptor) in (16, 24):
        if not descriptor.startswith(b"PK\x07\x08"):
            raise refusal(
                Fault.SIZE_MISMATCH,
                f"The data of {show(record.name)} is not followed by its data descriptor: "
                "its compressed size in the central directory is wrong.",
            )
        body = descriptor[4:]
    crc32, compressed_size, size = struct.unpack("<III" if len(body) == 12 else "<IQQ", body)
    if (compressed_size, size) != (record.compressed_size, record.size):
        raise refusal(
            Fault.SIZE_MISMATCH,
            f"The data descriptor of {show(record.name)} has other sizes than the central directory.",
        )
    if crc32 != record.crc32:
        raise refusal(
            Fault.BAD_CRC, f"The data descriptor of {show(record.name)} has another CRC-32 than the central directory."
        )


def _parse_central(fields: tuple[int, ...], data: bytes) -> Record:
    (_, _, _, flags, method, _, _, crc32, narrow_compressed, narrow_size) = fields[:10]
    name_length, extra_length, _, disk, _, external, narrow_offset = fields[10:]
    raw_name = data[_CENTRAL.size : _CENTRAL.size + name_length]
    name = _decode_name(raw_name, flags)
    extra = _read_extra(data[_CENTRAL.size + name_length :][:extra_length], name)
    if disk != 0:
        raise refusal(Fault.MULTI_DISK, f"{show(name)} is said to lie in another part of a split archive.")
    if flags & _ENCRYPTED_FLAGS or method == _AES_METHOD or _AES in extra:
        raise refusal(Fault.ENCRYPTED, f"{show(name)} is encrypted: make the archive without a password.")
    is_directory = _check_type(external, name)
    if method not in (STORED, DEFLATED) or flags & _PATCH_FLAG:
        raise refusal(
            Fault.UNSUPPORTED_METHOD,
            f"{show(name)} is compressed by method {method}: only 0 (stored) and 8 (DEFLATE) are read.",
        )
    size, compressed_size, header_offset = _widen((narrow_size, narrow_compressed, narrow_offset), extra, name)
    _check_unicode_path(extra, raw_name, name)
    return Record(
        name=name,
        raw_name=raw_name,
        is_directory=is_directory,
        flags=flags,
        method=method,
        crc32=crc32,
        compressed_size=compressed_size,
        size=size,
        header_offset=header_offset,
    )


def _decode_name(raw_name: bytes, flags: int) -> str:
    """UTF-8 where flag bit 11 says so or the bytes are UTF-8 (macOS and Info-ZIP set no flag), else code page 437."""
    try:
        return raw_name.decode()
    except UnicodeDecodeError:
        if flags & _UTF8_FLAG:
            detail = f"The name {raw_name[:40]!r} is marked as UTF-8 and is not."
            raise refusal(Fault.BAD_NAME, detail) from None
        return raw_name.decode("cp437")


def _check_type(external: int, name: str) -> bool:
    """Whether a member is a folder; ArchiveError if it is neither file nor folder. Set-uid bits are ignored.

    The upper half of the external attributes is a Unix mode, or 0 from writers that know none; the host system is not
    asked, because tools differ in whether they ask it.
    """
    mode = external >> 16
    kind = stat.S_IFMT(mode)
    if stat.S_ISLNK(mode):
        raise refusal(Fault.SYMLINK, f"{show(name)} is a symbolic link: put the file itself into the archive.")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refusal(Fault.SPECIAL_FILE, f"{show(name)} is a device, pipe or socket: only files and folders are kept.")
    is_directory = name.endswith("/")
    if not is_directory and (stat.S_ISDIR(mode) or (kind == 0 and external & _DOS_DIRECTORY)):
        raise refusal(Fault.MALFORMED, f"{show(name)} is marked as a folder, but its name does not end in '/'.")
    return is_directory


def _check_sizes(record: Record, limits: Limits) -> None:
    size, compressed_size, shown = record.size, record.compressed_size, show(record.name)
    if record.is_directory and (size or record.crc32 or compressed_size > _EMPTY_DEFLATE_BYTES):
        raise refusal(Fault.MALFORMED, f"The folder {shown} has content: a folder must be empty.")
    if size > limits.max_member_bytes:
        raise refusal(Fault.TOO_LARGE, f"{shown} declares {size} bytes; at most {limits.max_member_bytes} are allowed.")
    if record.method == STORED and size != compressed_size:
        raise refusal(
            Fault.SIZE_MISMATCH,
            f"{shown} is stored without compression, yet declares {size} bytes of content in {compressed_size} bytes.",
        )
    if size > compressed_size * MAX_DEFLATE_RATIO:
        raise refusal(
            Fault.BOMB if size > BOMB_BYTES else Fault.SIZE_MISMATCH,
            f"{shown} declares {size} bytes of content, which {compressed_size} compressed bytes can never give.",
        )
    if record.method == DEFLATED and not record.is_directory and compressed_size < _EMPTY_DEFLATE_BYTES:
        raise refusal(
            Fault.BAD_DEFLATE, f"{shown} has {compressed_size} compressed bytes: no DEFLATE stream is so short."
        )


def _read_extra(extra: bytes, name: str) -> dict[int, bytes]:
    """The extra fields by id. Zeros at the end that are no whole field are padding (Android's zipalign)."""
    fields: dict[int, bytes] = {}
    position = 0
    while len(extra) - position >= 4:
        field, length = struct.unpack_from("<HH", extra, position)
        position += 4 + length
        if position > len(extra):
            raise refusal(Fault.MALFORMED, f"An extra field of {show(name)} is longer than the space it is in.")
        if field in fields and field in (_ZIP64, _UNICODE_PATH):
            raise refusal(Fault.MALFORMED, f"{show(name)} has the extra field 0x{field:04x} twice.")
        fields[field] = extra[position - length : position]
    if extra[position:].strip(b"\0"):
        raise refusal(Fault.MALFORMED, f"The extra fields of {show(name)} end inside a field.")
    return fields


def _widen(narrow: Sequence[int], extra: dict[int, bytes], name: str) -> list[int]:
    """The 64-bit values of a header's 32-bit fields: a field of all ones is found in the ZIP64 extra field.

    That field holds the missing values in order. Some writers add values that are not missing: allowed where these
    come last, so that no reader takes them for a missing one, and repeat the header. A disk number (4 bytes, 0) may
    follow.
    """
    missing = [index for index, value in enumerate(narrow) if value == U32_FULL]
    zip64 = extra.get(_ZIP64)
    if zip64 is None:
        if missing:
            raise refusal(Fault.MALFORMED, f"{show(name)} refers to a ZIP64 field that is not there.")
        return list(narrow)
    if len(zip64) < 8 * len(missing):
        raise refusal(Fault.TRUNCATED, f"The ZIP64 field of {show(name)} is too short for the values it must hold.")
    given = missing
    if missing == list(range(len(missing))):
        given = list(range(min(len(zip64) // 8, len(narrow))))
    if zip64[8 * len(given) :] not in (b"", bytes(4)):
        raise refusal(Fault.MALFORMED, f"The ZIP64 field of {show(name)} has a length that fits no set of values.")
    wide = list(narrow)
    for index, value in zip(given, struct.unpack_from(f"<{len(given)}Q", zip64), strict=True):
        if index not in missing and value != narrow[index]:
            raise refusal(Fault.MALFORMED, f"The ZIP64 field of {show(name)} contradicts the header it belongs to.")
        wide[index] = value
    return wide


def _check_unicode_path(extra: dict[int, bytes], raw_name: bytes, name: str) -> None:
    """Refuse a second name: Info-ZIP's Unicode Path counts only if its CRC-32 is that of the first name (Z22)."""
    field = extra.get(_UNICODE_PATH)
    if field is None or len(field) < 5 or int.from_bytes(field[1:5], "little") != isal_zlib.crc32(raw_name):
        return
    if field[5:] != name.encode(errors="surrogatepass"):
        second = field[5:].decode(errors="replace")
        raise refusal(
            Fault.BAD_NAME,
            f"{show(name)} has a second name {show(second)} (Unicode Path), so tools would see different files: "
            "make the archive with UTF-8 names.",
        )
