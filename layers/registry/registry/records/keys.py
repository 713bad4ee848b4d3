"""The keys of rows, and times as they carry them."""

from __future__ import annotations

import hashlib
import time

WORK_SHARDS = 4
ALL_MODELS = "*"  # in a GrantRow: no model has this id


def version_key(user_id: str, model_id: str, version: str) -> tuple[str, str]:
    """The key of a VersionRow."""
    return f"M#{user_id}#{model_id}", f"V#{version}"


def digest_pk(user_id: str, sha256: str) -> str:
    """The partition of the rows that say where a user's bytes with this digest lie."""
    return f"D#{user_id}#{sha256}"


def grant_key(user_id: str, grantee: str) -> tuple[str, str]:
    """The key of a GrantRow: what has been granted to a user, or to an @group, in a user's namespace."""
    return f"G#{user_id}", grantee


def idempotency_pk(user_id: str, principal: str, key: str) -> str:
    """The partition of an IdempotencyRow; hashed, as keys are of any length and some are secret."""
    both = f"{principal}\n{key}".encode()
    return f"I#{user_id}#{hashlib.sha256(both).hexdigest()}"


def token_pk(token: str) -> str:
    """The partition of a TokenRow: by what the token hashes to, as the token itself is kept nowhere. It has 256 random
    bits, which nobody guesses however fast SHA-256 is."""
    return f"T#{hashlib.sha256(token.encode()).hexdigest()}"


def work_key(upload_id: str, due: float, of: str = "") -> tuple[str, str]:
    """The key of a WorkRow that is due at a time in seconds since 1970. `of` tells what is not the upload's own (a
    delete, an archive) from what is, and may be due in the same second."""
    return f"WK#{int(upload_id[-2:], 16) % WORK_SHARDS}", f"{int(due):012d}#{upload_id}{of and '#'}{of}"


def now_text() -> str:
    """The present moment, RFC 3339, UTC, microseconds, of fixed width so that it sorts."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return time_text(seconds, nanoseconds // 1000)


def time_text(seconds: float, microseconds: int = 0) -> str:
    """A time in whole seconds since 1970, as RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{microseconds:06d}Z"
