"""Events: they only say that there may be something to do; what it is, the worker looks up."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

from registry import naming
from registry.deadlines import Deadline
from registry.errors import UnavailableError
from registry.observability import get_logger
from registry.records import UploadRow
from registry.settings import get_settings
from registry.storage import objects
from registry.uploads import inbox, waking, working


def receive(event: dict[str, Any], deadline: Deadline) -> None:
    """An S3 event, straight or by EventBridge, or one of our own: `{"upload_id": …}`, with `share` for one share of an
    archive. Each record stands alone: the last error is raised when all have been tried, so that the event comes
    again."""
    failure: Exception | None = None
    seen: set[str] = set()
    for named in [event] if "upload_id" in event or "detail" in event else event.get("Records") or ():
        try:
            if "share" in named:
                working.work_on_share(naming.check_upload_id(str(named["upload_id"])), int(named["share"]), deadline)
            else:
                _work(named, seen, deadline)
        except Exception as error:  # noqa: BLE001  # the others have to be tried
            get_logger().exception("record not worked on")
            failure = error
    if failure is not None:
        raise failure


def read_record(record: dict[str, Any]) -> tuple[str | None, str]:
    """Bucket and key of a created object: by S3's own notification, where the key is URL-encoded, or by EventBridge's
    `Object Created`, where it is not. A KeyError for what is neither."""
    if "detail" in record:
        return record["detail"]["bucket"]["name"], record["detail"]["object"]["key"]
    named = record["s3"]
    return named.get("bucket", {}).get("name"), unquote_plus(named["object"]["key"])


def _work(named: dict[str, Any], seen: set[str], deadline: Deadline) -> None:
    """Wakes the upload that a record is about, and works on it unless somebody does; uploads that were `seen` in the
    same event have been."""
    if "upload_id" in named:
        upload = waking.wake(naming.check_upload_id(str(named["upload_id"])))
    else:
        upload = _wake_for_object(named, seen)
    # Where the lease was held in the moment of the wake, its holder can't give it up without looking again.
    if upload is not None and (working.is_held(upload) or not working.work(upload.upload_id, deadline)):
        working.watch(upload)


def _wake_for_object(record: dict[str, Any], seen: set[str]) -> UploadRow | None:
    """An object that belongs to no open upload is nobody's, and goes."""
    bucket, key = read_record(record)
    if bucket not in (None, get_settings().bucket):
        get_logger().warning("event of another bucket", bucket=bucket)
        return None
    parsed = naming.parse_inbox_key(key)
    if parsed is None:
        get_logger().debug("event of no upload", key=key[:200])
        return None
    if parsed.upload_id in seen:
        return None
    upload = waking.wake(parsed.upload_id, user_id=parsed.user_id)
    if upload is not None:
        seen.add(parsed.upload_id)
        return upload
    ended = UploadRow.find(f"A#{parsed.upload_id}")
    if (ended is not None and ended.user_id == parsed.user_id) or _inbox_is_ours():
        objects.delete_object(key)
    return None


def _inbox_is_ours() -> bool:
    try:
        inbox.claim()
    except UnavailableError as refusal:
        get_logger().warning("event of another's inbox", code=refusal.code, detail=refusal.detail)
        return False
    return True
