# ruff: noqa: E501 - the tables have one case a line
"""Hostile archives, made here: every kind of section 2 of docs/guarantees.md (Z1 to Z23), just inside what is allowed and
a step beyond; single lies of all sorts; bombs; and what looks odd and is right."""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from registry.archives import Entry, Fault, crc32_combine, plan_archive

from tests.unit.zip_builder import (
    U32,
    Item,
    build,
    deflate,
    end_record,
    extra,
    streamed,
    unicode_path,
    zip64,
)

HELLO = Item(name=b"hello.txt", content=b"hello, world\n" * 5, method=8)
GOOD = build(Item(), HELLO)
ONE = build(Item())  # its central directory begins at byte 40
STREAM = deflate(bytes(1_000_000))
BIG = 2**33


def mode(kind: int) -> int:
    return (kind | 0o644) << 16


def overlapping(count: int, first: Item | None = None) -> bytes:
    """Z10: many central records on one local header and one stream."""
    first = first or Item(name=b"0", content=bytes(1_000_000), method=8, payload=STREAM)
    others = [replace(first, name=b"%d" % n, central={**first.central, "offset": 0}) for n in range(1, count)]
    body = build(first)
    directory_start = struct.unpack("<I", body[-6:-2])[0]
    whole = build(first, *others)
    start = struct.unpack("<I", whole[-6:-2])[0]
    directory = whole[start:-22]
    end = end_record(here=count, count=count, size=len(directory), offset=directory_start)
    return body[:directory_start] + directory + end


def patch(data: bytes, position: int, new: bytes) -> bytes:
    return data[:position] + new + data[position + len(new) :]


def quoted_overlap() -> bytes:
    """Fifield: the first member's stored block quotes the second's local header, so both use one stream."""
    inner = Item(name=b"b", content=bytes(100_000), method=8)
    whole = build(inner)
    inner_local = whole[: struct.unpack("<I", whole[-6:-2])[0]]
    header = inner_local[:31]
    quote = b"\x00" + struct.pack("<HH", len(header), len(header) ^ 0xFFFF)  # a stored block, not the last one
    outer = Item(name=b"a", content=header + inner.content, method=8, payload=quote + inner_local)
    only = build(outer)
    directory_start = struct.unpack("<I", only[-6:-2])[0]
    second_offset = 31 + len(quote)
    two = build(
        outer, Item(name=b"b", content=inner.content, method=8, payload=inner.data, central={"offset": second_offset})
    )
    directory = two[struct.unpack("<I", two[-6:-2])[0] : -22]
    return only[:directory_start] + directory + end_record(here=2, count=2, size=len(directory), offset=directory_start)


