"""What `registry.storage` promises, on every store that it is tested on; and what each store is known to lack."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from botocore.exceptions import ClientError
from registry import settings
from registry.errors import UnavailableError
from registry.storage import copying, multiparts, objects, presigning, writing
from registry.storage import parts as parts_module
from registry.storage.client import (
    ChecksumError,
    MultipartMissingError,
    ObjectChangedError,
    ObjectMissingError,
    base64_of_crc,
    base64_of_hex,
    bucket,
    hex_of_base64,
    s3,
)
from registry.storage.multiparts import StoredPart
from registry.storage.objects import StoredObject
from registry.storage.writing import ObjectWriter

MIB = 1024 * 1024
KEYS = [
    "a b.bin",
    "plus+and%percent.bin",
    "%2F%20.bin",
    "ümläut/ﬁ/模型.bin",
    "a&b=c?d#e.bin",
    "~v1/!$'()*,;:@.bin",
]

# What a store does otherwise, and why no promise of ours hangs on it.
DIGEST_METHOD = {
    "moto": "copy",  # its UploadPartCopy tells no checksum, its CopyObject does
    "seaweedfs": "part_copy",  # it tells a copied part's SHA-256, and no copy's
    "minio": "copy",  # it tells a copy's, and no copied part's
}
CHECKS_DIGEST_OF_PUT = {
    "moto": False,  # it records whatever checksum it is sent
    "seaweedfs": True,  # 400 BadDigest
    "minio": True,  # 400 XAmzContentChecksumMismatch
}
LISTS_DIGESTS = {"moto": False, "seaweedfs": False, "minio": True}  # AWS does
# Which multiparts are open, by a prefix that is no whole key. Those of the inbox are aborted by name; those that a
# worker of ours left below models/ when it died are thrown away by MinIO itself, after 24 hours.
LISTS_BELOW_A_PREFIX = {"moto": True, "seaweedfs": True, "minio": False}
CHECKS_ETAG_OF_COPY_SOURCE = {
    "moto": False,  # it ignores CopySourceIfMatch: there is nothing to test there
    "seaweedfs": True,
    "minio": True,
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(key: str, data: bytes) -> StoredObject:
    return StoredObject(key, len(data), objects.put_object(key, data))


def open_multiparts(prefix: str) -> list[str]:
    found = s3().list_multipart_uploads(Bucket=bucket(), Prefix=prefix).get("Uploads", [])
    return [each["Key"] for each in found if each["Key"].startswith(prefix)]


# -- objects ----------------------------------------------------------------------------------------------------------


def test_object_is_what_was_put(store: str, prefix: str) -> None:
    for size in (0, 1, 100_000):
        data = os.urandom(size)
        etag = objects.put_object(f"{prefix}a", data)
        assert etag and '"' not in etag
        assert objects.find_object(f"{prefix}a") == StoredObject(f"{prefix}a", size, etag)
        assert list(objects.list_objects(prefix)) == [StoredObject(f"{prefix}a", size, etag)]
        assert objects.read_range(f"{prefix}a", 0, size, etag=etag) == data
        head = s3().head_object(Bucket=bucket(), Key=f"{prefix}a")
        assert head["ContentType"] == "application/octet-stream"


def test_wrong_digest_is_refused_and_the_old_object_stays(store: str, prefix: str) -> None:
    before = put(f"{prefix}a", b"old")
    if not CHECKS_DIGEST_OF_PUT[store]:
        objects.put_object(f"{prefix}a", b"new", sha256=sha256(b"other"))
        return
    with pytest.raises(ClientError) as caught:
        objects.put_object(f"{prefix}a", b"new", sha256=sha256(b"other"))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert objects.find_object(f"{prefix}a") == before
    with pytest.raises(ClientError):
        objects.put_object(f"{prefix}b", b"new", sha256=sha256(b"other"))
    assert objects.find_object(f"{prefix}b") is None


def test_missing_object(store: str, prefix: str) -> None:
    assert objects.find_object(f"{prefix}none") is None
    with pytest.raises(ObjectMissingError):
        objects.read_range(f"{prefix}none", 0, 1)
    with pytest.raises(ObjectMissingError):
        objects.read_range(f"{prefix}none", 0, 1, etag="0" * 32)
    objects.delete_object(f"{prefix}none")
    assert list(objects.list_objects(prefix)) == []


def test_ranges(store: str, prefix: str) -> None:
    data = os.urandom(3 * MIB)
    found = put(f"{prefix}a", data)
    for offset, length in [(0, 1), (5, 10), (0, 3 * MIB), (3 * MIB - 1, 1), (MIB - 1, MIB + 2)]:
        assert objects.read_range(found.key, offset, length) == data[offset : offset + length]
        chunks = list(objects.stream_range(found.key, offset, length, etag=found.etag))
        assert b"".join(chunks) == data[offset : offset + length]
        assert all(len(chunk) <= MIB for chunk in chunks)


def test_no_bytes_need_no_object(store: str, prefix: str) -> None:
    assert objects.read_range(f"{prefix}none", 0, 0) == b""
    assert list(objects.stream_range(f"{prefix}none", 0, 0)) == []


@pytest.mark.case("U8")
def test_reading_is_pinned_to_the_etag(store: str, prefix: str) -> None:
    first = put(f"{prefix}a", b"first")
    put(f"{prefix}a", b"other")
    with pytest.raises(ObjectChangedError):
        objects.read_range(first.key, 0, 5, etag=first.etag)
    with pytest.raises(ObjectChangedError):
        list(objects.stream_range(first.key, 1, 2, etag=first.etag))
    objects.delete_object(first.key)
    with pytest.raises(ObjectMissingError):
        objects.read_range(first.key, 0, 5, etag=first.etag)


@pytest.mark.case("U22")
def test_stream_goes_on_where_the_connection_broke(store: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(2 * MIB + 5)
    found = put(f"{prefix}a", data)
    opened: list[tuple[int, int]] = []
    original = objects._open

    def breaking(key: str, offset: int, length: int, etag: str | None) -> Any:
        opened.append((offset, length))
        for chunk in original(key, offset, length, etag):
            yield chunk
            if len(opened) < 3:
                raise ConnectionResetError("cut")

    monkeypatch.setattr(objects, "_open", breaking)
    assert b"".join(objects.stream_range(found.key, 0, len(data), etag=found.etag)) == data
    assert len(opened) == 3


def test_any_key(store: str, prefix: str) -> None:
    """Written, listed, read, copied, written in parts and deleted under the very name."""
    for name in KEYS:
        key = prefix + name
        etag = objects.put_object(key, b"bytes")
        assert objects.find_object(key) == StoredObject(key, 5, etag)
        assert [entry.key for entry in objects.list_objects(prefix)] == [key]
        assert objects.read_range(key, 1, 3, etag=etag) == b"yte"
        assert copying.copy_hashed(StoredObject(key, 5, etag), f"{key}-hashed").sha256 == sha256(b"bytes")
        copying.copy_hashed(StoredObject(key, 5, etag), f"{key}-again")
        assert objects.read_range(f"{key}-again", 0, 5) == b"bytes"
        multipart = multiparts.create_multipart(f"{key}-parts")
        assert open_multiparts(prefix) == ([f"{key}-parts"] if LISTS_BELOW_A_PREFIX[store] else [])
        multiparts.abort_multipart(f"{key}-parts", multipart)
        assert objects.delete_objects([key, f"{key}-hashed"]) == 2
        assert [entry.key for entry in objects.list_objects(prefix)] == [f"{key}-again"]
        assert objects.delete_prefix(prefix)
        assert list(objects.list_objects(prefix)) == []


def test_lists_and_deletes_more_than_one_page(store: str, prefix: str, user_id: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    keys = [f"{prefix}v1/{number:05d}" for number in range(1_205)]
    neighbour = f"models/{user_id}/v10/a"
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: objects.put_object(key, b"x"), [*keys, neighbour]))
    assert [entry.key for entry in objects.list_objects(f"{prefix}v1/")] == keys
    assert objects.delete_objects([*keys[:3], "models/none/none"]) == 4
    assert not objects.delete_prefix(f"{prefix}v1/", until=lambda: True), "the time was over before"
    assert len(list(objects.list_objects(f"{prefix}v1/"))) == 1_202
    assert objects.delete_prefix(f"{prefix}v1/")
    assert [entry.key for entry in objects.list_objects(prefix)] == [neighbour]
    assert objects.delete_prefix(f"{prefix}v1/")
    assert objects.delete_objects([]) == 0


def test_prefix_that_says_too_little_is_not_deleted(store: str) -> None:
    for bad in ("", "/", "models/", "models", "models/user/model/v1", "x/"):
        with pytest.raises(ValueError, match="refusing"):
            objects.delete_prefix(bad)


@pytest.mark.case("U18")
def test_object_that_the_store_keeps_is_an_error(store: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3(), "delete_objects", lambda **_: {"Errors": [{"Key": "k", "Code": "AccessDenied"}]})
    with pytest.raises(RuntimeError, match="AccessDenied"):
        objects.delete_objects([f"{prefix}a"])


# -- writing ----------------------------------------------------------------------------------------------------------

_PART = 8 * MIB


@pytest.mark.parametrize("size", [0, 1, 100_000, _PART - 1, _PART, _PART + 1, 2 * _PART, 2 * _PART + 77])
def test_writer(store: str, prefix: str, size: int) -> None:
    chunk = 3 * MIB + 1 if size % 2 else MIB
    data = os.urandom(size)
    with ObjectWriter(f"{prefix}a", size) as writer:
        for start in range(0, size, chunk):
            writer.write(data[start : start + chunk])
        etag = writer.finish()
    found = objects.find_object(f"{prefix}a")
    assert found == StoredObject(f"{prefix}a", size, etag)
    assert sha256(objects.read_range(f"{prefix}a", 0, size, etag=etag)) == sha256(data)
    assert open_multiparts(prefix) == []
    head = s3().head_object(Bucket=bucket(), Key=f"{prefix}a")
    assert head["ContentType"] == "application/octet-stream"


@pytest.mark.parametrize("size", [10, _PART, 3 * _PART])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_writer_that_fails_leaves_nothing(store: str, prefix: str, size: int, error: type[BaseException]) -> None:
    with pytest.raises(error), ObjectWriter(f"{prefix}a", 4 * _PART) as writer:
        writer.write(bytes(size))
        raise error
    assert objects.find_object(f"{prefix}a") is None
    assert open_multiparts(prefix) == []


def test_writer_that_is_not_finished_writes_nothing(store: str, prefix: str) -> None:
    """Left without `finish`, and without an error."""
    with ObjectWriter(f"{prefix}a", 3 * _PART) as writer:
        writer.write(bytes(2 * _PART))
    assert objects.find_object(f"{prefix}a") is None
    assert open_multiparts(prefix) == []


def test_writers_share_their_room(store: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many write at once, no more than that is on its way."""
    room = writing.Room(2 * _PART)
    monkeypatch.setattr(writing, "_ROOM", room)
    put, most, lock = writing.put_part, [0, 0], threading.Lock()

    def counted(*arguments: Any) -> Any:
        with lock:
            most[0] += 1
            most[1] = max(most)
        try:
            return put(*arguments)
        finally:
            with lock:
                most[0] -= 1

    monkeypatch.setattr(writing, "put_part", counted)

    def write(number: int) -> None:
        with ObjectWriter(f"{prefix}{number}", 4 * _PART) as writer:
            for _ in range(4):
                writer.write(bytes(_PART))
            writer.finish()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    assert {each.size for each in objects.list_objects(prefix)} == {4 * _PART}
    assert 1 <= most[1] <= 2
    room.enter(2 * _PART)


