"""What a token is, and says of itself. Nothing of it is verified here: only the registry can."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from modelkeep.errors import UsageError


def check_token(text: str, source: str = "this") -> str:
    """The token in what was given, without white space around it or `Bearer` before it; UsageError for what can't be
    one. Never in the error: http.client's own would show all of it."""
    token = re.sub(r"^bearer(\s+|$)", "", text.strip(), flags=re.IGNORECASE)
    if not token:
        raise UsageError("no token was given", code="bad_token")
    if not token.isascii() or not token.isprintable() or " " in token:
        said = f"{source} can't be a token: it has blanks, line ends or other characters that none has"
        raise UsageError(said, code="bad_token")
    return token


def is_registry_token(token: str | None) -> bool:
    """Whether it is one of the registry's own, which says nothing of itself."""
    return (token or "").startswith("mk_")


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
