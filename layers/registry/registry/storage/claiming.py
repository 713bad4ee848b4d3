"""Whose bucket is it? Two installations on one would take each other's uploads and versions for their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import islice

from botocore.exceptions import ClientError

from registry import naming
from registry.errors import UnavailableError
from registry.naming import InboxKey
from registry.settings import get_settings
from registry.storage.client import ObjectMissingError, bucket, encryption, s3, translate
from registry.storage.objects import CONTENT_TYPE

_LOOKED_AT = 10  # uploads of an inbox that nobody has claimed: one that is known to us shows that all are ours
_RETRY_AFTER_SECONDS = 60  # somebody has to act first


@cache
def claim_inbox(knows: Callable[[InboxKey], bool]) -> None:
    """Sees to it that the bucket is ours, once a process and by one GET: an object in it says whose it is, written by
    whoever finds the inbox empty, or finds an upload there that it `knows`. UnavailableError `inbox_taken`,
    `inbox_not_empty`."""
    holder = _read_holder()
    if holder is None:
        _refuse_strangers(knows)
        _write_claim()
        holder = _read_holder()  # another may have been quicker
    if holder != get_settings().installation_name:
        raise UnavailableError(
            f"Bucket {bucket()} belongs to the installation {holder!r}, and this is "
            f"{get_settings().installation_name!r}: choose another bucket; or, if that installation is no more, delete "
            f"its claim, {naming.claim_key()}",
            code="inbox_taken",
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        )


def _read_holder() -> str | None:
    """Who has claimed it; None if nobody has."""
    key = naming.claim_key()
    try:
        text = s3().get_object(Bucket=bucket(), Key=key)["Body"].read()
    except ClientError as error:
        if isinstance(translate(error, key), ObjectMissingError):
            return None
        raise
    try:
        return str(json.loads(text)["installation"])
    except (ValueError, KeyError, TypeError):
        return "of an unreadable claim"


def _refuse_strangers(knows: Callable[[InboxKey], bool]) -> None:
    inbox = get_settings().inbox_prefix
    listed = s3().list_objects_v2(Bucket=bucket(), Prefix=inbox, MaxKeys=1_000).get("Contents", [])
    # What a probe of ours left when it died, and the folder that a console makes, are nobody's uploads.
    keys = [each["Key"] for each in listed if each["Key"] != inbox and not each["Key"].startswith(f"{inbox}_probe/")]
    if not keys:
        return
    uploads = {parsed.upload_id: parsed for key in keys if (parsed := naming.parse_inbox_key(key)) is not None}
    if not any(knows(parsed) for parsed in islice(uploads.values(), _LOOKED_AT)):
        raise UnavailableError(
            f"The inbox {inbox} of bucket {bucket()} is not empty and belongs to no installation: choose another "
            "REGISTRY_INBOX_PREFIX or empty it",
            code="inbox_not_empty",
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        )


def _write_claim() -> None:
    text = json.dumps({"installation": get_settings().installation_name})
    try:
        s3().put_object(
            Bucket=bucket(),
            Key=naming.claim_key(),
            Body=text.encode(),
            ContentType=CONTENT_TYPE,
            IfNoneMatch="*",
            **encryption(),
        )
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
            raise