def test_writer_whose_part_is_refused_leaves_nothing(store: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "SlowDown"}}, "UploadPart")

    monkeypatch.setattr(s3(), "upload_part", refuse)
    monkeypatch.setattr(writing, "_ROOM", room := writing.Room(_PART))
    with pytest.raises(ClientError), ObjectWriter(f"{prefix}a", 3 * _PART) as writer:
        writer.write(bytes(3 * _PART))
        writer.finish()
    room.enter(_PART)  # what failed, or was never sent, takes none of the others' room
    assert objects.find_object(f"{prefix}a") is None
    assert open_multiparts(prefix) == []


# -- copying ----------------------------------------------------------------------------------------------------------

SIZES = [0, 1, 100_000, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 12 * MIB]


def test_digest_method(store: str, prefix: str) -> None:
    assert copying.digest_method() == DIGEST_METHOD[store]
    assert list(objects.list_objects("modelkeep/uploads/_probe/")) == []
    assert open_multiparts("modelkeep/uploads/_probe/") == []


def test_copy_tells_the_digest(store: str, prefix: str) -> None:
    for size in SIZES:
        data = os.urandom(size)
        copied = copying.copy_hashed(put(f"{prefix}a", data), f"{prefix}b")
        assert copied.sha256 == sha256(data)
        assert objects.find_object(f"{prefix}b") == StoredObject(f"{prefix}b", size, copied.etag)
        assert objects.read_range(f"{prefix}b", 0, size, etag=copied.etag) == data
        assert open_multiparts(prefix) == []


