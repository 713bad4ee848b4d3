"""Whole objects: look, read, put, list, delete."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from registry.storage.client import base64_of_hex, bucket, encryption, s3, translate

CHUNK_BYTES = 1024 * 1024
CONTENT_TYPE = "application/octet-stream"  # of every object of ours: no browser shall run what a stranger uploaded
_DELETE_BATCH = 1_000  # DeleteObjects' limit


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store lists it; `etag` without quotes."""

    key: str
    size: int
    etag: str


def find_object(key: str) -> StoredObject | None:
    """The object, or None."""
    try:
        head = s3().head_object(Bucket=bucket(), Key=key)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey", "NotFound"):
            return None
        raise
    return StoredObject(key, head["ContentLength"], head["ETag"].strip('"'))


def read_range(key: str, offset: int, length: int, *, etag: str | None = None) -> bytes:
    """`length` bytes from `offset` on, of the object with this ETag."""
    if length == 0:
        return b""
    return b"".join(stream_range(key, offset, length, etag=etag))


def stream_range(key: str, offset: int, length: int, *, etag: str | None = None) -> Iterator[bytes]:
    """The same in chunks of 1 MiB. Goes on where a connection broke; ObjectMissingError, ObjectChangedError."""
    done, failures = 0, 0
    while done < length:
        before = done
        try:
            for chunk in _open(key, offset + done, length - done, etag):
                done += len(chunk)
                yield chunk
        except OSError:  # botocore's stream errors and urllib3's are OSErrors, or become so below
            pass
        if done < length:
            failures = failures + 1 if done == before else 0
            if failures >= 3:
                raise ConnectionError(f"the store ended {key} after {offset + done} bytes")


def _open(key: str, offset: int, length: int, etag: str | None) -> Iterator[bytes]:
    from botocore.exceptions import BotoCoreError

    arguments: dict[str, Any] = {"Range": f"bytes={offset}-{offset + length - 1}"}
    if etag is not None:
        arguments["IfMatch"] = f'"{etag}"'
    try:
        body = s3().get_object(Bucket=bucket(), Key=key, **arguments)["Body"]
    except ClientError as error:
        raise translate(error, key) from error
    try:
        while chunk := body.read(CHUNK_BYTES):
            yield chunk
    except BotoCoreError as error:
        raise ConnectionError(str(error)) from error
    finally:
        body.close()


def put_object(key: str, data: bytes, *, sha256: str | None = None) -> str:
    """Writes a small object; the store checks its SHA-256 before it answers. The ETag."""
    digest = sha256 or hashlib.sha256(data).hexdigest()
    answer = s3().put_object(
        Bucket=bucket(),
        Key=key,
        Body=data,
        ContentType=CONTENT_TYPE,
        ChecksumSHA256=base64_of_hex(digest),
        **encryption(),
    )
    return answer["ETag"].strip('"')


def list_objects(prefix: str, *, after: str = "") -> Iterator[StoredObject]:
    """The objects below a prefix, from behind the key `after` on, 1,000 a call."""
    start: dict[str, Any] = {"StartAfter": after} if after else {}
    for page in s3().get_paginator("list_objects_v2").paginate(Bucket=bucket(), Prefix=prefix, **start):
        for entry in page.get("Contents", []):
            yield StoredObject(entry["Key"], entry["Size"], entry["ETag"].strip('"'))


def delete_object(key: str) -> None:
    """Deletes an object; no error if there is none."""
    s3().delete_object(Bucket=bucket(), Key=key)


def delete_objects(keys: Iterable[str]) -> int:
    """Deletes many, 1,000 a call, some calls at once; how many. Raises if the store kept one."""
    iterator = iter(keys)
    with ThreadPoolExecutor(4) as pool:
        batches = iter(lambda: [{"Key": key} for key in islice(iterator, _DELETE_BATCH)], [])
        return sum(pool.map(_delete_batch, batches))


def _delete_batch(listed: list[Any]) -> int:
    answer = s3().delete_objects(Bucket=bucket(), Delete={"Objects": listed, "Quiet": True})
    if errors := answer.get("Errors"):
        raise RuntimeError(f"the store kept {len(errors)} of {len(listed)} objects: {errors[0].get('Code')}")
    return len(listed)


def delete_versions(place: str, *, until: Callable[[], bool] = lambda: False) -> bool:
    """Deletes for good all versions and delete markers of a key or, if `place` ends in '/', of all keys below it. False
    if `until` said to stop. Where objects have no versions, the objects themselves go."""
    _refuse_wide(place)
    before: list[Any] = []
    while listed := _list_versions(place):
        if until():
            return False
        if listed == before:
            raise RuntimeError(f"the store kept {len(listed)} versions below {place}")
        _delete_batch(listed)
        before = listed
    return True


def _list_versions(place: str) -> list[Any]:
    """The first 1,000: as these go, the next come first, and no store has to find its place by one that is gone."""
    page = s3().list_object_versions(Bucket=bucket(), Prefix=place)
    found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    inside = [each for each in found if place.endswith("/") or each["Key"] == place]
    return [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in inside]


def _refuse_wide(place: str) -> None:
    if place.count("/") < 2:
        raise ValueError(f"refusing to delete below {place!r}")


def delete_prefix(prefix: str, *, until: Callable[[], bool] = lambda: False) -> bool:
    """Deletes all below a prefix, which ends in '/' so that no neighbour is caught. False if `until` said to stop."""
    if not prefix.endswith("/"):
        raise ValueError(f"refusing to delete below {prefix!r}")
    _refuse_wide(prefix)
    entries = list_objects(prefix)
    while batch := [entry.key for entry in islice(entries, 4 * _DELETE_BATCH)]:
        if until():
            return False
        delete_objects(batch)
    return True
