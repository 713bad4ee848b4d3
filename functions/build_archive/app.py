"""Asked for by downloads: builds the ZIP of a version in the store."""

from __future__ import annotations

from typing import Any

from registry import exports
from registry.deadlines import deadline_of
from registry.observability import worker


def lambda_handler(event: dict[str, Any], context: Any) -> None:
    """Builds it, unless somebody does or has; what there is no time for is left to a successor."""
    with worker("build_archive", context):
        exports.build_archive(event, deadline_of(context))