@pytest.mark.case("U7")
def test_copy_of_what_came_in_parts(store: str, prefix: str) -> None:
    """the store's own checksum of such an object is one of checksums, not of its bytes."""
    data = os.urandom(11 * MIB)
    multipart = multiparts.create_multipart(f"{prefix}a", checksum="SHA256")
    parts = [put_part(f"{prefix}a", multipart, i + 1, data[i * 6 * MIB : (i + 1) * 6 * MIB]) for i in range(2)]
    etag = multiparts.complete_multipart(f"{prefix}a", multipart, parts)
    source = StoredObject(f"{prefix}a", len(data), etag)
    assert copying.copy_hashed(source, f"{prefix}b").sha256 == sha256(data)
    assert copying.digest_of(source) == sha256(data)
    assert copying.hash_object(source)[0] == sha256(data)


def test_digest_without_a_copy(store: str, prefix: str) -> None:
    for size in SIZES:
        data = os.urandom(size)
        source = put(f"{prefix}a", data)
        assert copying.digest_of(source) == sha256(data)
        assert [entry.key for entry in objects.list_objects(prefix)] == [source.key]
        assert open_multiparts(prefix) == []


@pytest.mark.case("U8")
@pytest.mark.parametrize("size", [10, 5 * MIB, 6 * MIB])
def test_copy_is_pinned_to_the_etag(store: str, prefix: str, size: int) -> None:
    if not CHECKS_ETAG_OF_COPY_SOURCE[store] and size >= copying.SMALL_BYTES:
        pytest.skip("this store ignores CopySourceIfMatch")
    source = put(f"{prefix}a", b"a" * size)
    put(f"{prefix}a", b"b" * size)
    with pytest.raises(ObjectChangedError):
        copying.copy_hashed(source, f"{prefix}copy")
    objects.delete_object(source.key)
    with pytest.raises(ObjectMissingError):
        copying.copy_hashed(source, f"{prefix}copy")
    assert list(objects.list_objects(prefix)) == []
    assert open_multiparts(prefix) == []


