"""Presigned URLs: one key, one method, one size, one digest where it is known, for an hour at most. Never logged."""

from __future__ import annotations

from typing import Any

from registry.settings import get_settings
from registry.storage.client import base64_of_hex, bucket, encryption, presigner, put_presigner
from registry.storage.objects import CONTENT_TYPE

# Of a part nothing is said: the multipart was begun with it.
_HEADERS = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
}


def presign_put(key: str, *, size: int, sha256: str | None) -> tuple[str, dict[str, str]]:
    """A PUT of exactly `size` bytes: the URL, and the headers to send with it."""
    url, headers = _presign("put_object", {"Key": key, "ContentLength": size, **encryption()}, sha256)
    return url, headers | {_HEADERS[name]: value for name, value in encryption().items()}


def presign_part(key: str, multipart: str, number: int, *, size: int, sha256: str | None) -> tuple[str, dict[str, str]]:
    """A PUT of one part: the URL, and the headers to send with it."""
    parameters = {"Key": key, "UploadId": multipart, "PartNumber": number, "ContentLength": size}
    return _presign("upload_part", parameters, sha256)


def _presign(method: str, parameters: dict[str, Any], sha256: str | None) -> tuple[str, dict[str, str]]:
    headers: dict[str, str] = {}
    if sha256 is not None:
        headers["x-amz-checksum-sha256"] = parameters["ChecksumSHA256"] = base64_of_hex(sha256)
    url = put_presigner().generate_presigned_url(
        method, Params={"Bucket": bucket(), **parameters}, ExpiresIn=get_settings().url_expires_seconds
    )
    return url, headers


def presign_get(key: str, *, disposition: str) -> str:
    """A GET that a browser saves under the name in `disposition` and never shows."""
    return presigner().generate_presigned_url(
        "get_object",
        Params={
            "Bucket": bucket(),
            "Key": key,
            "ResponseContentDisposition": disposition,
            "ResponseContentType": CONTENT_TYPE,
        },
        ExpiresIn=get_settings().url_expires_seconds,
    )
