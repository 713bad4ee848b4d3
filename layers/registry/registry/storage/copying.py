"""Copies inside the store, pinned to what was looked at, with the digest of the bytes that were copied."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from botocore.exceptions import ClientError
from isal import isal_zlib

from registry.observability import get_logger
from registry.settings import MIB, get_settings
from registry.storage import multiparts, objects
from registry.storage.client import (
    ChecksumError,
    base64_of_hex,
    bucket,
    cannot,
    encryption,
    hex_of_base64,
    s3,
    translate,
)
from registry.storage.multiparts import StoredPart
from registry.storage.objects import CONTENT_TYPE, StoredObject
from registry.storage.parts import collect, copies, new_multipart

SMALL_BYTES = 5 * MIB  # below, reading and writing costs two calls, as a copy and a look at its digest do
DigestMethod = Literal["part_copy", "copy", "read"]


class DigestMissingError(Exception):
    """The store copied, and recorded no digest of the copy."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy holds: its digest, and its CRC-32 where the bytes were seen."""

    etag: str
    sha256: str
    crc32: int | None


def copy_hashed(
    source: StoredObject, key: str, *, sha256: str | None = None, check: Callable[[], None] = lambda: None
) -> Copied:
    """Copies an object and tells its SHA-256: by the store while it copies where it can and is asked to, else read once
    meanwhile. Nothing is left behind on an error: ObjectMissingError, ObjectChangedError if the source is not what it
    was; ChecksumError if its SHA-256 is not `sha256`; what `check` raises, which is asked again and again."""
    if source.size < SMALL_BYTES:
        data = objects.read_range(source.key, 0, source.size, etag=source.etag)
        digest = _hold(key, hashlib.sha256(data).hexdigest(), sha256)
        return Copied(objects.put_object(key, data, sha256=digest), digest, isal_zlib.crc32(data))
    told = _told_by_store(source.size)
    if told == "part_copy":
        return _copy_as_part(source, key, sha256)
    if told == "copy":
        try:
            return _copy_with_checksum(source, key, sha256)
        except DigestMissingError:  # not of this object: of the probe's copy it may just have kept the source's
            objects.delete_object(key)
    return _copy_and_read(source, key, 0, source.size, sha256=sha256, check=check)


def copy_range(
    source: StoredObject, key: str, offset: int, length: int, *, crc32: int, check: Callable[[], None] = lambda: None
) -> Copied:
    """Makes an object of `length` bytes (5 MiB or more) of another, from `offset` on, if their CRC-32 is `crc32`: no
    byte passes here where the store checks that and tells the SHA-256, else they are read once while it copies. Nothing
    is left behind on an error, as with `copy_hashed`; ChecksumError."""
    if _told_by_store(length) == "part_copy" and checks_crcs():
        return _copy_checked_range(source, key, offset, length, crc32, check)
    return _copy_and_read(source, key, offset, length, crc32=crc32, check=check)


def hash_object(
    source: StoredObject, offset: int = 0, length: int | None = None, *, check: Callable[[], None] = lambda: None
) -> tuple[str, int]:
    """Reads an object, or `length` bytes of it, once: SHA-256 and CRC-32."""
    digest, crc = hashlib.sha256(), 0
    wanted = source.size - offset if length is None else length
    # One stream: reading ahead by ranges takes more of the processor, and is no quicker.
    for chunk in objects.stream_range(source.key, offset, wanted, etag=source.etag):
        check()
        digest.update(chunk)
        crc = isal_zlib.crc32(chunk, crc)
    return digest.hexdigest(), crc


def digest_of(source: StoredObject) -> str:
    """An object's SHA-256: told by a copied part that is thrown away, where the store can, so that no byte passes
    here; else read."""
    if source.size < SMALL_BYTES or _told_by_store(source.size) != "part_copy":
        return hash_object(source)[0]
    return _digest_in_store(source, 0, source.size)


def _digest_in_store(source: StoredObject, offset: int, length: int) -> str:
    scratch = f"{source.key}-digest"
    multipart = multiparts.create_multipart(scratch, checksum="SHA256")
    try:
        part = multiparts.copy_part(source, scratch, multipart, 1, offset=offset, length=length)
    finally:
        multiparts.abort_multipart(scratch, multipart)
    return _sha256_of(part)


def has_to_read(size: int) -> bool:
    """Whether `copy_hashed` has all bytes of an object of this size come here."""
    return size >= SMALL_BYTES and _told_by_store(size) == "read"


def _told_by_store(size: int) -> DigestMethod:
    """How the store is to tell the digest of so many bytes: `read` if it can't, or shall not."""
    return "read" if get_settings().digests_by == "reading" or size > multiparts.MAX_PART_BYTES else digest_method()


def _sha256_of(part: StoredPart) -> str:
    return hex_of_base64(part.checksums["ChecksumSHA256"])


def _hold(key: str, told: str, expected: str | None) -> str:
    if expected is not None and told != expected:
        raise ChecksumError(key)
    return told