def test_digest_is_pinned_to_the_etag(store: str, prefix: str) -> None:
    source = put(f"{prefix}a", b"a" * 6 * MIB)
    put(f"{prefix}a", b"b" * 6 * MIB)
    with pytest.raises(ObjectChangedError):
        copying.digest_of(source)
    objects.delete_object(source.key)
    with pytest.raises(ObjectMissingError):
        copying.digest_of(source)
    assert open_multiparts(prefix) == []


def test_copy_takes_no_metadata_along(store: str, prefix: str) -> None:
    """What a client said of its object is not what we say."""
    for size in (10, 6 * MIB):
        data = os.urandom(size)
        answer = s3().put_object(
            Bucket=bucket(),
            Key=f"{prefix}a",
            Body=data,
            ContentType="text/html",
            Metadata={"evil": "yes"},
            ContentEncoding="gzip",
            ContentDisposition="inline",
        )
        source = StoredObject(f"{prefix}a", size, answer["ETag"].strip('"'))
        copying.copy_hashed(source, f"{prefix}hashed")
        head = s3().head_object(Bucket=bucket(), Key=f"{prefix}hashed")
        assert head["ContentType"] == "application/octet-stream"
        assert head["Metadata"] == {}
        assert "ContentEncoding" not in head
        assert "ContentDisposition" not in head


