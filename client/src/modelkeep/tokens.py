"""What a token says of itself. Nothing of it is verified here: only the registry can."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any


def claims_of(token: str | None) -> dict[str, Any] | None:
    """The claims of a JWT; None for any other token, or none."""
    parts = (token or "").split(".")
    if len(parts) != 3:
        return None
    try:
        said = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
