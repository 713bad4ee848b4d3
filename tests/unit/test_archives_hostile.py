# ruff: noqa: E501 - the tables have one case a line
"""Archives made to deceive: each is refused, with the code of its class, before anything could be written."""

import stat
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry.archives import Entry, Fault, Limits, MemberDecoder, plan_archive, read_archive
from registry.errors import ArchiveError

from tests.unit.zip_builder import (
    U32,
    CountingReader,
    Item,
    build,
    deflate,
    end_record,
    extra,
    streamed,
    unicode_path,
    unpack,
    zip64,
)

HELLO = Item(name=b"hello.txt", content=b"hello, world\n" * 5, method=8)
GOOD = build(Item(), HELLO)
ONE = build(Item())  # its central directory begins at byte 40
STREAM = deflate(bytes(1_000_000))
BIG = 2**33


def mode(kind: int) -> int:
    return (kind | 0o644) << 16


def overlapping(count: int) -> bytes:
    """Z10: many central records on one local header and one stream."""
    first = Item(name=b"0", content=bytes(1_000_000), method=8)
    others = [
        Item(name=b"%d" % n, content=bytes(1_000_000), method=8, payload=STREAM, central={"offset": 0})
        for n in range(1, count)
    ]
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
    "Z1 dot dot": (build(Item(name=b"../e")), Fault.TRAVERSAL),
    "Z1 dot dot inside": (build(Item(name=b"a/../../e")), Fault.TRAVERSAL),
    "Z1 backslash": (build(Item(name=b"..\\e")), Fault.TRAVERSAL),
    "Z1 folder": (build(Item(), Item(name=b"../", content=b"")), Fault.TRAVERSAL),
    "Z2 absolute": (build(Item(name=b"/etc/x")), Fault.ABSOLUTE_PATH),
    "Z2 share": (build(Item(name=b"//h/s")), Fault.ABSOLUTE_PATH),
    "Z2 drive": (build(Item(name=b"C:\\x")), Fault.ABSOLUTE_PATH),
    "Z2 behind dot slash": (build(Item(name=b".//x")), Fault.ABSOLUTE_PATH),
    "Z3 NUL": (build(Item(name=b"a\0b")), Fault.BAD_NAME),
    "Z3 bidi": (build(Item(name="a\u202eb".encode(), flags=1 << 11)), Fault.BAD_NAME),
    "Z3 not UTF-8": (build(Item(name=b"\xff", flags=1 << 11)), Fault.BAD_NAME),
    "Z3 surrogate": (build(Item(name=b"\xed\xa0\x80", flags=1 << 11)), Fault.BAD_NAME),
    "empty name": (build(Item(name=b"")), Fault.BAD_NAME),
    "only a slash": (build(Item(), Item(name=b"/", content=b"")), Fault.BAD_NAME),
    "two dot slashes": (build(Item(name=b"././a")), Fault.BAD_NAME),
    "junk does not excuse a name": (build(Item(), Item(name=b"__MACOSX/../a")), Fault.TRAVERSAL),
    # Z4, Z5: kinds
    "Z4 symlink": (build(Item(external=mode(stat.S_IFLNK))), Fault.SYMLINK),
    "Z5 device": (build(Item(external=mode(stat.S_IFCHR))), Fault.SPECIAL_FILE),
    "Z5 block device": (build(Item(external=mode(stat.S_IFBLK))), Fault.SPECIAL_FILE),
    "Z5 fifo": (build(Item(external=mode(stat.S_IFIFO))), Fault.SPECIAL_FILE),
    "Z5 socket": (build(Item(external=mode(stat.S_IFSOCK))), Fault.SPECIAL_FILE),
    "folder by mode, file by name": (build(Item(external=mode(stat.S_IFDIR))), Fault.MALFORMED),
    "folder by DOS attribute, file by name": (build(Item(external=0x10)), Fault.MALFORMED),
    "folder with content": (build(Item(), Item(name=b"d/")), Fault.MALFORMED),
    "folder with hidden data": (build(Item(), Item(name=b"d/", content=b"", method=8, payload=b"\3\0\0")), Fault.MALFORMED),
    "folder with stored data": (build(Item(), Item(name=b"d/", content=b"", payload=b"\3\0")), Fault.SIZE_MISMATCH),
    # Z6-Z8: sets of names
    "Z6 duplicate": (build(Item(), Item()), Fault.DUPLICATE),
    "Z6 duplicate by dot slash": (build(Item(), Item(name=b"./a.txt")), Fault.DUPLICATE),
    "Z6 duplicate folder": (build(Item(), Item(name=b"d/", content=b""), Item(name=b"d/", content=b"")), Fault.DUPLICATE),
    "Z7 case": (build(Item(name=b"A"), Item(name=b"a")), Fault.COLLISION),
    "Z7 case of a folder": (build(Item(name=b"D/1"), Item(name=b"d/2")), Fault.COLLISION),
    "Z7 Unicode form": (build(Item(name="é".encode()), Item(name="e\u0301".encode())), Fault.COLLISION),
    "Z7 two encodings of one name": (build(Item(name="é".encode()), Item(name="é".encode("cp437"))), Fault.DUPLICATE),
    "Z8 file and folder": (build(Item(name=b"a"), Item(name=b"a/b")), Fault.FILE_DIR_CONFLICT),
    "Z8 file and folder record": (build(Item(name=b"a"), Item(name=b"a/", content=b"")), Fault.FILE_DIR_CONFLICT),
    # Z9: bombs
    "Z9 bomb": (build(Item(content=b"", method=8, payload=STREAM, local={"size": 2**31}, central={"size": 2**31})), Fault.BOMB),
    "Z9 bomb in ZIP64": (
        build(Item(method=8, payload=STREAM, local={"size": U32, "extra": zip64(2**41)}, central={"size": U32, "extra": zip64(2**41)})),
        Fault.BOMB,
    ),
    "no DEFLATE stream at all": (build(Item(content=b"", method=8, payload=b"")), Fault.BAD_DEFLATE),
    # Z10: overlaps
    "Z10 shared stream": (overlapping(200), Fault.OVERLAP),
    "Z10 shared stream, within the size": (build(Item(), Item(name=b"b", content=b"", central={"offset": 0})), Fault.OVERLAP),
    "Z10 quoted overlap": (quoted_overlap(), Fault.OVERLAP),
    "data into the directory": (build(Item(local={"csize": 9, "size": 9}, central={"csize": 9, "size": 9})), Fault.OVERLAP),
    "data into the next member": (
        build(Item(local={"csize": 9, "size": 9}, central={"csize": 9, "size": 9}), Item(name=b"b")),
        Fault.OVERLAP,
    ),
    # Z12: ZIP64 lies
    "Z12 field missing": (build(Item(central={"size": U32})), Fault.MALFORMED),
    "Z12 local field missing": (build(Item(local={"size": U32})), Fault.MALFORMED),
    "Z12 field too short": (build(Item(central={"size": U32, "csize": U32, "extra": zip64(5)})), Fault.TRUNCATED),
    "Z12 field too long": (build(Item(central={"size": U32, "extra": zip64(5, 5, 0, 0)})), Fault.MALFORMED),
    "Z12 field of odd length": (build(Item(central={"extra": extra(1, b"12345")})), Fault.MALFORMED),
    "Z12 field twice": (build(Item(central={"size": U32, "extra": zip64(5) * 2})), Fault.MALFORMED),
    "Z12 field contradicts": (build(Item(central={"extra": zip64(5, 6, 0)})), Fault.MALFORMED),
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
    "Z13 no local header": (build(Item(local={"signature": b"PK\x03\x05"})), Fault.MALFORMED),
    "Z13 entry not in the directory": (build(Item(after=build(Item(name=b"b"))[: 30 + 1 + 5])), Fault.STRAY_BYTES),
    "Z13 directory lacks its last": (build(Item(), Item(name=b"b"), count=1, here=1), Fault.MALFORMED),
    "Z13 directory has fewer than said": (build(Item(), count=2, here=2), Fault.MALFORMED),
    # Z15, Z16
    "Z16 encrypted": (build(Item(flags=1)), Fault.ENCRYPTED),
    "Z16 strong encryption": (build(Item(flags=1 << 6 | 1)), Fault.ENCRYPTED),
    "Z16 masked header": (build(Item(flags=1 << 13)), Fault.ENCRYPTED),
    "Z16 AES": (build(Item(method=99)), Fault.ENCRYPTED),
    "Z16 AES by field": (build(Item(central={"extra": extra(0x9901, b"1234567")})), Fault.ENCRYPTED),
    "Z16 patch": (build(Item(flags=1 << 5)), Fault.UNSUPPORTED_METHOD),
    **{f"Z16 method {n}": (build(Item(method=n)), Fault.UNSUPPORTED_METHOD) for n in (1, 6, 7, 9, 12, 14, 93, 95)},
    # Z17
    "Z17 nothing": (build(), Fault.EMPTY),
    "Z17 only a folder": (build(Item(name=b"d/", content=b"")), Fault.EMPTY),
    "Z17 only junk": (build(Item(name=b"__MACOSX/._a")), Fault.EMPTY),
    "Z17 only the folder itself": (build(Item(name=b"./", content=b"")), Fault.EMPTY),
    # Z19, Z20: framing
    "Z19 prefix": (b"#!/bin/sh\n" + GOOD, Fault.STRAY_BYTES),
    "Z19 prefix with right offsets": (build(Item(), prefix=b"MZ"), Fault.STRAY_BYTES),
    "Z19 prefix of 4 bytes": (build(Item(), prefix=b"PK00"), Fault.STRAY_BYTES),
    "Z19 suffix": (build(Item(), suffix=b"x"), Fault.STRAY_BYTES),
    "Z19 two archives": (GOOD + build(Item(name=b"b")), Fault.STRAY_BYTES),
    "Z19 between directory and end": (build(Item(), before_end=b"x"), Fault.MALFORMED),
    "Z19 between members": (build(Item(after=b"x"), Item(name=b"b")), Fault.STRAY_BYTES),
    "Z19 before the directory": (build(Item(after=b"APK Sig Block 42")), Fault.STRAY_BYTES),
    "Z19 end record in the comment": (build(Item(), comment=end_record()), Fault.MALFORMED),
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
    "Z21 nothing": (b"", Fault.NOT_A_ZIP),
    "Z21 one byte": (b"P", Fault.NOT_A_ZIP),
    "Z21 text": (b"Hello, world! This is no archive.", Fault.NOT_A_ZIP),
    "Z21 gzip": (b"\x1f\x8b" + bytes(100), Fault.NOT_A_ZIP),
    "Z21 first half": (GOOD[: len(GOOD) // 2], Fault.TRUNCATED),
    "Z21 second half": (GOOD[len(GOOD) // 2 :], Fault.MALFORMED),
    # Z22: a second name
    "Z22 Unicode path renames": (build(Item(central={"extra": unicode_path(b"a.txt", "b.txt")})), Fault.BAD_NAME),
    "Z22 in the local header": (build(Item(local={"extra": unicode_path(b"a.txt", "b.txt")})), Fault.BAD_NAME),
    "Z22 twice": (build(Item(central={"extra": unicode_path(b"a.txt", "a.txt") * 2})), Fault.MALFORMED),
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


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_structure_is_refused_before_any_content_is_decoded(name: str) -> None:
    data, fault = CASES[name]
    with pytest.raises(ArchiveError) as refused:
        read_archive(CountingReader(data))
    assert refused.value.code == f"archive_{fault}"
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 500


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


@pytest.mark.parametrize("name", CONTENT_CASES)
def test_hostile_content_is_refused_while_it_is_decoded(name: str) -> None:
    data, fault = CONTENT_CASES[name]
    read_archive(CountingReader(data))
    with pytest.raises(ArchiveError) as refused:
        unpack(data)
    assert refused.value.code == f"archive_{fault}"


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


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_real_writers_make_is_accepted(name: str) -> None:
    data, paths = ACCEPTED[name]
    assert list(unpack(data)) == paths


def test_junk_is_left_out_and_named() -> None:
    data, _ = ACCEPTED["junk"]
    archive = read_archive(CountingReader(data))
    assert archive.skipped == ("__MACOSX/._a", "d/.DS_Store", "Thumbs.db")
    assert [(member.index, member.path) for member in archive.members] == [(0, "a.txt")]
    assert archive.total_size == 5


def test_the_directorys_order_is_kept_where_the_files_order_differs() -> None:
    whole = build(Item(name=b"2"), Item(name=b"1"))
    other = build(Item(name=b"1", central={"offset": 36}), Item(name=b"2", central={"offset": 0}))
    start = struct.unpack("<I", whole[-6:-2])[0]
    data = whole[:start] + other[start:]
    archive = read_archive(CountingReader(data))
    assert [(m.index, m.path, m.header_offset) for m in archive.members] == [(0, "1", 36), (1, "2", 0)]


# Both ends of every limit: (limits, the archive that just passes, the one that does not, its fault)
LIMITS = {
    "members": (
        Limits(max_members=3),
        build(Item(), Item(name=b"b"), Item(name=b"d/", content=b"")),
        build(Item(), Item(name=b"b"), Item(name=b"c"), Item(name=b"d/", content=b"")),
        Fault.TOO_MANY_MEMBERS,
    ),
    "directory": (
        Limits(max_directory_bytes=100),
        build(Item(central={"comment": bytes(49)})),
        build(Item(central={"comment": bytes(50)})),
        Fault.TOO_LARGE,
    ),
    "member": (Limits(max_member_bytes=5), build(Item(content=b"12345")), build(Item(content=b"123456")), Fault.TOO_LARGE),
    "total": (
        Limits(max_total_bytes=10),
        build(Item(), Item(name=b"b")),
        build(Item(), Item(name=b"b"), Item(name=b"c", content=b"1")),
        Fault.TOO_LARGE,
    ),
    "path": (
        Limits(),
        build(Item(name=b"/".join([b"d" * 224] * 4) + b"e")),
        build(Item(name=b"/".join([b"d" * 224] * 4) + b"ef")),
        Fault.NAME_TOO_LONG,
    ),
    "segment": (Limits(), build(Item(name=b"d" * 255)), build(Item(name=b"d" * 256)), Fault.NAME_TOO_LONG),
    "depth": (Limits(), build(Item(name=b"/".join([b"d"] * 32))), build(Item(name=b"/".join([b"d"] * 33))), Fault.NAME_TOO_LONG),
    "ratio": (
        Limits(),
        build(Item(method=8, payload=b"12", local={"size": 2064}, central={"size": 2064})),
        build(Item(method=8, payload=b"12", local={"size": 2065}, central={"size": 2065})),
        Fault.SIZE_MISMATCH,
    ),
    "bomb": (
        Limits(),
        build(Item(method=8, payload=bytes(70_000), local={"size": 70_000 * 1032}, central={"size": 70_000 * 1032})),
        build(Item(method=8, payload=bytes(70_000), local={"size": 70_000 * 1032 + 1}, central={"size": 70_000 * 1032 + 1})),
        Fault.BOMB,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_still_allowed_and_one_more_is_not(name: str) -> None:
    limits, passes, fails, fault = LIMITS[name]
    assert read_archive(CountingReader(passes), limits=limits).members
    with pytest.raises(ArchiveError) as refused:
        read_archive(CountingReader(fails), limits=limits)
    assert refused.value.code == f"archive_{fault}"


def empty_files(count: int) -> bytes:
    entries = [Entry(path=str(number), size=0, crc32=0) for number in range(count)]
    return b"".join(segment.data or b"" for segment in plan_archive(entries))


def test_the_default_number_of_members_is_allowed_and_one_more_is_not() -> None:
    assert len(read_archive(CountingReader(empty_files(50_000))).members) == 50_000
    with pytest.raises(ArchiveError) as refused:
        read_archive(CountingReader(empty_files(50_001)))
    assert refused.value.code == "archive_too_many_members"


@pytest.mark.parametrize("data", [GOOD, ACCEPTED["descriptor, 16 bytes"][0], ACCEPTED["ZIP64 end records"][0]])
def test_an_archive_cut_anywhere_is_refused(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(ArchiveError):
            unpack(data[:length])
        with pytest.raises(ArchiveError):
            unpack(data[length + 1 :])


def test_folders_are_dropped_on_request() -> None:
    data = build(Item(name=b"x/a"), Item(name=b"x/y/b"), Item(name=b"x/", content=b""), Item(name=b"c"))
    archive = read_archive(CountingReader(data), preserve_structure=False)
    assert [member.path for member in archive.members] == ["a", "b", "c"]


@pytest.mark.parametrize("names", [(b"x/a", b"y/a"), (b"x/a", b"a"), (b"x/a", b"y/A")])
def test_files_that_meet_without_their_folders_are_refused(names: tuple[bytes, bytes]) -> None:
    data = build(*(Item(name=name) for name in names))
    assert len(read_archive(CountingReader(data)).members) == 2
    with pytest.raises(ArchiveError, match="Without their folders") as refused:
        read_archive(CountingReader(data), preserve_structure=False)
    assert refused.value.code == "archive_collision"


def test_folders_that_are_dropped_are_checked_all_the_same() -> None:
    with pytest.raises(ArchiveError) as refused:
        read_archive(CountingReader(build(Item(name=b"../a"))), preserve_structure=False)
    assert refused.value.code == "archive_traversal"


def test_every_code_is_met_by_some_case() -> None:
    met = {fault for _, fault in [*CASES.values(), *CONTENT_CASES.values()]} | {row[3] for row in LIMITS.values()}
    assert met == set(Fault)
    assert all(fault.meaning.endswith(".") for fault in Fault)


SEEDS = [
    build(
        Item(name=b"d/", content=b"", external=mode(stat.S_IFDIR)),
        Item(name=b"d/a.txt", content=b"some text, some text\n" * 9, method=8),
        streamed(Item(name="ü".encode(), flags=1 << 11, content=bytes(range(256)), method=8)),
        Item(name=b"raw", local={"size": U32, "csize": U32, "extra": zip64(5, 5)}),
        comment=b"hi",
    ),
    build(
        Item(central={"size": U32, "csize": U32, "offset": U32, "extra": zip64(5, 5, 0)}), HELLO, wide={}, offset=U32
    ),
]


@settings(max_examples=800, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_damaged_archive_is_refused_or_its_content_still_matches(seed: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(seed)
    for position, value in changes:
        damaged[position % len(seed)] = value
    try:
        files = unpack(bytes(damaged))  # checks size, CRC-32 and SHA-256 of every member itself
    except ArchiveError as refused:
        assert refused.code.removeprefix("archive_") in set(Fault)
        assert refused.detail.isprintable()
    else:
        assert files


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_data_in_place_of_a_deflate_stream_is_refused_or_right(data: bytes) -> None:
    archive = read_archive(CountingReader(build(Item(method=8, payload=b"ab" + data, content=b""))))
    decoder = MemberDecoder(archive.members[0])
    try:
        content = b"".join(decoder.feed(b"ab" + data))
        decoder.finish()
    except ArchiveError:
        return
    assert content == zlib.decompress(b"ab" + data, -15) == b""