def test_copy_in_parts(store: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of what is larger than one copy may be."""
    monkeypatch.setattr(multiparts, "MAX_PART_BYTES", 6 * MIB)
    monkeypatch.setattr(parts_module, "PART_BYTES", 5 * MIB)
    data = os.urandom(12 * MIB + 3)
    source = put(f"{prefix}a", data)
    copied = copying.copy_hashed(source, f"{prefix}b")
    assert copied.sha256 == sha256(data)
    assert objects.read_range(f"{prefix}b", 0, len(data), etag=copied.etag) == data
    if not CHECKS_ETAG_OF_COPY_SOURCE[store]:
        return
    put(f"{prefix}a", b"x" * len(data))
    with pytest.raises(ObjectChangedError):
        copying.copy_hashed(source, f"{prefix}c")
    assert objects.find_object(f"{prefix}c") is None
    assert open_multiparts(prefix) == []


# -- multiparts -------------------------------------------------------------------------------------------------------


def put_part(key: str, multipart: str, number: int, data: bytes, *, sha: bool = True) -> multiparts.StoredPart:
    checksum = {"ChecksumSHA256": base64_of_hex(sha256(data))} if sha else {}
    answer: Any = s3().upload_part(
        Bucket=bucket(),
        Key=key,
        UploadId=multipart,
        PartNumber=number,
        Body=data,
        **checksum,  # type: ignore[arg-type]
    )
    return multiparts.StoredPart(number, len(data), answer["ETag"].strip('"'), checksum)


CHECKS_CRCS = {"moto": False, "seaweedfs": True, "minio": False}


def test_checks_crcs(store: str) -> None:
    assert copying.checks_crcs() is CHECKS_CRCS[store]


def test_object_of_copied_and_sent_parts_is_held_against_its_crc(store: str, prefix: str) -> None:
    """What a store that checks CRC-32s refuses, it does not make."""
    if not copying.checks_crcs():
        pytest.skip("this store checks none")
    data, tail = secrets.token_bytes(6 * MIB), b"tail"
    source = StoredObject(f"{prefix}a", len(data), objects.put_object(f"{prefix}a", data))

    def make(crc32: int) -> str:
        multipart = multiparts.create_multipart(f"{prefix}b", checksum="CRC32", whole=True)
        copied = multiparts.copy_part(source, f"{prefix}b", multipart, 1, offset=1, length=len(data) - 1)
        crc = base64_of_crc(zlib.crc32(tail))
        sent = s3().upload_part(
            Bucket=bucket(), Key=f"{prefix}b", UploadId=multipart, PartNumber=2, Body=tail, ChecksumCRC32=crc
        )
        parts = [copied, StoredPart(2, len(tail), sent["ETag"].strip('"'), {"ChecksumCRC32": crc})]
        try:
            return multiparts.complete_multipart(f"{prefix}b", multipart, parts, crc32=crc32)
        finally:
            multiparts.abort_multipart(f"{prefix}b", multipart)

    crc = zlib.crc32(data[1:] + tail)
    with pytest.raises(ChecksumError):
        make(crc ^ 1)
    assert objects.find_object(f"{prefix}b") is None
    etag = make(crc)
    assert objects.read_range(f"{prefix}b", 0, len(data) + 3, etag=etag) == data[1:] + tail


def test_lists_digests(store: str) -> None:
    assert multiparts.lists_digests() is LISTS_DIGESTS[store]


@pytest.mark.parametrize("checksum", [None, "SHA256"])
def test_multipart(store: str, prefix: str, checksum: str | None) -> None:
    if checksum and not multiparts.lists_digests():
        pytest.skip("this store does not tell the digests of parts: ours begin without them there")
    key = f"{prefix}a"
    multipart = multiparts.create_multipart(key, checksum=checksum)
    assert multiparts.list_parts(key, multipart) == []
    bodies = {3: b"end", 1: os.urandom(5 * MIB), 2: os.urandom(5 * MIB)}
    for number, body in bodies.items():
        put_part(key, multipart, number, body, sha=checksum is not None)
    parts = multiparts.list_parts(key, multipart)
    assert [(part.number, part.size) for part in parts] == [(1, 5 * MIB), (2, 5 * MIB), (3, 3)]
    assert objects.find_object(key) is None
    etag = multiparts.complete_multipart(key, multipart, parts)
    whole = bodies[1] + bodies[2] + bodies[3]
    assert objects.find_object(key) == StoredObject(key, len(whole), etag)
    assert objects.read_range(key, 0, len(whole), etag=etag) == whole
    with pytest.raises(MultipartMissingError):
        multiparts.list_parts(key, multipart)
    assert open_multiparts(prefix) == []


def test_part_sent_twice_counts_once(store: str, prefix: str) -> None:
    key = f"{prefix}a"
    multipart = multiparts.create_multipart(key)
    first = os.urandom(5 * MIB)
    put_part(key, multipart, 1, first, sha=False)
    put_part(key, multipart, 1, first, sha=False)  # its answer was lost, and the client sent it again
    put_part(key, multipart, 2, b"end", sha=False)
    parts = multiparts.list_parts(key, multipart)
    assert [part.number for part in parts] == [1, 2]
    multiparts.complete_multipart(key, multipart, parts)
    assert objects.read_range(key, 0, 5 * MIB + 3) == first + b"end"


@pytest.mark.case("U4")
def test_completed_twice(store: str, prefix: str) -> None:
    """The second one is told the same object, or that it was late; it never makes another."""
    key = f"{prefix}a"
    multipart = multiparts.create_multipart(key)
    part = put_part(key, multipart, 1, b"bytes", sha=False)
    etag = multiparts.complete_multipart(key, multipart, [part])
    if store == "minio":
        with pytest.raises(MultipartMissingError):
            multiparts.complete_multipart(key, multipart, [part])
    else:  # both answer again while the object is that one, as AWS does for a while
        assert multiparts.complete_multipart(key, multipart, [part]) == etag
    assert objects.find_object(key) == StoredObject(key, 5, etag)
    multiparts.abort_multipart(key, multipart)
    assert objects.find_object(key) == StoredObject(key, 5, etag)
    if store == "moto":
        return  # it would bring the object back
    objects.delete_object(key)
    with pytest.raises(MultipartMissingError):
        multiparts.complete_multipart(key, multipart, [part])
    other = put(key, b"other")
    with pytest.raises(MultipartMissingError):
        multiparts.complete_multipart(key, multipart, [part])
    assert objects.find_object(key) == other


def test_aborted(store: str, prefix: str) -> None:
    key = f"{prefix}a"
    multipart = multiparts.create_multipart(key)
    part = put_part(key, multipart, 1, b"bytes", sha=False)
    multiparts.abort_multipart(key, multipart)
    multiparts.abort_multipart(key, multipart)
    if store != "moto":  # it breaks on this one: KeyError
        with pytest.raises(MultipartMissingError):
            multiparts.complete_multipart(key, multipart, [part])
    with pytest.raises(MultipartMissingError):
        multiparts.list_parts(key, multipart)
    assert objects.find_object(key) is None


@pytest.mark.case("U3")
def test_wrong_completions_leave_it_open(store: str, prefix: str) -> None:
    """a part that was never sent, another ETag, one that is too small."""
    key = f"{prefix}a"
    multipart = multiparts.create_multipart(key)
    first = put_part(key, multipart, 1, b"small", sha=False)
    last = put_part(key, multipart, 2, b"end", sha=False)
    never = multiparts.StoredPart(3, 1, "0" * 32, {})
    other = multiparts.StoredPart(1, 5, "0" * 32, {})
    for parts in ([first, never], [other], [first, last]):
        with pytest.raises(ClientError) as caught:
            multiparts.complete_multipart(key, multipart, parts)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert objects.find_object(key) is None
    assert len(multiparts.list_parts(key, multipart)) == 2
    multiparts.complete_multipart(key, multipart, [first])
    assert objects.read_range(key, 0, 5) == b"small"


def test_part_with_another_digest_is_refused(store: str, prefix: str) -> None:
    key = f"{prefix}a"
    multipart = multiparts.create_multipart(key, checksum="SHA256")
    wrong = base64_of_hex(sha256(b"other"))
    if not CHECKS_DIGEST_OF_PUT[store]:
        return
    with pytest.raises(ClientError) as caught:
        s3().upload_part(
            Bucket=bucket(), Key=key, UploadId=multipart, PartNumber=1, Body=b"bytes", ChecksumSHA256=wrong
        )
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert multiparts.list_parts(key, multipart) == []
    multiparts.abort_multipart(key, multipart)


def test_abort_below_a_prefix(store: str, prefix: str) -> None:
    if not LISTS_BELOW_A_PREFIX[store]:
        multipart = multiparts.create_multipart(f"{prefix}a")
        multiparts.abort_prefix(prefix)
        assert multiparts.list_parts(f"{prefix}a", multipart) == []  # it is still there
        multiparts.abort_multipart(f"{prefix}a", multipart)
        return
    inside = [f"{prefix}v1/{name}" for name in ("a", "b/c", "d e+f")]
    outside = [f"{prefix}v10/a", f"{prefix}v1~x/a"]
    begun = {key: multiparts.create_multipart(key) for key in [*inside, inside[0] + "2", *outside]}
    put_part(inside[0], begun[inside[0]], 1, b"bytes", sha=False)
    multiparts.create_multipart(inside[0])  # two of one key
    multiparts.abort_prefix(f"{prefix}v1/")
    assert sorted(open_multiparts(prefix)) == sorted(outside)
    multiparts.abort_prefix(f"{prefix}v1/")
    multiparts.abort_prefix(prefix)
    assert open_multiparts(prefix) == []


@pytest.mark.long
def test_list_of_many_parts(store: str, prefix: str) -> None:
    """More than a page of them."""
    from concurrent.futures import ThreadPoolExecutor

    key = f"{prefix}a"
    multipart = multiparts.create_multipart(key)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put_part(key, multipart, number, b"x", sha=False), range(1, 1_104)))
    assert [part.number for part in multiparts.list_parts(key, multipart)] == list(range(1, 1_104))
    multiparts.abort_multipart(key, multipart)


# -- presigned URLs ---------------------------------------------------------------------------------------------------


def send(url: str, data: bytes, headers: dict[str, str], method: str = "PUT") -> requests.Response:
    return requests.request(method, url, data=data, headers=headers, timeout=60)


@pytest.mark.parametrize("digest", [False, True])
@pytest.mark.parametrize("name", ["a.bin", *KEYS[:5]])
def test_presigned_put(real_store: str, inbox: str, name: str, digest: bool) -> None:
    data = b"some bytes"
    key = inbox + name
    url, headers = presigning.presign_put(key, size=len(data), sha256=sha256(data) if digest else None)
    assert set(headers) == ({"x-amz-checksum-sha256"} if digest else set())
    assert send(url, data, headers).status_code == 200
    assert objects.read_range(key, 0, len(data)) == data
    assert send(url, data, headers).status_code == 200, "may be sent again while it lives"


@pytest.mark.case("U6")
@pytest.mark.case("A11", "A13")
def test_presigned_put_is_for_these_bytes_alone(real_store: str, inbox: str) -> None:
    data, key = b"some bytes", f"{inbox}a"
    url, headers = presigning.presign_put(key, size=len(data), sha256=sha256(data))
    assert send(url, data + b"!", headers).status_code == 403, "one byte more"
    assert send(url, data[:-1], headers).status_code == 403, "one byte less"
    assert send(url, b"", headers).status_code == 403, "none"
    assert send(url, b"SOME bytes", headers).status_code == 400, "others of that length"
    assert send(url, data, {}).status_code in (400, 403), "without the digest that was signed"
    other = {"x-amz-checksum-sha256": base64_of_hex(sha256(b"SOME bytes"))}
    assert send(url, b"SOME bytes", other).status_code == 403, "another digest"
    assert send(url.replace("/a?", "/b?"), data, headers).status_code == 403, "another key"
    assert send(url, data, headers, "POST").status_code in (403, 405, 400), "another method"
    assert send(url, b"", {}, "DELETE").status_code in (400, 403)
    assert send(url, b"", {}, "GET").status_code in (400, 403)
    if real_store != "minio":  # which knows no ACLs and passes over this one
        answer = send(url, data, {**headers, "x-amz-acl": "public-read"})
        assert answer.status_code in (403, 400), "a header of one's own"
    assert list(objects.list_objects(inbox)) == []


@pytest.mark.case("U6")
def test_presigned_put_of_unknown_digest_is_for_its_size(real_store: str, inbox: str) -> None:
    url, headers = presigning.presign_put(f"{inbox}a", size=4, sha256=None)
    assert headers == {}
    assert send(url, b"12345", headers).status_code == 403
    assert send(url, b"123", headers).status_code == 403
    assert objects.find_object(f"{inbox}a") is None
    assert send(url, b"1234", headers).status_code == 200


def test_presigned_put_of_nothing(real_store: str, inbox: str) -> None:
    url, headers = presigning.presign_put(f"{inbox}a", size=0, sha256=sha256(b""))
    assert send(url, b"", {**headers, "Content-Length": "0"}).status_code == 200
    found = objects.find_object(f"{inbox}a")
    assert found is not None
    assert found.size == 0


@pytest.mark.case("A11")
def test_presigned_url_expires(real_store: str, inbox: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(f"{inbox}a", b"old")
    monkeypatch.setenv("REGISTRY_URL_EXPIRES_SECONDS", "1")
    settings.get_settings.cache_clear()
    url, headers = presigning.presign_put(f"{inbox}a", size=3, sha256=None)
    read = presigning.presign_get(f"{inbox}a", disposition="attachment")
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["1"]
    time.sleep(2.2)
    assert send(url, b"new", headers).status_code == 403
    assert requests.get(read, timeout=60).status_code == 403
    longer = url.replace("X-Amz-Expires=1&", "X-Amz-Expires=3600&")
    assert longer != url
    assert send(longer, b"new", headers).status_code == 403
    assert objects.read_range(f"{inbox}a", 0, 3) == b"old"


def test_presigned_url_hides_and_limits(real_store: str, inbox: str) -> None:
    for url in (
        presigning.presign_put(f"{inbox}a", size=3, sha256=None)[0],
        presigning.presign_get(f"{inbox}a", disposition="attachment"),
    ):
        query = parse_qs(urlsplit(url).query)
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        assert int(query["X-Amz-Expires"][0]) <= 3600


@pytest.mark.case("A11", "A13")
@pytest.mark.parametrize("digest", [False, True])
def test_presigned_part(real_store: str, inbox: str, digest: bool) -> None:
    key, data = f"{inbox}a", os.urandom(5 * MIB)
    listed = digest and multiparts.lists_digests()
    multipart = multiparts.create_multipart(key, checksum="SHA256" if listed else None)

    def sign(number: int, body: bytes) -> tuple[str, dict[str, str]]:
        return presigning.presign_part(key, multipart, number, size=len(body), sha256=sha256(body) if digest else None)

    url, headers = sign(1, data)
    assert send(url, data[:-1], headers).status_code == 403
    assert send(url.replace("partNumber=1", "partNumber=2"), data, headers).status_code == 403
    if digest:
        assert send(url, bytes(len(data)), headers).status_code == 400
        assert send(url, data, {}).status_code in (400, 403)
    assert multiparts.list_parts(key, multipart) == []
    answer = send(url, data, headers)
    assert answer.status_code == 200
    url, headers = sign(2, b"end")
    assert send(url, b"end", headers).status_code == 200
    parts = multiparts.list_parts(key, multipart)
    assert [(part.number, part.size) for part in parts] == [(1, len(data)), (2, 3)]
    assert parts[0].etag == answer.headers["ETag"].strip('"')
    if listed:
        assert hex_of_base64(parts[0].checksums["ChecksumSHA256"]) == sha256(data)
    multiparts.complete_multipart(key, multipart, parts)
    assert objects.read_range(key, 0, len(data) + 3) == data + b"end"
    assert send(url, b"end", headers).status_code == 404, "it is complete: there is nothing to add to"


@pytest.mark.case("A11", "A14")
@pytest.mark.parametrize("name", ["a.html", *KEYS[:5]])
def test_presigned_get(real_store: str, prefix: str, name: str) -> None:
    from registry.downloads import disposition

    key = prefix + name
    s3().put_object(Bucket=bucket(), Key=key, Body=b"<script>", ContentType="text/html")
    wanted = disposition(name.rsplit("/", 1)[-1])
    url = presigning.presign_get(key, disposition=wanted)
    answer = requests.get(url, timeout=60)
    assert (answer.status_code, answer.content) == (200, b"<script>")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == wanted
    part = requests.get(url, headers={"Range": "bytes=1-3"}, timeout=60)
    assert (part.status_code, part.content) == (206, b"scr")
    assert part.headers["Content-Range"] == "bytes 1-3/8"
    shown = url.replace("attachment", "inline")
    assert shown != url
    assert requests.get(shown, timeout=60).status_code == 403
    assert requests.put(url, data=b"x", timeout=60).status_code == 403
    assert requests.delete(url, timeout=60).status_code == 403
    assert objects.read_range(key, 0, 8) == b"<script>"


def test_errors_that_nobody_knows_are_passed_on(store: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """AccessDenied is not `missing`."""
    source = put(f"{prefix}a", b"x")

    def refuse(**_: Any) -> Any:
        answer = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(answer, "x")  # type: ignore[arg-type]

    for name in ("get_object", "head_object", "copy_object", "abort_multipart_upload"):
        monkeypatch.setattr(s3(), name, refuse)
    for work in (
        lambda: objects.find_object(source.key),
        lambda: objects.read_range(source.key, 0, 1),
        lambda: copying._copy_with_checksum(source, f"{prefix}b"),
        lambda: multiparts.abort_multipart(source.key, "x"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            work()


# -- versions of objects ----------------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["versioned", "plain"])
def versioned(request: pytest.FixtureRequest, store: str, user_id: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whether the bucket keeps versions: one of the test's own."""
    monkeypatch.setenv("REGISTRY_BUCKET", user_id)
    settings.get_settings.cache_clear()
    s3().create_bucket(Bucket=user_id)
    if request.param:
        s3().put_bucket_versioning(Bucket=user_id, VersioningConfiguration={"Status": "Enabled"})
    yield request.param
    objects.delete_versions(f"models/{user_id}/")
    s3().delete_bucket(Bucket=user_id)


def kept(prefix: str) -> list[str]:
    """The keys of all versions and delete markers."""
    page = s3().list_object_versions(Bucket=bucket(), Prefix=prefix)
    return [each["Key"] for each in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]]


