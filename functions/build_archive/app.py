"""Asked for by downloads: builds the ZIP of a version in the store."""

from __future__ import annotations

from typing import Any

from registry import exports


def lambda_handler(event: dict[str, Any], context: Any) -> None:
    """Builds it, unless somebody does or has."""
    del context
    exports.build_archive(event)
