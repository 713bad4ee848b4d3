"""Whether an object still is what was recorded when its bytes were verified."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from botocore.exceptions import ClientError

from registry.deadlines import OutOfTimeError
from registry.settings import MIB
from registry.storage import copying, hashing, objects
from registry.storage.client import (
    STORE_ERRORS,
    ObjectChangedError,
    ObjectMissingError,
    bucket,
    hex_of_base64,
    s3,
)
from registry.storage.objects import StoredObject

Fault = Literal["missing", "damaged", "unreadable", "replaced"]
LONG_BYTES = 64 * MIB  # above, how far the reading is can be kept; 32 MiB of memory each


def look(recorded: StoredObject, sha256: str) -> Fault | None:
    """By the store's own word, in one call: an object is there, of the recorded size and ETag and, where the store
    keeps a SHA-256 of all of it, of the recorded one. Says nothing of the bytes that the store has on its disks."""
    try:
        head = s3().head_object(Bucket=bucket(), Key=recorded.key, ChecksumMode="ENABLED")
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return "missing"
        raise
    kept = head.get("ChecksumSHA256", "")
    if head["ContentLength"] != recorded.size or (kept and "-" not in kept and hex_of_base64(kept) != sha256):
        return "damaged"
    return None if head["ETag"].strip('"') == recorded.etag else "replaced"


def read(
    recorded: StoredObject,
    sha256: str,
    *,
    state: str | None = None,
    until: Callable[[], bool] = lambda: False,
    save: Callable[[str], None] = lambda state: None,
) -> Fault | None:
    """By all of its bytes, as the store gives them out now. A large one is gone on with from `state`; OutOfTimeError if
    `until` said to stop, after `save` where the state can be kept."""
    if recorded.size == 0:
        return look(recorded, sha256)
    try:
        return None if _hash(recorded, state, until, save) == sha256 else "damaged"
    except ObjectMissingError:
        return "missing"
    except ObjectChangedError:
        now = objects.find_object(recorded.key)
        if now is None:
            return "missing"
        if now.size != recorded.size:
            return "damaged"
        return read(now, sha256, state=state, until=until, save=save) or "replaced"
    except STORE_ERRORS as error:
        if isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] == 503:
            raise  # it is busy
        look(recorded, sha256)  # which raises where it is not this one object that can't be had
        return "unreadable"


def _hash(source: StoredObject, state: str | None, until: Callable[[], bool], save: Callable[[str], None]) -> str:
    if source.size <= LONG_BYTES:
        return copying.hash_object(source)[0]
    digest = hashing.hash_range(source, 0, source.size, state=state, until=until, save=save)
    if digest is None:
        raise OutOfTimeError
    return digest.sha256