def test_deleted_for_good(versioned: bool, prefix: str) -> None:
    for name in ("v1/a", "v1/b c+d/ü", "v10/a", "v1.zip", "v1.zip2"):
        put(prefix + name, b"first")
        put(prefix + name, b"second")
    assert objects.delete_objects([f"{prefix}v1/a"]) == 1
    put(f"{prefix}v10/b", b"gone")
    objects.delete_object(f"{prefix}v10/b")
    inside, before = len(kept(f"{prefix}v1/")), len(kept(f"{prefix}v10/"))
    assert inside == (5 if versioned else 1), "two versions each, and a marker"
    assert not objects.delete_versions(f"{prefix}v1/", until=lambda: True), "the time was over before"
    assert len(kept(f"{prefix}v1/")) == inside
    assert objects.delete_versions(f"{prefix}v1/")
    assert kept(f"{prefix}v1/") == []
    assert list(objects.list_objects(f"{prefix}v1/")) == []
    assert objects.delete_versions(f"{prefix}v1.zip")
    assert f"{prefix}v1.zip" not in kept(prefix)
    assert f"{prefix}v1.zip2" in kept(prefix)
    assert len(kept(f"{prefix}v10/")) == before
    assert objects.read_range(f"{prefix}v10/a", 0, 6) == b"second"
    assert objects.delete_versions(f"{prefix}v1/"), "nothing is left, which is no error"


