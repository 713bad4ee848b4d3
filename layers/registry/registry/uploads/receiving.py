"""Events: they only say that there may be something to do; what it is, the worker looks up."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

from registry import naming
from registry.deadlines import Deadline
from registry.observability import get_logger
from registry.records import UploadRow
from registry.storage import objects
from registry.uploads import working

_RESERVE_SECONDS = 30  # of a function's life: for what is in flight when it is time to stop


def seconds_left(context: Any) -> float | None:
    """How long a worker may work in this invocation; at least a little."""
    milliseconds = getattr(context, "get_remaining_time_in_millis", None)
    return None if milliseconds is None else max(1.0, milliseconds() / 1000 - _RESERVE_SECONDS)


def receive(event: dict[str, Any], *, seconds: float | None) -> None:
    """An S3 event, or `{"upload_id": …}` from one of our own. Each record stands alone: the last error is raised when
    all have been tried, so that the event comes again."""
    failure: Exception | None = None
    for upload_id in _named(event):
        try:
            if working.wake(upload_id):
                working.work(upload_id, Deadline(seconds))
        except Exception as error:  # noqa: BLE001
            get_logger().exception("upload not worked on", upload_id=upload_id)
            failure = error
    if failure is not None:
        raise failure


def _named(event: dict[str, Any]) -> list[str]:
    """The uploads that an event is about. An object that belongs to no open upload is nobody's, and goes."""
    if "upload_id" in event:
        return [naming.check_upload_id(str(event["upload_id"]))]
    found: dict[str, None] = {}
    for record in event.get("Records") or ():
        key = unquote_plus(record["s3"]["object"]["key"])
        parsed = naming.parse_inbox_key(key)
        if parsed is None:
            get_logger().info("event of no upload", key=key[:200])
            continue
        upload = UploadRow.find(f"A#{parsed.upload_id}")
        if upload is None or upload.user_id != parsed.user_id or upload.status not in ("uploading", "processing"):
            objects.delete_object(key)
        else:
            found[parsed.upload_id] = None
    return list(found)
