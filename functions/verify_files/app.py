"""On a schedule: whether what lies in the store still is what was recorded."""

from __future__ import annotations

from typing import Any

from registry.catalog import verifying
from registry.deadlines import deadline_of
from registry.observability import worker


def lambda_handler(event: dict[str, Any], context: Any) -> None:
    """Reads about so many `gibibytes` of files, from where the last run stopped; 0: none."""
    with worker("verify_files", context):
        verifying.verify_some(int(event["gibibytes"]) << 30, deadline_of(context))
