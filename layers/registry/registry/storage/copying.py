"""Copies inside the store, pinned to what was looked at, with the digest of the bytes that were copied."""

from __future__ import annotations

import hashlib
import secrets
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
from registry.storage.objects import CONTENT_TYPE, StoredObject

SMALL_BYTES = 5 * MIB  # below, reading and writing costs two calls, as a copy and a look at its digest do
_COPY_PART = 1024 * MIB
DigestMethod = Literal["part_copy", "copy", "read"]


class DigestMissingError(Exception):
    """The store copied, and recorded no digest of the copy."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy holds: its digest, and its CRC-32 where the bytes were seen."""

    etag: str
    sha256: str
    crc32: int | None


def copy_hashed(source: StoredObject, key: str) -> Copied:
    """Copies an object and tells its SHA-256: by the store while it copies where it can, else read once. Nothing is
    left behind on an error. ObjectMissingError, ObjectChangedError: the source is not what it was."""
    if source.size < SMALL_BYTES:
        data = objects.read_range(source.key, 0, source.size, etag=source.etag)
        digest = hashlib.sha256(data).hexdigest()
        return Copied(objects.put_object(key, data, sha256=digest), digest, isal_zlib.crc32(data))
    method = digest_method() if source.size <= multiparts.MAX_PART_BYTES else "read"
    if method == "part_copy":
        return _copy_as_part(source, key)
    if method == "copy":
        try:
            return _copy_with_checksum(source, key)
        except DigestMissingError:  # not of this object: of the probe's copy it may just have kept the source's
            objects.delete_object(key)
    digest, crc = hash_object(source)
    return Copied(copy_plain(source, key), digest, crc)


def copy_plain(source: StoredObject, key: str) -> str:
    """Copies an object whose digest is known already; the ETag."""
    if source.size <= multiparts.MAX_PART_BYTES:
        try:
            answer = s3().copy_object(
                Bucket=bucket(),
                Key=key,
                CopySource={"Bucket": bucket(), "Key": source.key},
                CopySourceIfMatch=f'"{source.etag}"',
                MetadataDirective="REPLACE",
                ContentType=CONTENT_TYPE,
                **encryption(),
            )
        except ClientError as error:
            raise translate(error, source.key) from error
        return answer["CopyObjectResult"]["ETag"].strip('"')
    plan = multiparts.plan_parts(source.size, smallest=_COPY_PART)
    multipart = multiparts.create_multipart(key)
    try:
        parts = [
            multiparts.copy_part(
                source, key, multipart, number, offset=(number - 1) * plan.part_bytes, length=plan.length(number)
            )
            for number in range(1, plan.count + 1)
        ]
        return multiparts.complete_multipart(key, multipart, parts)
    except BaseException:
        multiparts.abort_multipart(key, multipart)
        raise


def hash_object(source: StoredObject) -> tuple[str, int]:
    """Reads an object once: its SHA-256 and CRC-32."""
    digest, crc = hashlib.sha256(), 0
    for chunk in objects.stream_range(source.key, 0, source.size, etag=source.etag):
        digest.update(chunk)
        crc = isal_zlib.crc32(chunk, crc)
    return digest.hexdigest(), crc


def digest_of(source: StoredObject) -> str:
    """An object's SHA-256: told by a copied part that is thrown away, where the store can, so that no byte passes
    here; else read."""
    if not SMALL_BYTES <= source.size <= multiparts.MAX_PART_BYTES or digest_method() != "part_copy":
        return hash_object(source)[0]
    scratch = f"{source.key}-digest"
    multipart = multiparts.create_multipart(scratch, checksum="SHA256")
    try:
        part = multiparts.copy_part(source, scratch, multipart, 1)
    finally:
        multiparts.abort_multipart(scratch, multipart)
    return hex_of_base64(part.checksums["ChecksumSHA256"])


def _copy_as_part(source: StoredObject, key: str) -> Copied:
    """One part is the whole object, so the part's checksum is the object's digest."""
    multipart = multiparts.create_multipart(key, checksum="SHA256")
    try:
        part = multiparts.copy_part(source, key, multipart, 1)
        etag = multiparts.complete_multipart(key, multipart, [part])
    except BaseException:
        multiparts.abort_multipart(key, multipart)
        raise
    return Copied(etag, hex_of_base64(part.checksums["ChecksumSHA256"]), None)


def _copy_with_checksum(source: StoredObject, key: str) -> Copied:
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
    multipart = multiparts.create_multipart(key, checksum="CRC32", whole=True)
    try:
        part = multiparts.copy_part(source, key, multipart, 1)
        multiparts.complete_multipart(key, multipart, [part], crc32=crc32)
    except BaseException:
        multiparts.abort_multipart(key, multipart)
        raise