def test_ordinary_delete_can_be_undone_in_a_versioned_bucket(versioned: bool, prefix: str) -> None:
    """The restore window: what deletes of ours leave behind there."""
    put(f"{prefix}v1/a", b"bytes")
    assert objects.delete_prefix(f"{prefix}v1/")
    assert objects.find_object(f"{prefix}v1/a") is None
    versions = s3().list_object_versions(Bucket=bucket(), Prefix=prefix).get("Versions", [])
    assert len(versions) == (1 if versioned else 0)
    for version in versions:
        found = s3().get_object(Bucket=bucket(), Key=version["Key"], VersionId=version["VersionId"])
        assert found["Body"].read() == b"bytes"


def test_more_versions_than_a_page(versioned: bool, prefix: str, store: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: put(f"{prefix}v1/{number:04d}", b"x"), [*range(1_010), *range(5)]))
    assert objects.delete_versions(f"{prefix}v1/")
    assert kept(f"{prefix}v1/") == []


def test_versions_of_a_place_that_says_too_little_are_not_deleted(store: str) -> None:
    for bad in ("", "/", "models/", "models", "x/"):
        with pytest.raises(ValueError, match="refusing"):
            objects.delete_versions(bad)


# -- the claim on the inbox -------------------------------------------------------------------------------------------


