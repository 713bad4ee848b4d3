"""Multipart uploads: created, looked at, completed, aborted; and how many parts a file gets."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from botocore.exceptions import ClientError

from registry.observability import get_logger
from registry.settings import MIB, get_settings
from registry.storage.client import (
    base64_of_crc,
    base64_of_hex,
    bucket,
    cannot,
    encryption,
    s3,
    translate,
)
from registry.storage.objects import CONTENT_TYPE, StoredObject

MAX_PARTS = 10_000
MIN_PART_BYTES = 5 * MIB
MAX_PART_BYTES = 5 * 1024 * MIB
MAX_OBJECT_BYTES = 5 * 1024**4


@dataclass(frozen=True, slots=True)
class PartPlan:
    """How a file is cut: `count` parts of `part_bytes`, the last one the rest."""

    size: int
    part_bytes: int

    @property
    def count(self) -> int:
        """How many parts."""
        return max(1, -(-self.size // self.part_bytes))

    def length(self, number: int) -> int:
        """Bytes of a part, counted from 1."""
        return self.part_bytes if number < self.count else self.size - self.part_bytes * (self.count - 1)


def plan_parts(size: int, *, smallest: int | None = None) -> PartPlan:
    """Parts of the set size (16 MiB), or of as many whole MiB as make 10,000 parts do: S3 takes 10,000 parts of 5 MiB
    to 5 GiB each, the last one of any size."""
    needed = -(-size // MAX_PARTS)
    part = max(smallest or get_settings().part_bytes, MIN_PART_BYTES, -(-needed // MIB) * MIB)
    return PartPlan(size, min(part, MAX_PART_BYTES))


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that the store has."""

    number: int
    size: int
    etag: str
    checksums: dict[str, str]


def create_multipart(key: str, *, checksum: str | None = None, whole: bool = False) -> str:
    """Begins one; `checksum` (SHA256, CRC32) where every part will carry one, `whole` where the object shall be held
    against the CRC-32 of all of it when it is completed (`checks_crcs`). Its id."""
    arguments: dict[str, Any] = encryption() | ({"ChecksumAlgorithm": checksum} if checksum else {})
    if whole:
        arguments["ChecksumType"] = "FULL_OBJECT"
    answer = s3().create_multipart_upload(Bucket=bucket(), Key=key, ContentType=CONTENT_TYPE, **arguments)
    return answer["UploadId"]


def list_parts(key: str, multipart: str) -> list[StoredPart]:
    """The parts that have arrived, by number; of a part that was sent again the newest, as SeaweedFS lists them all.
    MultipartMissingError."""
    parts: dict[int, tuple[datetime, StoredPart]] = {}
    try:
        for page in s3().get_paginator("list_parts").paginate(Bucket=bucket(), Key=key, UploadId=multipart):
            for part in page.get("Parts", []):
                checksums = {name: str(value) for name, value in part.items() if name.startswith("Checksum")}
                stored = StoredPart(part["PartNumber"], part["Size"], part["ETag"].strip('"'), checksums)
                before = parts.get(stored.number)
                if before is None or before[0] <= part["LastModified"]:
                    parts[stored.number] = part["LastModified"], stored
    except ClientError as error:
        raise translate(error, key) from error
    return [parts[number][1] for number in sorted(parts)]


@cache
def lists_digests() -> bool:
    """Whether this store, asked for the parts that it has, tells the digests that they were checked against: AWS does,
    and wants them at completion; SeaweedFS does not, and wants none unless the multipart was begun with them. Found
    out once a process."""
    probe = f"{get_settings().inbox_prefix}_probe/{secrets.token_hex(8)}"
    digest = base64_of_hex(hashlib.sha256(b"?").hexdigest())
    multipart = create_multipart(probe, checksum="SHA256")
    try:
        s3().upload_part(Bucket=bucket(), Key=probe, UploadId=multipart, PartNumber=1, Body=b"?", ChecksumSHA256=digest)
        told = [part.checksums.get("ChecksumSHA256") for part in list_parts(probe, multipart)] == [digest]
        get_logger().info("store probed", lists_digests=told)
        return told
    except ClientError as error:
        if not cannot(error):
            raise
        return False
    finally:
        abort_multipart(probe, multipart)


def complete_multipart(key: str, multipart: str, parts: list[StoredPart], *, crc32: int | None = None) -> str:
    """Makes the object of its parts; the ETag. With `crc32`, the CRC-32 of all of it, the store makes none that is
    another: ChecksumError. MultipartMissingError if somebody else was quicker."""
    whole: dict[str, Any] = {}
    if crc32 is not None:
        whole = {"ChecksumType": "FULL_OBJECT", "ChecksumCRC32": base64_of_crc(crc32)}
    listed: Any = [{"PartNumber": part.number, "ETag": f'"{part.etag}"', **_own(part.checksums)} for part in parts]
    try:
        answer = s3().complete_multipart_upload(
            Bucket=bucket(), Key=key, UploadId=multipart, MultipartUpload={"Parts": listed}, **whole
        )
    except ClientError as error:
        raise translate(error, key) from error
    return answer["ETag"].strip('"')


def copy_part(
    source: StoredObject, key: str, multipart: str, number: int, *, offset: int = 0, length: int | None = None
) -> StoredPart:
    """Makes a part of `length` bytes of an object, from `offset` on, inside the store; all of it is named without a
    range, as a range is refused of objects up to 5 MiB. With the checksums that the store tells. ObjectMissingError,
    ObjectChangedError: the source is not what it was."""
    taken = source.size - offset if length is None else length
    ranged: dict[str, Any] = {} if taken == source.size else {"CopySourceRange": f"bytes={offset}-{offset + taken - 1}"}
    try:
        answer = s3().upload_part_copy(
            Bucket=bucket(),
            Key=key,
            UploadId=multipart,
            PartNumber=number,
            CopySource={"Bucket": bucket(), "Key": source.key},
            CopySourceIfMatch=f'"{source.etag}"',
            **ranged,
        )
    except ClientError as error:
        raise translate(error, source.key) from error
    result: Any = answer["CopyPartResult"]
    checksums = {name: str(value) for name, value in result.items() if name.startswith("Checksum")}
    return StoredPart(number, taken, result["ETag"].strip('"'), checksums)


def _own(checksums: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in checksums.items() if name in ("ChecksumSHA256", "ChecksumCRC32")}


def abort_multipart(key: str, multipart: str) -> None:
    """Throws its parts away; no error if it is gone."""
    try:
        s3().abort_multipart_upload(Bucket=bucket(), Key=key, UploadId=multipart)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in ("NoSuchUpload", "404"):
            raise


def abort_prefix(prefix: str) -> None:
    """Throws away the parts of all multiparts below a prefix."""
    for page in s3().get_paginator("list_multipart_uploads").paginate(Bucket=bucket(), Prefix=prefix):
        for upload in page.get("Uploads", []):
            if upload["Key"].startswith(prefix):
                abort_multipart(upload["Key"], upload["UploadId"])