CASES: dict[str, tuple[bytes, Fault]] = {
    # Z1-Z3, Z18: names
    "Z1 backslash": (build(Item(name=b"..\\e")), Fault.TRAVERSAL),
    "Z1 folder": (build(Item(), Item(name=b"../", content=b"")), Fault.TRAVERSAL),
    "Z2 behind dot slash": (build(Item(name=b".//x")), Fault.ABSOLUTE_PATH),
    "Z3 not UTF-8": (build(Item(name=b"\xff", flags=1 << 11)), Fault.BAD_NAME),
    "Z3 surrogate": (build(Item(name=b"\xed\xa0\x80", flags=1 << 11)), Fault.BAD_NAME),
    "empty name": (build(Item(name=b"")), Fault.BAD_NAME),
    "only a slash": (build(Item(), Item(name=b"/", content=b"")), Fault.BAD_NAME),
    "two dot slashes": (build(Item(name=b"././a")), Fault.BAD_NAME),
    "junk does not excuse a name": (build(Item(), Item(name=b"__MACOSX/../a")), Fault.TRAVERSAL),
    # Z4, Z5: kinds
    "folder by mode, file by name": (build(Item(external=mode(stat.S_IFDIR))), Fault.MALFORMED),
    "folder by DOS attribute, file by name": (build(Item(external=0x10)), Fault.MALFORMED),
    "folder with content": (build(Item(), Item(name=b"d/")), Fault.MALFORMED),
    "folder with hidden data": (build(Item(), Item(name=b"d/", content=b"", method=8, payload=b"\3\0\0")), Fault.MALFORMED),
    "folder with stored data": (build(Item(), Item(name=b"d/", content=b"", payload=b"\3\0")), Fault.SIZE_MISMATCH),
    # Z6-Z8: sets of names
    "Z6 duplicate by dot slash": (build(Item(), Item(name=b"./a.txt")), Fault.DUPLICATE),
    "Z6 duplicate folder": (build(Item(), Item(name=b"d/", content=b""), Item(name=b"d/", content=b"")), Fault.DUPLICATE),
    "Z7 two encodings of one name": (build(Item(name="é".encode()), Item(name="é".encode("cp437"))), Fault.DUPLICATE),
    "Z8 file and folder": (build(Item(name=b"a"), Item(name=b"a/b")), Fault.FILE_DIR_CONFLICT),
    # Z9: bombs
    "Z9 bomb": (build(Item(content=b"", method=8, payload=STREAM, local={"size": 2**31}, central={"size": 2**31})), Fault.BOMB),
    "Z9 bomb in ZIP64": (
        build(Item(method=8, payload=STREAM, local={"size": U32, "extra": zip64(2**41)}, central={"size": U32, "extra": zip64(2**41)})),
        Fault.BOMB,
    ),
    "no DEFLATE stream at all": (build(Item(content=b"", method=8, payload=b"")), Fault.BAD_DEFLATE),
    # Z10: overlaps
    "Z10 shared stream, within the size": (build(Item(), Item(name=b"b", content=b"", central={"offset": 0})), Fault.OVERLAP),
    "data into the directory": (build(Item(local={"csize": 9, "size": 9}, central={"csize": 9, "size": 9})), Fault.OVERLAP),
    "data into the next member": (
        build(Item(local={"csize": 9, "size": 9}, central={"csize": 9, "size": 9}), Item(name=b"b")),
        Fault.OVERLAP,
    ),
    # Z12: ZIP64 lies
    "Z12 local field missing": (build(Item(local={"size": U32})), Fault.MALFORMED),
    "Z12 field too short": (build(Item(central={"size": U32, "csize": U32, "extra": zip64(5)})), Fault.TRUNCATED),
    "Z12 field too long": (build(Item(central={"size": U32, "extra": zip64(5, 5, 0, 0)})), Fault.MALFORMED),
    "Z12 field of odd length": (build(Item(central={"extra": extra(1, b"12345")})), Fault.MALFORMED),
    "Z12 field twice": (build(Item(central={"size": U32, "extra": zip64(5) * 2})), Fault.MALFORMED),
    "Z12 field read in two ways": (build(Item(central={"offset": U32, "extra": zip64(5, 5, 0)})), Fault.MALFORMED),
    "Z12 field for the offset after a size": (build(Item(central={"offset": U32, "extra": zip64(5, 0)})), Fault.MALFORMED),
    "Z12 field names another disk": (
        build(Item(central={"size": U32, "extra": extra(1, struct.pack("<QI", 5, 1))})),
        Fault.MALFORMED,
    ),
    "Z12 size by field only": (build(Item(central={"size": U32, "extra": zip64(6)})), Fault.SIZE_MISMATCH),
    "Z12 offset by field": (build(Item(central={"offset": U32, "extra": zip64(BIG)})), Fault.TRUNCATED),
    "Z12 local size by field": (build(Item(local={"size": U32, "extra": zip64(6)})), Fault.HEADER_MISMATCH),
    "Z12 end records disagree on the count": (build(Item(), wide={}, count=2, here=2), Fault.MALFORMED),
    "Z12 end records disagree on the offset": (build(Item(), wide={}, offset=7), Fault.MALFORMED),
    "Z12 end records disagree on the size": (build(Item(), wide={}, size=7), Fault.MALFORMED),
    "Z12 wide count": (build(Item(), wide={"count": 2, "here": 2}, count=0xFFFF, here=0xFFFF), Fault.MALFORMED),
    "Z12 locator elsewhere": (build(Item(), wide={"position": 3}), Fault.MALFORMED),
    "Z12 locator beyond the end": (build(Item(), wide={"position": 2**63}), Fault.MALFORMED),
    "Z12 extensible data": (build(Item(), wide={"length": 48, "extensible": b"1234"}), Fault.MALFORMED),
    "Z12 record length": (build(Item(), wide={"length": 43}), Fault.MALFORMED),
    "Z12 record signature": (build(Item(), wide={"signature": b"PK\x06\x05"}), Fault.MALFORMED),
    "Z12 full marks and no locator": (build(Item(), count=0xFFFF, here=0xFFFF), Fault.TOO_MANY_MEMBERS),
    "Z12 full offset and no locator": (build(Item(), offset=U32), Fault.MALFORMED),
    # Z13: local header against central directory
    "Z13 name": (build(Item(local={"name": b"b.txt"})), Fault.HEADER_MISMATCH),
    "Z13 shorter name": (build(Item(local={"name": b"a"})), Fault.HEADER_MISMATCH),
    "Z13 name by case": (build(Item(local={"name": b"A.txt"})), Fault.HEADER_MISMATCH),
    "Z13 method": (build(Item(local={"method": 8})), Fault.HEADER_MISMATCH),
    "Z13 CRC": (build(Item(local={"crc": 1})), Fault.HEADER_MISMATCH),
    "Z13 CRC of 0": (build(Item(local={"crc": 0})), Fault.HEADER_MISMATCH),
    "Z13 compressed size": (build(Item(local={"csize": 4})), Fault.HEADER_MISMATCH),
    "Z13 compressed size of 0": (build(Item(local={"csize": 0})), Fault.HEADER_MISMATCH),
    "Z13 size": (build(Item(method=8, local={"size": 4})), Fault.HEADER_MISMATCH),
    "Z13 flag UTF-8": (build(Item(local={"flags": 1 << 11})), Fault.HEADER_MISMATCH),
    "Z13 flag encrypted": (build(Item(local={"flags": 1})), Fault.HEADER_MISMATCH),
    "Z13 flag descriptor in the directory only": (build(Item(central={"flags": 8})), Fault.HEADER_MISMATCH),
    "Z13 flag descriptor in the header only": (build(Item(local={"flags": 8})), Fault.SIZE_MISMATCH),
    "Z13 descriptor unknown to the directory": (build(streamed(Item(central={"flags": 0}))), Fault.HEADER_MISMATCH),
    "Z13 directory has fewer than said": (build(Item(), count=2, here=2), Fault.MALFORMED),
    # Z15, Z16
    "Z16 encrypted": (build(Item(flags=1)), Fault.ENCRYPTED),
    "Z16 strong encryption": (build(Item(flags=1 << 6 | 1)), Fault.ENCRYPTED),
    "Z16 masked header": (build(Item(flags=1 << 13)), Fault.ENCRYPTED),
    "Z16 AES by field": (build(Item(central={"extra": extra(0x9901, b"1234567")})), Fault.ENCRYPTED),
    "Z16 patch": (build(Item(flags=1 << 5)), Fault.UNSUPPORTED_METHOD),
    # Z17
    "Z17 only a folder": (build(Item(name=b"d/", content=b"")), Fault.EMPTY),
    "Z17 only junk": (build(Item(name=b"__MACOSX/._a")), Fault.EMPTY),
    "Z17 only the folder itself": (build(Item(name=b"./", content=b"")), Fault.EMPTY),
    # Z19, Z20: framing
    "Z19 prefix": (b"#!/bin/sh\n" + GOOD, Fault.STRAY_BYTES),
    "Z19 prefix with right offsets": (build(Item(), prefix=b"MZ"), Fault.STRAY_BYTES),
    "Z19 prefix of 4 bytes": (build(Item(), prefix=b"PK00"), Fault.STRAY_BYTES),
    "Z19 two archives": (GOOD + build(Item(name=b"b")), Fault.STRAY_BYTES),
    "Z19 between directory and end": (build(Item(), before_end=b"x"), Fault.MALFORMED),
    "Z19 between members": (build(Item(after=b"x"), Item(name=b"b")), Fault.STRAY_BYTES),
    "Z19 before the directory": (build(Item(after=b"APK Sig Block 42")), Fault.STRAY_BYTES),
    "Z19 signature in the comment": (build(Item(), comment=b"..PK\5\6.."), Fault.MALFORMED),
    "Z19 end record before the last": (build(Item(name=b"a", after=end_record(comment=bytes(69))[:22])), Fault.MALFORMED),
    "Z19 archive in the comment": (build(Item(), comment=build(Item(name=b"b"))), Fault.MALFORMED),
    "Z20 tar before": (bytes(512) + GOOD, Fault.STRAY_BYTES),
    "comment longer than there is": (build(Item(), comment=b"123")[:-1], Fault.TRUNCATED),
    "comment shorter than there is": (build(Item(), comment=b"123") + b"4", Fault.STRAY_BYTES),
    "directory offset": (build(Item(), offset=3), Fault.STRAY_BYTES),
    "directory behind the end": (build(Item(), offset=10**6), Fault.MALFORMED),
    "directory size": (build(Item(), size=50), Fault.MALFORMED),
    "directory at nothing": (build(Item(central={"signature": b"PK\x01\x03"})), Fault.MALFORMED),
    "record beyond the directory": (patch(ONE, 40 + 28, b"\x06"), Fault.MALFORMED),
    "record of the greatest length": (patch(ONE, 40 + 28, b"\xff" * 6), Fault.MALFORMED),
    "local extra field beyond the file": (patch(ONE, 28, b"\xff\xff"), Fault.TRUNCATED),
    "local name beyond the file": (patch(ONE, 26, b"\xff\xff"), Fault.TRUNCATED),
    "header offset beyond the file": (build(Item(central={"offset": 10**6})), Fault.TRUNCATED),
    "data beyond the file": (build(Item(central={"csize": 10**6, "size": 10**6})), Fault.TRUNCATED),
    "disk of the end record": (build(Item(), disk=1), Fault.MULTI_DISK),
    "disk of the directory": (build(Item(), cd_disk=1), Fault.MULTI_DISK),
    "records on other disks": (build(Item(), here=0), Fault.MULTI_DISK),
    "disk of a member": (build(Item(central={"disk": 1})), Fault.MULTI_DISK),
    "disk of the locator": (build(Item(), wide={"locator_disk": 1}), Fault.MULTI_DISK),
    "number of disks": (build(Item(), wide={"disks": 2}), Fault.MULTI_DISK),
    "disk in ZIP64": (build(Item(), wide={"disk": 1}, disk=0xFFFF), Fault.MULTI_DISK),
    # Z21
    "Z21 one byte": (b"P", Fault.NOT_A_ZIP),
    "Z21 second half": (GOOD[len(GOOD) // 2 :], Fault.MALFORMED),
    # Z22: a second name
    "extra field too long": (build(Item(central={"extra": b"\x99\x99\x05\0ab"})), Fault.MALFORMED),
    "extra field cut": (build(Item(local={"extra": b"\x99\x99\x01"})), Fault.MALFORMED),
    # Z23: data descriptors
    "Z23 CRC": (build(streamed(Item(), crc=1)), Fault.BAD_CRC),
    "Z23 size": (build(streamed(Item(), size=6)), Fault.SIZE_MISMATCH),
    "Z23 compressed size, wide": (build(streamed(Item(), wide=True, csize=6)), Fault.SIZE_MISMATCH),
    "Z23 CRC, no signature": (build(streamed(Item(), signature=False, crc=1)), Fault.BAD_CRC),
    "Z23 missing": (build(Item(flags=8)), Fault.SIZE_MISMATCH),
    "Z23 other signature": (build(Item(flags=8, after=b"PK\x07\x09" + bytes(12))), Fault.SIZE_MISMATCH),
    "Z23 data hidden before it": (build(streamed(Item(payload=b"helloX", local={}, central={"csize": 5}))), Fault.SIZE_MISMATCH),
    "Z23 local CRC set and wrong": (build(streamed(Item(local={"crc": 5}))), Fault.HEADER_MISMATCH),
    "Z23 local size set and wrong": (build(streamed(Item(local={"size": 4}))), Fault.HEADER_MISMATCH),
    # Sizes that cannot be
    "stored sizes differ": (build(Item(local={"size": 6}, central={"size": 6})), Fault.SIZE_MISMATCH),
    "more than DEFLATE can give": (
        build(Item(method=8, payload=b"12", local={"size": 2065}, central={"size": 2065})),
        Fault.SIZE_MISMATCH,
    ),
}  # fmt: skip

# Refused only when the content is decoded: the structure tells nothing.
CONTENT_CASES: dict[str, tuple[bytes, Fault]] = {
    "Z14 declares more than there is": (build(Item(content=bytes(500), method=8, local={"size": 5000}, central={"size": 5000})), Fault.SIZE_MISMATCH),
    "declares less than there is": (build(Item(content=bytes(5000), method=8, local={"size": 500}, central={"size": 500})), Fault.SIZE_MISMATCH),
    "declares nothing": (build(Item(method=8, local={"size": 0}, central={"size": 0})), Fault.SIZE_MISMATCH),
    "Z15 CRC stored": (build(Item(local={"crc": 1}, central={"crc": 1})), Fault.BAD_CRC),
    "Z15 CRC deflated": (build(Item(method=8, local={"crc": 1}, central={"crc": 1})), Fault.BAD_CRC),
    "Z15 CRC of 0": (build(Item(local={"crc": 0}, central={"crc": 0})), Fault.BAD_CRC),
    "DEFLATE not ended": (build(Item(method=8, payload=deflate(b"hello")[:-1])), Fault.BAD_DEFLATE),
    "DEFLATE ended early": (build(Item(method=8, payload=deflate(b"hello") + b"x")), Fault.BAD_DEFLATE),
    "two DEFLATE streams": (build(Item(method=8, content=b"hello", payload=deflate(b"he") + deflate(b"llo"))), Fault.BAD_DEFLATE),
    "no DEFLATE": (build(Item(method=8, payload=b"\xff" * 9)), Fault.BAD_DEFLATE),
    "distance before the start": (build(Item(method=8, payload=bytes.fromhex("4b040a00"))), Fault.BAD_DEFLATE),
}  # fmt: skip


ACCEPTED: dict[str, tuple[bytes, list[str]]] = {
    "descriptor, 12 bytes": (build(streamed(Item(), signature=False), Item(name=b"b")), ["a.txt", "b"]),
    "descriptor, 16 bytes": (build(streamed(Item()), Item(name=b"b")), ["a.txt", "b"]),
    "descriptor, 20 bytes": (build(streamed(Item(), signature=False, wide=True)), ["a.txt"]),
    "descriptor, 24 bytes": (build(streamed(Item(method=8), wide=True)), ["a.txt"]),
    "descriptor after full local fields": (build(streamed(Item(local={"size": 5, "csize": 5}))), ["a.txt"]),
    "descriptor of a folder": (build(Item(), streamed(Item(name=b"d/", content=b"", method=8))), ["a.txt"]),
    "folder with an empty DEFLATE stream": (build(Item(), Item(name=b"d/", content=b"", method=8)), ["a.txt"]),
    "empty file, deflated": (build(Item(content=b"", method=8)), ["a.txt"]),
    "empty file, stored": (build(Item(content=b"")), ["a.txt"]),
    "ZIP64 in both headers": (
        build(Item(local={"size": U32, "csize": U32, "extra": zip64(5, 5)}, central={"size": U32, "csize": U32, "offset": U32, "extra": zip64(5, 5, 0)})),
        ["a.txt"],
    ),
    "ZIP64 in the local header only": (build(Item(local={"size": U32, "csize": U32, "extra": zip64(5, 5)})), ["a.txt"]),
    "ZIP64 for the size only": (build(Item(central={"size": U32, "extra": zip64(5)})), ["a.txt"]),
    "ZIP64 with values that nobody needs": (build(Item(central={"extra": zip64(5, 5, 0)})), ["a.txt"]),
    "ZIP64 with some values that nobody needs": (build(Item(central={"size": U32, "extra": zip64(5, 5)})), ["a.txt"]),
    "ZIP64 for the offset only": (build(Item(central={"offset": U32, "extra": zip64(0)})), ["a.txt"]),
    "ZIP64 with a disk number": (build(Item(central={"size": U32, "extra": extra(1, struct.pack("<QI", 5, 0))})), ["a.txt"]),
    "ZIP64 end records": (build(Item(), wide={}, count=0xFFFF, here=0xFFFF, size=U32, offset=U32), ["a.txt"]),
    "ZIP64 end records beside plain values": (build(Item(), wide={}), ["a.txt"]),
    "timestamps": (build(Item(local={"extra": extra(0x5455, bytes(9))}, central={"extra": extra(0x5455, bytes(5))})), ["a.txt"]),
    "JAR mark": (build(Item(local={"extra": b"\xfe\xca\0\0"}, central={"extra": b"\xfe\xca\0\0"})), ["a.txt"]),
    "alignment of 3 zeros": (build(Item(local={"extra": bytes(3)})), ["a.txt"]),
    "alignment of 4,000 zeros": (build(Item(local={"extra": bytes(4001)}), Item(name=b"b")), ["a.txt", "b"]),
    "alignment of 65,000 bytes": (build(Item(local={"extra": extra(0xD935, bytes(65000))}), Item(name=b"b")), ["a.txt", "b"]),
    "Unicode path that says the same": (build(Item(central={"extra": unicode_path(b"a.txt", "a.txt")})), ["a.txt"]),
    "Unicode path of another name": (build(Item(central={"extra": unicode_path(b"a.txt", "b", crc32=1)})), ["a.txt"]),
    "set-uid": (build(Item(external=(stat.S_IFREG | 0o6755) << 16)), ["a.txt"]),
    "no mode": (build(Item(external=0)), ["a.txt"]),
    "comments": (build(Item(central={"comment": b"about a"}), comment=b"about all"), ["a.txt"]),
    "longest comment": (build(Item(), comment=bytes(65535)), ["a.txt"]),
    "level flags differ": (build(Item(method=8, local={"flags": 2}, central={"flags": 6})), ["a.txt"]),
    "UTF-8 without its flag": (build(Item(name="ü".encode())), ["ü"]),
    "UTF-8 with its flag": (build(Item(name="ü".encode(), flags=1 << 11)), ["ü"]),
    "code page 437": (build(Item(name="ü".encode("cp437"))), ["ü"]),
    "dot slash": (build(Item(name=b"./", content=b""), Item(name=b"./a"), Item(name=b"./d/", content=b"")), ["a"]),
    "junk": (build(Item(name=b"__MACOSX/._a"), Item(), Item(name=b"d/.DS_Store"), Item(name=b"Thumbs.db")), ["a.txt"]),
    "nested archive": (build(Item(name=b"in.zip", content=GOOD)), ["in.zip"]),
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A way to be hostile: an archive that goes as far as is allowed, and one that goes a step further."""

    case: str
    name: str
    inside: bytes
    beyond: bytes
    fault: Fault

    def __str__(self) -> str:
        return f"{self.case} {self.name}"


def kinds() -> Iterator[Kind]:
    """Every kind at both ends of its limit; all of them small."""
    yield from _names()
    yield from _characters()
    yield from _types()
    yield from _sets_of_names()
    yield from _overlaps()
    yield from _zip64()
    yield from _headers()
    yield from _contents()
    yield from _framing()
    yield from _descriptors()


def _named(*names: str | bytes) -> bytes:
    raw = [name if isinstance(name, bytes) else name.encode() for name in names]
    return build(*(Item(name=name, content=b"" if name.endswith(b"/") else b"hello") for name in raw))


def _names() -> Iterator[Kind]:
    longest = "/".join(["d" * 179] * 5) + "d"
    assert len(longest) == 900
    for case, name, inside, beyond, fault in [
        ("Z1", "dot dot", "..e", "../e", Fault.TRAVERSAL),
        ("Z1", "dot dot inside", "a/..e", "a/../e", Fault.TRAVERSAL),
        ("Z1", "dot dot that stays inside", "a/b/..e", "a/b/../e", Fault.TRAVERSAL),
        ("Z1", "dot dot at the end", "a/..e", "a/..", Fault.TRAVERSAL),
        ("Z1", "dot dot by backslash", "a..e", "a\\..\\e", Fault.TRAVERSAL),
        ("Z2", "root", "etc/x", "/etc/x", Fault.ABSOLUTE_PATH),
        ("Z2", "share", "h/s", "//h/s", Fault.ABSOLUTE_PATH),
        ("Z2", "share by backslash", "h/s", "\\\\h\\s", Fault.ABSOLUTE_PATH),
        ("Z2", "drive", "C/x", "C:/x", Fault.ABSOLUTE_PATH),
        ("Z2", "drive without a root", "Cx", "C:x", Fault.ABSOLUTE_PATH),
        ("Z18", "name of 255 bytes", "d" * 255, "d" * 256, Fault.NAME_TOO_LONG),
        ("Z18", "name of 255 bytes, not letters", "é" * 127 + "d", "é" * 128, Fault.NAME_TOO_LONG),
        ("Z18", "folder of 255 bytes", "d" * 255 + "/e", "d" * 256 + "/e", Fault.NAME_TOO_LONG),
        ("Z18", "path of 900 bytes", longest, longest + "d", Fault.NAME_TOO_LONG),
        ("Z18", "path behind a dot slash", "./" + longest, "./" + longest + "d", Fault.NAME_TOO_LONG),
        ("Z18", "path far beyond 900 bytes", longest, "d/" * 32_767, Fault.NAME_TOO_LONG),
        ("Z18", "32 deep", "/".join("d" * 32), "/".join("d" * 33), Fault.NAME_TOO_LONG),
        ("Z18", "device", "CONS", "CON", Fault.BAD_NAME),
        ("Z18", "device with an ending", "cons.txt", "con.txt", Fault.BAD_NAME),
        ("Z18", "numbered device", "COM10", "COM9", Fault.BAD_NAME),
        ("Z18", "dot at the end", "a.b", "a.", Fault.BAD_NAME),
        ("Z18", "space at the end", "a b", "a ", Fault.BAD_NAME),
        ("Z18", "dot at a folder's end", "a.b/c", "a./c", Fault.BAD_NAME),
    ]:
        yield Kind(case, name, _named(inside), _named(beyond), fault)


def _characters() -> Iterator[Kind]:
    """The last character before a range that is refused (or the first behind it), and the range's own."""
    for name, inside, beyond in [
        ("NUL", 0x30, 0x00), ("control", 0x20, 0x1F), ("DEL", 0x7E, 0x7F), ("C1 control", 0xA0, 0x9F),
        ("soft hyphen", 0xAE, 0xAD), ("zero width space", 0x200A, 0x200B), ("right-to-left mark", 0x2010, 0x200F),
        ("line separator", 0x2027, 0x2028), ("embedding", 0x2027, 0x202A), ("override", 0x202F, 0x202E),
        ("isolate", 0x2070, 0x2066), ("byte order mark", 0xFEFC, 0xFEFF), ("private use", 0xF900, 0xE000),
        ("tag", 0x1F600, 0xE0041),
    ]:  # fmt: skip
        yield Kind("Z3", name, _named(f"a{chr(inside)}b"), _named(f"a{chr(beyond)}b"), Fault.BAD_NAME)


def _types() -> Iterator[Kind]:
    plain = build(Item(external=mode(stat.S_IFREG)))
    yield Kind("Z4", "symbolic link", plain, build(Item(external=mode(stat.S_IFLNK))), Fault.SYMLINK)
    folder = build(Item(), Item(name=b"d/", content=b"", external=mode(stat.S_IFDIR)))
    link = build(Item(), Item(name=b"d/", content=b"", external=mode(stat.S_IFLNK)))
    yield Kind("Z4", "symbolic link to a folder", folder, link, Fault.SYMLINK)
    bits = build(Item(external=(stat.S_IFREG | 0o7777) << 16))  # set-uid and the like: no mode is kept at all
    for name, kind in [
        ("device", stat.S_IFCHR),
        ("disk", stat.S_IFBLK),
        ("pipe", stat.S_IFIFO),
        ("socket", stat.S_IFSOCK),
    ]:
        yield Kind("Z5", name, bits, build(Item(external=mode(kind))), Fault.SPECIAL_FILE)


def _sets_of_names() -> Iterator[Kind]:
    for case, name, inside, beyond, fault in [
        ("Z6", "the same twice", ("a", "b"), ("a", "a"), Fault.DUPLICATE),
        ("Z6", "the same by a dot slash", ("a", "./b"), ("a", "./a"), Fault.DUPLICATE),
        ("Z6", "a folder twice", ("a", "d/", "e/"), ("a", "d/", "d/"), Fault.DUPLICATE),
        ("Z7", "case", ("A", "b"), ("A", "a"), Fault.COLLISION),
        ("Z7", "case of a folder", ("D/a", "D/b"), ("D/a", "d/b"), Fault.COLLISION),
        ("Z7", "sharp s", ("straße", "STRASE"), ("straße", "STRASSE"), Fault.COLLISION),
        ("Z7", "Unicode form", ("\u00e9", "e"), ("\u00e9", "e\u0301"), Fault.COLLISION),
        ("Z7", "Unicode form behind case", ("\u0390", "\u03aa"), ("\u0390", "\u03aa\u0301"), Fault.COLLISION),
        ("Z7", "ligature", ("ﬁ", "ff"), ("ﬁ", "FI"), Fault.COLLISION),
        ("Z8", "file and folder", ("a", "ab/c", "a.b/c"), ("a", "ab/c", "a/b"), Fault.FILE_DIR_CONFLICT),
        ("Z8", "file and folder of other case", ("a", "B/c"), ("a", "A/c"), Fault.FILE_DIR_CONFLICT),
        ("Z8", "file and empty folder", ("a", "b/"), ("a", "a/"), Fault.FILE_DIR_CONFLICT),
        ("Z17", "no file", ("d/", "a"), ("d/", "e/"), Fault.EMPTY),
        ("Z17", "junk alone", ("__MACOSX/a", "a"), ("__MACOSX/a", "d/.DS_Store"), Fault.EMPTY),
    ]:
        yield Kind(case, name, _named(*inside), _named(*beyond), fault)
    yield Kind("Z17", "nothing", build(Item(content=b"")), build(), Fault.EMPTY)


def _overlaps() -> Iterator[Kind]:
    def reaching(bytes_more: int, *others: Item) -> bytes:
        sizes = {"csize": 5 + bytes_more, "size": 5 + bytes_more}
        return build(Item(local=sizes, central=sizes), *others)

    second = Item(name=b"b")
    yield Kind("Z10", "one byte of the next header", reaching(0, second), reaching(1, second), Fault.OVERLAP)
    yield Kind("Z10", "one byte of the directory", reaching(0), reaching(1), Fault.OVERLAP)
    yield Kind(
        "Z10",
        "a header one byte early",
        build(Item(), second),
        build(Item(), Item(name=b"b", central={"offset": 39})),
        Fault.OVERLAP,
    )
    own = build(*(Item(name=b"%d" % n, content=bytes(1_000_000), method=8) for n in range(2)))
    yield Kind("Z10", "two on one stream", own, overlapping(2), Fault.OVERLAP)
    yield Kind("Z10", "200 on one stream", own, overlapping(200), Fault.OVERLAP)
    yield Kind("Z10", "a header that is quoted", own, quoted_overlap(), Fault.OVERLAP)


def _zip64() -> Iterator[Kind]:
    def central(*values: int, **fields: Any) -> bytes:
        return build(Item(central={**fields, "extra": zip64(*values)}))

    both = {"size": U32, "csize": U32}
    fine = central(5, 5, 0, **both, offset=U32)
    yield Kind("Z12", "size", fine, central(6, 5, 0, **both, offset=U32), Fault.SIZE_MISMATCH)
    yield Kind("Z12", "compressed size", fine, central(5, 4, 0, **both, offset=U32), Fault.SIZE_MISMATCH)
    yield Kind("Z12", "both sizes", fine, central(6, 6, 0, **both, offset=U32), Fault.OVERLAP)
    yield Kind("Z12", "offset", fine, central(5, 5, 1, **both, offset=U32), Fault.STRAY_BYTES)
    yield Kind("Z12", "greatest size", fine, central(2**64 - 1, 5, 0, **both, offset=U32), Fault.TOO_LARGE)
    yield Kind(
        "Z12", "greatest compressed size", fine, central(5, 2**64 - 1, 0, **both, offset=U32), Fault.SIZE_MISMATCH
    )
    yield Kind("Z12", "greatest offset", fine, central(5, 5, 2**64 - 1, **both, offset=U32), Fault.TRUNCATED)
    yield Kind("Z12", "a value that is not needed", central(5, 5, 0), central(5, 6, 0), Fault.MALFORMED)
    short = build(Item(central={"size": U32, "extra": extra(1, zip64(5)[4:-1])}))
    yield Kind("Z12", "field of 8 bytes", central(5, size=U32), short, Fault.TRUNCATED)
    yield Kind(
        "Z12", "field that is missing", central(5, size=U32), build(Item(central={"size": U32})), Fault.MALFORMED
    )
    local = build(Item(local={**both, "extra": zip64(5, 5)}))
    yield Kind("Z12", "local size", local, build(Item(local={**both, "extra": zip64(6, 5)})), Fault.HEADER_MISMATCH)
    yield Kind(
        "Z12", "local compressed size", local, build(Item(local={**both, "extra": zip64(5, 6)})), Fault.HEADER_MISMATCH
    )
    marks = {"count": 0xFFFF, "here": 0xFFFF, "size": U32, "offset": U32}
    good = build(Item(), wide={}, **marks)  # its directory of 51 bytes lies at byte 40
    for name, wide, fault in [
        ("count", {"count": 2, "here": 2}, Fault.MALFORMED),
        ("count on this disk", {"here": 2}, Fault.MULTI_DISK),
        ("directory's size", {"size": 52}, Fault.MALFORMED),
        ("directory's offset", {"offset": 41}, Fault.MALFORMED),
        ("greatest count", {"count": 2**64 - 1, "here": 2**64 - 1}, Fault.TOO_MANY_MEMBERS),
        ("greatest size", {"size": 2**64 - 1}, Fault.MALFORMED),
        ("greatest offset", {"offset": 2**64 - 1}, Fault.MALFORMED),
        ("record's place", {"position": 92}, Fault.MALFORMED),
        ("record's length", {"length": 45}, Fault.MALFORMED),
        ("a byte behind the record", {"extensible": b"x"}, Fault.MALFORMED),
        ("disks", {"disks": 2}, Fault.MULTI_DISK),
    ]:
        yield Kind("Z12", f"end record: {name}", good, build(Item(), wide=wide, **marks), fault)
    for name, value in [("count", 2), ("size", 52), ("offset", 41)]:
        fields = {**marks, name: value, **({"here": value} if name == "count" else {})}
        yield Kind("Z12", f"both end records: {name}", good, build(Item(), wide={}, **fields), Fault.MALFORMED)


def _headers() -> Iterator[Kind]:
    one = build(Item(method=8))
    for name, local in [
        ("name", {"name": b"A.txt"}),
        ("CRC-32", {"crc": zlib.crc32(b"hello") ^ 1}),
        ("compressed size", {"csize": len(deflate(b"hello")) + 1}),
        ("size", {"size": 6}),
        ("method", {"method": 0}),
        ("flags", {"flags": 1 << 11}),
    ]:
        yield Kind("Z13", name, one, build(Item(method=8, local=local)), Fault.HEADER_MISMATCH)
    two = build(Item(), Item(name=b"b"))
    yield Kind(
        "Z13", "one record fewer than said", two, build(Item(), Item(name=b"b"), count=3, here=3), Fault.MALFORMED
    )
    yield Kind(
        "Z13", "one record more than said", two, build(Item(), Item(name=b"b"), count=1, here=1), Fault.MALFORMED
    )
    hidden = build(Item(after=build(Item(name=b"b"))[:36]))
    yield Kind("Z13", "a member that the directory has not", two, hidden, Fault.STRAY_BYTES)
    gone = build(Item(local={"signature": b"PK\x03\x05"}))
    yield Kind("Z13", "a member that only the directory has", one, gone, Fault.MALFORMED)
    for bit in (0, 6, 13):
        yield Kind(
            "Z16",
            f"encrypted, flag {bit}",
            build(Item(method=8, flags=1 << 1 | 1 << 2)),
            build(Item(method=8, flags=1 << bit)),
            Fault.ENCRYPTED,
        )
    for method in (1, 7, 9, 12, 14, 93, 98):
        yield Kind("Z16", f"method {method}", one, build(Item(method=method)), Fault.UNSUPPORTED_METHOD)
    yield Kind("Z16", "method 99", one, build(Item(method=99)), Fault.ENCRYPTED)
    once = build(Item(central={"extra": unicode_path(b"a.txt", "a.txt")}))
    for place in ("local", "central"):
        renamed = build(Item(**{place: {"extra": unicode_path(b"a.txt", "b.txt")}}))  # type: ignore[arg-type]
        yield Kind("Z22", f"second name, {place}", once, renamed, Fault.BAD_NAME)
    twice = build(Item(central={"extra": unicode_path(b"a.txt", "a.txt") * 2}))
    yield Kind("Z22", "second name twice", once, twice, Fault.MALFORMED)


def _contents() -> Iterator[Kind]:
    def saying(content: bytes, method: int, **fields: int) -> bytes:
        return build(Item(content=content, method=method, local=fields, central=fields))

    zeros = saying(bytes(500), 8)
    for size in (499, 501, 50_000_000):
        wrong = saying(bytes(500), 8, size=size)
        yield Kind("Z14", f"{size} of 500 bytes", zeros, wrong, Fault.SIZE_MISMATCH)
    yield Kind("Z9", "2 GiB of 500 bytes", zeros, saying(bytes(500), 8, size=2**31), Fault.BOMB)
    for method in (0, 8):
        wrong = saying(b"hello", method, crc=zlib.crc32(b"hello") ^ 1)
        yield Kind("Z15", f"one bit of the CRC-32, method {method}", saying(b"hello", method), wrong, Fault.BAD_CRC)


def _framing() -> Iterator[Kind]:
    for name, beyond, fault in [
        ("a byte before", b"x" + GOOD, Fault.STRAY_BYTES),
        ("a byte before, offsets right", build(Item(), HELLO, prefix=b"x"), Fault.STRAY_BYTES),
        ("a byte behind", GOOD + b"\0", Fault.STRAY_BYTES),
        ("a byte between members", build(Item(after=b"x"), HELLO), Fault.STRAY_BYTES),
        ("a byte before the directory", build(Item(), Item(name=b"b", after=b"x")), Fault.STRAY_BYTES),
        ("a byte behind the directory", build(Item(), HELLO, before_end=b"x"), Fault.MALFORMED),
        ("two archives", GOOD + GOOD, Fault.STRAY_BYTES),
        ("two archives, offsets right", build(Item(), HELLO, prefix=GOOD), Fault.STRAY_BYTES),
    ]:
        yield Kind("Z19", name, GOOD, beyond, fault)
    for name, inside_comment, comment in [
        ("end record in the comment", end_record()[1:], end_record()),
        ("its signature in the comment", b"..PK\5.", b"..PK\5\6"),
        ("its signature in a full comment", bytes(65_535), bytes(65_531) + b"PK\5\6"),
        ("archive in the comment", GOOD[:-22], GOOD),
    ]:
        yield Kind("Z19", name, build(Item(), comment=inside_comment), build(Item(), comment=comment), Fault.MALFORMED)
    tar = bytes(512) + bytes(1024)
    yield Kind("Z20", "tar before", GOOD, tar + GOOD, Fault.STRAY_BYTES)
    yield Kind("Z20", "tar behind", GOOD, GOOD + tar, Fault.STRAY_BYTES)
    yield Kind("Z20", "tar in an extra field", tar_as_well(off_by=1), tar_as_well(), Fault.MALFORMED)
    for eighth in range(8):
        fault = Fault.TRUNCATED if eighth else Fault.NOT_A_ZIP
        yield Kind("Z21", f"cut at {eighth}/8", GOOD, GOOD[: len(GOOD) * eighth // 8], fault)
    yield Kind("Z21", "cut by a byte", GOOD, GOOD[:-1], Fault.TRUNCATED)
    yield Kind("Z21", "text", GOOD, b"Hello, world! This is no archive.", Fault.NOT_A_ZIP)


def _descriptors() -> Iterator[Kind]:
    for signature in (True, False):
        for wide in (True, False):
            form = {"signature": signature, "wide": wide}
            good = build(streamed(Item(method=8), **form), HELLO)
            for name, value, fault in [
                ("crc", zlib.crc32(b"hello") ^ 1, Fault.BAD_CRC),
                ("csize", len(deflate(b"hello")) + 1, Fault.SIZE_MISMATCH),
                ("size", 6, Fault.SIZE_MISMATCH),
            ]:
                bad = build(streamed(Item(method=8), **form, **{name: value}), HELLO)
                told = f"{name}, {'with' if signature else 'no'} signature, {'64' if wide else '32'} bits"
                yield Kind("Z23", told, good, bad, fault)
    good = build(streamed(Item()), HELLO)
    yield Kind("Z23", "a byte short", good, _cut_descriptor(), Fault.SIZE_MISMATCH)
    yield Kind("Z23", "missing", good, build(Item(flags=8), HELLO), Fault.SIZE_MISMATCH)


def _cut_descriptor() -> bytes:
    item = streamed(Item(), signature=False)
    item.after = item.after[:-1]
    return build(item, HELLO)


def tar_as_well(*, off_by: int = 0) -> bytes:
    """A sound ZIP that `tar` reads too: its first 512 bytes are a tar's header. One that is `off_by` has a wrong sum."""
    at = 30 + len(b"a.txt") + 4  # where the extra field's data begins
    block = bytearray(build(Item(local={"extra": extra(0xD935, bytes(600))}))[:512])
    block[124:136], block[156:157], block[257:265] = b"00000000000\0", b"0", b"ustar\00000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % (sum(block) + off_by)
    return build(Item(local={"extra": extra(0xD935, bytes(block[at:]) + bytes(600 - 512 + at))}))


def nested(levels: int) -> bytes:
    """A ZIP in a ZIP in a ZIP."""
    data = GOOD
    for _ in range(levels):
        data = build(Item(name=b"inner.zip", content=data, method=8))
    return data


def empty_files(count: int) -> bytes:
    """An archive of so many members."""
    entries = [Entry(path=str(number), size=0, crc32=0) for number in range(count)]
    return b"".join(segment.data or b"" for segment in plan_archive(entries))


_ZEROS = 64 * 2**20  # what one stretch of a bomb's stream inflates to


def _zeros_stretch() -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(bytes(_ZEROS)) + compressor.flush(zlib.Z_FULL_FLUSH)  # can be put behind itself


def bomb_member(size: int, *, name: bytes = b"0", declared: int | None = None) -> Item:
    """Zeros, `size` bytes of them (so many times 64 MiB), deflated as far as DEFLATE goes, to a thousandth. Honest in
    every field, but for the size that is `declared`."""
    stretches, rest = divmod(size, _ZEROS)
    assert not rest
    payload = _zeros_stretch() * stretches + b"\x03\x00"
    one, whole = zlib.crc32(bytes(_ZEROS)), 0
    for _ in range(stretches):
        whole = crc32_combine(whole, one, _ZEROS)
    wide = zip64(size if declared is None else declared, len(payload))
    fields = {"crc": whole, "size": U32, "csize": U32, "extra": wide}
    return Item(name=name, content=b"", method=8, payload=payload, local=fields, central=fields)


def bomb(size: int, *, members: int = 1, declared: int | None = None) -> bytes:
    """An archive of such members, of `size` together."""
    first = bomb_member(size // members, declared=declared)
    return build(*(replace(first, name=b"%d.bin" % n) for n in range(members)))