def _copy_and_read(
    source: StoredObject,
    key: str,
    offset: int,
    length: int,
    *,
    sha256: str | None = None,
    crc32: int | None = None,
    check: Callable[[], None],
) -> Copied:
    """The store copies while the same bytes are read here; it makes an object of the copy only if they are right."""
    with (
        new_multipart(key) as multipart,
        copies(source, key, multipart, offset, length, check=lambda _: check()) as started,
    ):
        digest, crc = hash_object(source, offset, length, check=check)
        parts = collect(started)
        if crc32 is not None and crc != crc32:
            raise ChecksumError(key)
        _hold(key, digest, sha256)
        return Copied(multiparts.complete_multipart(key, multipart, parts), digest, crc)


def _copy_checked_range(
    source: StoredObject, key: str, offset: int, length: int, crc32: int, check: Callable[[], None]
) -> Copied:
    with (
        new_multipart(key, checksum="CRC32", whole=True) as multipart,
        copies(source, key, multipart, offset, length, check=lambda _: check()) as started,
    ):
        digest = _digest_in_store(source, offset, length)
        etag = multiparts.complete_multipart(key, multipart, collect(started), crc32=crc32)
    return Copied(etag, digest, crc32)


def _copy_as_part(source: StoredObject, key: str, sha256: str | None) -> Copied:
    """One part is the whole object, so the part's checksum is the object's digest."""
    with new_multipart(key, checksum="SHA256") as multipart:
        part = multiparts.copy_part(source, key, multipart, 1)
        digest = _hold(key, _sha256_of(part), sha256)
        return Copied(multiparts.complete_multipart(key, multipart, [part]), digest, None)


def _copy_with_checksum(source: StoredObject, key: str, sha256: str | None = None) -> Copied:
    try:
        answer: Any = s3().copy_object(
            Bucket=bucket(),
            Key=key,
            CopySource={"Bucket": bucket(), "Key": source.key},
            CopySourceIfMatch=f'"{source.etag}"',
            MetadataDirective="REPLACE",
            ContentType=CONTENT_TYPE,
            ChecksumAlgorithm="SHA256",
            **encryption(),
        )
    except ClientError as error:
        raise translate(error, source.key) from error
    etag = answer["CopyObjectResult"]["ETag"].strip('"')
    digest = _recorded_digest(key)
    if digest is None:
        raise DigestMissingError(key)
    if sha256 is not None and digest != sha256:
        objects.delete_object(key)
        raise ChecksumError(key)
    return Copied(etag, digest, None)


def _recorded_digest(key: str) -> str | None:
    head = s3().head_object(Bucket=bucket(), Key=key, ChecksumMode="ENABLED")
    checksum = head.get("ChecksumSHA256", "")
    return hex_of_base64(checksum) if checksum and "-" not in checksum else None


@cache
def digest_method() -> DigestMethod:
    """How this store tells the digest of what it copies, found out once a process on a one-byte object: AWS and
    SeaweedFS by the part's checksum, AWS, MinIO and moto by the copy's; where a store does neither, it is read."""
    method = _probe_digest_method()
    get_logger().info("store probed", digest_method=method)
    return method


def _probe_digest_method() -> DigestMethod:
    probe = f"{get_settings().inbox_prefix}_probe/{secrets.token_hex(8)}"
    expected = hashlib.sha256(b"?").hexdigest()
    source = StoredObject(probe, 1, objects.put_object(probe, b"?"))
    copy = f"{probe}-copy"
    try:
        multipart = multiparts.create_multipart(copy, checksum="SHA256")
        try:
            part = multiparts.copy_part(source, copy, multipart, 1)
            if part.checksums.get("ChecksumSHA256") == base64_of_hex(expected):
                return "part_copy"
        except ClientError as error:
            if not cannot(error):  # MinIO refuses a copied part without a checksum here
                raise
        finally:
            multiparts.abort_multipart(copy, multipart)
        try:
            return "copy" if _copy_with_checksum(source, copy).sha256 == expected else "read"
        except DigestMissingError:
            return "read"
        except ClientError as error:
            if not cannot(error):
                raise
            return "read"
    finally:
        objects.delete_objects([probe, copy])


@cache
def checks_crcs() -> bool:
    """Whether this store holds an object that is made of parts, copied ones too, against the CRC-32 of all of it: AWS
    and SeaweedFS do, moto makes it whatever the CRC-32, MinIO copies no parts that way. Found out once a process."""
    told = _checks_crcs()
    get_logger().info("store probed", checks_crcs=told)
    return told


def _checks_crcs() -> bool:
    probe = f"{get_settings().inbox_prefix}_probe/{secrets.token_hex(8)}"
    crc = isal_zlib.crc32(b"?")
    etag = objects.put_object(probe, b"?")
    try:
        _copy_checked(StoredObject(probe, 1, etag), f"{probe}-copy", crc)
        try:
            _copy_checked(StoredObject(probe, 1, etag), f"{probe}-copy", crc ^ 1)
        except ChecksumError:
            return True
        return False
    except ClientError as error:
        if not cannot(error):
            raise
        return False
    finally:
        objects.delete_objects([probe, f"{probe}-copy"])


def _copy_checked(source: StoredObject, key: str, crc32: int) -> None:
    with new_multipart(key, checksum="CRC32", whole=True) as multipart:
        part = multiparts.copy_part(source, key, multipart, 1)
        multiparts.complete_multipart(key, multipart, [part], crc32=crc32)
