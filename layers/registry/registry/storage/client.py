"""The S3 clients, made at first use, and what their errors mean."""

from __future__ import annotations

import base64
import json
import os
import time
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from registry.settings import get_settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECTIONS = 32
# A server-side copy of 5 GiB answers when it is done.
_READ_TIMEOUT_SECONDS = 300
_CREDENTIALS_SECONDS = 12 * 3600
_CREDENTIALS_LEFT_SECONDS = 2 * 3600  # at least: a URL lives for an hour, and ends with the credentials that signed it
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


def put_presigner() -> S3Client:
    """The same for PUTs, by the credentials that `put_credentials` says."""
    return presigner() if get_settings().put_credentials == "own" else _inbox_writer.client()


class _InboxWriter:
    """Signs with temporary credentials that may write the inbox and do nothing else, so that whatever a PUT is made to
    do beside that, the store refuses. Asked for once in some hours, by one thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.forget()

    def forget(self) -> None:
        self._client: S3Client | None = None
        self._ends = 0.0

    def client(self) -> S3Client:
        with self._lock:
            if self._client is None or self._ends - time.time() < _CREDENTIALS_LEFT_SECONDS:
                given = self._ask()
                self._ends = given["Expiration"].timestamp()
                self._client = _make_client(
                    get_settings().public_s3_endpoint,
                    aws_access_key_id=given["AccessKeyId"],
                    aws_secret_access_key=given["SecretAccessKey"],
                    aws_session_token=given["SessionToken"],
                )
            return self._client

    def _ask(self) -> dict[str, Any]:
        import boto3

        inbox = f"arn:aws:s3:::{bucket()}/{get_settings().inbox_prefix}*"
        may = {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [inbox]}
        where = s3().meta
        sts: Any = boto3.client("sts", endpoint_url=where.endpoint_url, region_name=where.region_name)
        answer = sts.assume_role(
            RoleArn="arn:aws:iam::000000000000:role/inbox",  # the API wants one; MinIO gives the caller's own rights
            RoleSessionName="inbox",
            Policy=json.dumps({"Version": "2012-10-17", "Statement": [may]}),  # less all but these
            DurationSeconds=_CREDENTIALS_SECONDS,
        )
        return answer["Credentials"]  # type: ignore[no-any-return]


_inbox_writer = _InboxWriter()


def _make_client(endpoint: str, **credentials: Any) -> S3Client:
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
    return boto3.client("s3", config=config, endpoint_url=endpoint or None, **credentials)


def _addressing_style(endpoint: str) -> Literal["auto", "virtual"]:
    """On AWS the bucket's own regional host: the default presigns for the global one, which redirects, and so breaks
    the signature, while a bucket is new. Stores of other makes, and buckets with dots, want paths: `auto` knows."""
    elsewhere = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return "auto" if elsewhere or "." in bucket() else "virtual"


def forget_clients() -> None:
    """For tests that change servers."""
    s3.cache_clear()
    presigner.cache_clear()
    _inbox_writer.forget()


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
