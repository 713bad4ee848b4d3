"""ZIP archives built field by field, so that a test can make any of them lie, and a reader that counts."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from registry.archives import Archive, MemberDecoder, read_archive

U32 = 0xFFFFFFFF


class CountingReader:
    """A RangeReader over bytes; it refuses empty ranges and ranges beyond the end, as S3 does."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.calls = 0
        self.bytes_read = 0
        self.longest = 0

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length <= 0 or offset + length > self.size:
            raise RuntimeError(f"read of {length} bytes at {offset} in {self.size}")
        self.calls += 1
        self.bytes_read += length
        self.longest = max(self.longest, length)
        return self.data[offset : offset + length]


def deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush()


def extra(identifier: int, data: bytes) -> bytes:
    return struct.pack("<HH", identifier, len(data)) + data


def zip64(*values: int) -> bytes:
    return extra(1, struct.pack(f"<{len(values)}Q", *values))


def unicode_path(raw_name: bytes, second: str, crc32: int | None = None) -> bytes:
    crc32 = zlib.crc32(raw_name) if crc32 is None else crc32
    return extra(0x7075, b"\x01" + struct.pack("<I", crc32) + second.encode())


@dataclass
class Item:
    """One member. `local` and `central` replace single fields of one header; `after` comes behind the data."""

    name: bytes = b"a.txt"
    content: bytes = b"hello"
    method: int = 0
    flags: int = 0
    external: int = 0o100644 << 16
    payload: bytes | None = None
    after: bytes = b""
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        if self.payload is not None:
            return self.payload
        return deflate(self.content) if self.method == 8 else self.content

    def fields(self, overrides: dict[str, Any]) -> dict[str, Any]:
        return {
            "signature": None,
            "flags": self.flags,
            "method": self.method,
            "crc": zlib.crc32(self.content),
            "csize": len(self.data),
            "size": len(self.content),
            "name": self.name,
            "extra": b"",
            "comment": b"",
            "disk": 0,
            "external": self.external,
        } | overrides


def streamed(item: Item, *, signature: bool = True, wide: bool = False, **wrong: int) -> Item:
    """The same member as a streaming writer makes it: zeros in the local header, a data descriptor behind."""
    values = {"crc": zlib.crc32(item.content), "csize": len(item.data), "size": len(item.content)} | wrong
    item.flags |= 8
    item.local = {"crc": 0, "csize": 0, "size": 0} | item.local
    item.after = b"PK\x07\x08" * signature + struct.pack("<IQQ" if wide else "<III", *values.values())
    return item


def local_header(item: Item) -> bytes:
    f = item.fields(item.local)
    head = struct.pack("<4sHHHHH", f["signature"] or b"PK\x03\x04", 20, f["flags"], f["method"], 0, 33)
    sizes = struct.pack("<III", f["crc"], f["csize"], f["size"])
    return b"".join([head, sizes, struct.pack("<HH", len(f["name"]), len(f["extra"])), f["name"], f["extra"]])


def central_header(item: Item, offset: int) -> bytes:
    f = item.fields({"offset": offset} | item.central)
    head = struct.pack("<4sHHHHHH", f["signature"] or b"PK\x01\x02", 3 << 8 | 20, 20, f["flags"], f["method"], 0, 33)
    sizes = struct.pack("<III", f["crc"], f["csize"], f["size"])
    lengths = struct.pack("<HHH", len(f["name"]), len(f["extra"]), len(f["comment"]))
    rest = struct.pack("<HHII", f["disk"], 0, f["external"], f["offset"])
    return b"".join([head, sizes, lengths, rest, f["name"], f["extra"], f["comment"]])


def end_record(**fields: Any) -> bytes:
    f: dict[str, Any] = {
        "disk": 0,
        "cd_disk": 0,
        "here": 0,
        "count": 0,
        "size": 0,
        "offset": 0,
        "comment": b"",
    } | fields
    numbers = (f["disk"], f["cd_disk"], f["here"], f["count"], f["size"], f["offset"], len(f["comment"]))
    return b"".join([b"PK\x05\x06", struct.pack("<HHHHIIH", *numbers), f["comment"]])


def end64(count: int, size: int, offset: int, /, **fields: Any) -> bytes:
    f: dict[str, Any] = {
        "length": 44, "disk": 0, "here": count, "count": count, "size": size, "offset": offset,
        "position": offset + size, "locator_disk": 0, "disks": 1, "extensible": b"", "signature": b"PK\x06\x06",
    } | fields  # fmt: skip
    record = f["signature"] + struct.pack(
        "<QHHIIQQQQ", f["length"], 45, 45, f["disk"], 0, f["here"], f["count"], f["size"], f["offset"]
    )
    locator = b"PK\x06\x07" + struct.pack("<IQI", f["locator_disk"], f["position"], f["disks"])
    return b"".join([record, f["extensible"], locator])


def build(
    *items: Item,
    prefix: bytes = b"",
    before_end: bytes = b"",
    suffix: bytes = b"",
    wide: dict[str, Any] | None = None,
    **end: Any,
) -> bytes:
    """The archive. `wide` adds ZIP64 end records with these fields replaced; `end` replaces those of the end record."""
    pieces, offsets, position = [prefix], [], len(prefix)
    for item in items:
        offsets.append(position)
        pieces += [local_header(item), item.data, item.after]
        position += sum(map(len, pieces[-3:]))
    body = b"".join(pieces)
    directory = b"".join(map(central_header, items, offsets))
    count, size, offset = len(items), len(directory), len(body)
    end64_records = b"" if wide is None else end64(count, size, offset, **wide)
    fields = {"here": count, "count": count, "size": size, "offset": offset} | end
    return body + directory + before_end + end64_records + end_record(**fields) + suffix


def contents(data: bytes, archive: Archive) -> dict[str, bytes]:
    """Every member decoded and checked, by path."""
    result = {}
    for member in archive.members:
        decoder = MemberDecoder(member)
        end = member.data_offset + member.compressed_size
        content = b"".join(decoder.feed(data[member.data_offset : end]))
        assert decoder.finish() == hashlib.sha256(content).hexdigest()
        assert decoder.crc32 == zlib.crc32(content) == member.crc32
        assert len(content) == member.size
        result[member.path] = content
    assert archive.total_size == sum(map(len, result.values()))
    return result


def unpack(data: bytes, **options: Any) -> dict[str, bytes]:
    """Read and decode a whole archive."""
    return contents(data, read_archive(CountingReader(data), **options))
