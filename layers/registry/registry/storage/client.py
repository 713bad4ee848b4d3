"""The S3 clients, made at first use, and what their errors mean."""

from __future__ import annotations

import base64
import os
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from registry.settings import get_settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECTIONS = 32
# A server-side copy of 5 GiB answers when it is done.
_READ_TIMEOUT_SECONDS = 300
_MISSING = ("404", "NoSuchKey", "NotFound")
_CHANGED = ("412", "PreconditionFailed")


# What the store says that `translate` knows no word for, and an answer that broke off again and again.
STORE_ERRORS = (ClientError, ConnectionError)


class ObjectMissingError(Exception):
    """There is no such object."""


class ObjectChangedError(Exception):
    """The object is no longer the one that was looked at (its ETag differs)."""


class ChecksumError(Exception):
    """The bytes that the store has are not those of the checksum that was named."""


class MultipartMissingError(Exception):
    """The multipart upload was completed or aborted, or never was."""


@cache
def s3() -> S3Client:
    """The client that functions use."""
    return _make_client("")


@cache
def presigner() -> S3Client:
    """The client that signs URLs for callers, for the host where they reach S3."""
    endpoint = get_settings().public_s3_endpoint
    return _make_client(endpoint) if endpoint else s3()


def _make_client(endpoint: str) -> S3Client:
    import boto3
    from botocore.config import Config

    config = Config(
        signature_version="s3v4",  # the default presigns with the old one, for the wrong host
        # We send a checksum of our own with every body; signing the body as well would hash it a second time.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": False, "addressing_style": _addressing_style(endpoint)},
        retries={"mode": "standard", "total_max_attempts": 5},
        max_pool_connections=CONNECTIONS,
        connect_timeout=5,
        read_timeout=_READ_TIMEOUT_SECONDS,
    )
    return boto3.client("s3", config=config, endpoint_url=endpoint or None)


def _addressing_style(endpoint: str) -> Literal["auto", "virtual"]:
    """On AWS the bucket's own regional host: the default presigns for the global one, which redirects, and so breaks
    the signature, while a bucket is new. Stores of other makes, and buckets with dots, want paths: `auto` knows."""
    elsewhere = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return "auto" if elsewhere or "." in bucket() else "virtual"


def forget_clients() -> None:
    """For tests that change servers."""
    s3.cache_clear()
    presigner.cache_clear()


def bucket() -> str:
    """The one bucket."""
    return get_settings().bucket


def encryption() -> dict[str, Any]:
    """What every call that makes an object says beside the object: the KMS key, if one is set."""
    key = get_settings().kms_key
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}


def translate(error: ClientError, key: str) -> Exception:
    """What a caller can act on, or the error itself."""
    code = error.response.get("Error", {}).get("Code", "")
    if code in _MISSING:
        return ObjectMissingError(key)
    if code in _CHANGED:
        return ObjectChangedError(key)
    if code == "NoSuchUpload":
        return MultipartMissingError(key)
    if code == "BadDigest":
        return ChecksumError(key)
    return error


def cannot(error: ClientError) -> bool:
    """Whether the store will never do what was asked; else it may have been busy. 501 says that it does not know it."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 404, 405, 501)


def base64_of_hex(digest: str) -> str:
    """A hex digest as S3's headers carry it."""
    return base64.b64encode(bytes.fromhex(digest)).decode()


def hex_of_base64(digest: str) -> str:
    """The inverse of `base64_of_hex`."""
    return base64.b64decode(digest).hex()


def base64_of_crc(crc: int) -> str:
    """A CRC-32 as S3's headers carry it: big-endian."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def crc_of_base64(text: str) -> int:
    """The inverse of `base64_of_crc`."""
    return int.from_bytes(base64.b64decode(text), "big")