def test_of_many_that_claim_at_once_one_has_it(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from registry import naming
    from registry.storage import claiming

    before = objects.find_object(naming.claim_key())  # of other tests, who have it again in the end
    held = objects.read_range(before.key, 0, before.size) if before else None
    objects.delete_object(naming.claim_key())
    for number in range(5):
        monkeypatch.setenv("REGISTRY_INBOX_PREFIX", f"claims/{os.urandom(4).hex()}-{number}/inbox/")
        settings.get_settings.cache_clear()

        def put_claim(name: int) -> bool:
            try:
                s3().put_object(Bucket=bucket(), Key=naming.claim_key(), Body=str(name).encode(), IfNoneMatch="*")
            except ClientError as error:
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412)
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(put_claim, range(8)))
        if store != "moto":  # it looks first and writes then
            assert won.count(True) == 1
        with pytest.raises(UnavailableError):
            claiming.claim_inbox(lambda _: False)
        objects.delete_object(naming.claim_key())
        claiming.claim_inbox(lambda _: False)
        claiming.claim_inbox.cache_clear()
        claiming.claim_inbox(lambda _: False)
        claiming.claim_inbox.cache_clear()
        objects.delete_object(naming.claim_key())
    if held:
        objects.put_object(naming.claim_key(), held)


# -- a KMS key --------------------------------------------------------------------------------------------------------


def test_all_that_is_written_is_encrypted_with_the_key_that_is_set(
    on_moto: None, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto alone knows keys."""
    plain = put(f"{prefix}plain", b"x")
    large = put(f"{prefix}large", bytes(6 * MIB))
    arn = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    monkeypatch.setenv("REGISTRY_KMS_KEY", arn)
    settings.get_settings.cache_clear()

    def key_of(name: str) -> str | None:
        head = s3().head_object(Bucket=bucket(), Key=prefix + name)
        assert head.get("ServerSideEncryption", "AES256") == ("aws:kms" if "SSEKMSKeyId" in head else "AES256")
        return head.get("SSEKMSKeyId")

    assert key_of("plain") is None
    put(f"{prefix}put", b"x")
    copying.copy_hashed(plain, f"{prefix}hashed")
    assert copying.copy_hashed(large, f"{prefix}hashed-large").sha256 == sha256(bytes(6 * MIB))
    multipart = multiparts.create_multipart(f"{prefix}parts")
    part = put_part(f"{prefix}parts", multipart, 1, b"x", sha=False)
    multiparts.complete_multipart(f"{prefix}parts", multipart, [part])
    with ObjectWriter(f"{prefix}written", 9 * MIB) as writer:
        writer.write(bytes(9 * MIB))
        writer.finish()
    for name in ("put", "hashed", "hashed-large", "parts", "written"):
        assert key_of(name) == arn, name
    url, headers = presigning.presign_put(f"{prefix}sent", size=1, sha256=sha256(b"x"))
    assert set(headers) == {
        "x-amz-checksum-sha256",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
    }
    signed = parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";")
    assert set(headers) <= set(signed), "whoever leaves them out is refused by the store"
    assert presigning.presign_part(f"{prefix}parts", "id", 1, size=1, sha256=None)[1] == {}
    assert requests.put(url, data=b"x", headers=headers, timeout=60).status_code == 200
    assert key_of("sent") == arn
