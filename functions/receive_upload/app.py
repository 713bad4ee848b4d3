"""S3's ObjectCreated below the inbox, or our own word: an upload is woken and worked on."""

from __future__ import annotations

from typing import Any

from registry.deadlines import deadline_of
from registry.observability import worker
from registry.uploads import receiving


def lambda_handler(event: dict[str, Any], context: Any) -> None:
    """Works on what the event names; raises where it should come again."""
    with worker("receive_upload", context):
        receiving.receive(event, deadline_of(context))
