"""On a schedule: what was lost, has died or is overdue."""

from __future__ import annotations

from typing import Any

from registry.deadlines import deadline_of
from registry.observability import worker
from registry.uploads import sweeping


def lambda_handler(event: dict[str, Any], context: Any) -> None:
    """Looks at what is due; `{"detail": {"all": true}}`: at all that is open, as after a crash."""
    with worker("sweep_uploads", context):
        deadline = deadline_of(context)
        sweeping.sweep(deadline, everything=bool((event.get("detail") or {}).get("all")))
