"""Names and S3 keys: what an id may look like, and the only place where keys are put together or taken apart."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass

from registry.errors import InvalidError
from registry.settings import get_settings

_MODEL_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_USER_ID = re.compile(r"[A-Za-z0-9._@|+-]{1,128}")
_SLOT = re.compile(r"[0-9]{6,9}")
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_GROUP = _USER_ID  # so that `@group` stands wherever a user id does
_TOKEN_ID = re.compile(r"tok_[0-9a-f]{32}")
_MODEL_PATTERN = re.compile(r"[A-Za-z0-9._*-]{1,128}")
RESERVED_USER_IDS = frozenset({"upload", "search", "tokens", "grants", "groups", "me", "health", "docs", "admin"})
MAX_KEY_BYTES = 1024  # S3's limit
ARCHIVE_SLOT = "archive"


def check_user_id(user_id: str) -> str:
    """The user id, or InvalidError."""
    if not _USER_ID.fullmatch(user_id) or user_id in (".", ".."):
        raise InvalidError(
            "user_id must be 1 to 128 of A-Z a-z 0-9 . _ @ | + - and not '.' or '..'", code="bad_user_id"
        )
    if user_id in RESERVED_USER_IDS or user_id.startswith("_"):
        raise InvalidError(f"user_id {user_id!r} is reserved", code="bad_user_id")
    return user_id


def check_grantee(grantee: str) -> str:
    """A user id, or @ and a group's name; or InvalidError. What begins with @ is a group, whatever users are called."""
    if not grantee.startswith("@"):
        return check_user_id(grantee)
    if not is_group(grantee[1:]):
        raise InvalidError("a group must be @ and 1 to 128 of A-Z a-z 0-9 . _ @ | + -", code="bad_grantee")
    return grantee


def check_model_id(model_id: str) -> str:
    """The model id, or InvalidError."""
    if not _MODEL_ID.fullmatch(model_id) or model_id in (".", ".."):
        raise InvalidError("model_id must be 1 to 128 of A-Z a-z 0-9 . _ - and not '.' or '..'", code="bad_model_id")
    return model_id


def is_version(version: str) -> bool:
    """Whether a version can have this name; `latest` is what readers call the newest, and names none."""
    return _MODEL_ID.fullmatch(version) is not None and version not in (".", "..", "latest")


def check_version(version: str) -> str:
    """The version's name, or InvalidError."""
    if not is_version(version):
        raise InvalidError(
            "version must be 1 to 128 of A-Z a-z 0-9 . _ - and not '.', '..' or 'latest'", code="bad_version"
        )
    return version


def is_group(name: str) -> bool:
    """Whether a group of the issuer's can be named here."""
    return _GROUP.fullmatch(name) is not None


def is_token_id(text: str) -> bool:
    """Whether a registry token can have this id."""
    return _TOKEN_ID.fullmatch(text) is not None


def new_token_id() -> str:
    """A fresh id of a registry token; such ids sort by age, and are no secret."""
    return f"tok_{new_upload_id()}"


def is_model_pattern(text: str) -> bool:
    """Whether this is a pattern of model ids: a model id in which `*` stands for any characters."""
    return _MODEL_PATTERN.fullmatch(text) is not None


def check_model_pattern(text: str) -> str:
    """The pattern, or InvalidError."""
    if not is_model_pattern(text):
        raise InvalidError(
            "models must be a model id in which * stands for any characters: 1 to 128 of A-Z a-z 0-9 . _ - *",
            code="bad_models",
        )
    return text


def check_upload_id(upload_id: str) -> str:
    """The upload id, or InvalidError."""
    if not _UPLOAD_ID.fullmatch(upload_id):
        raise InvalidError("upload_id must be 32 hex digits", code="bad_upload_id")
    return upload_id


def new_upload_id() -> str:
    """A fresh upload id: 48 bits of milliseconds, so that ids sort by age, then 80 random ones."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def escape_user_id(user_id: str) -> str:
    """The user id as keys carry it: `|` and `+`, which S3 tools mishandle, as =7C and =2B (`=` is in no user id)."""
    return user_id.replace("|", "=7C").replace("+", "=2B")


def unescape_user_id(text: str) -> str:
    """The inverse of `escape_user_id`."""
    return text.replace("=7C", "|").replace("=2B", "+")


def version_prefix(user_id: str, model_id: str, version: str, *, attempt: str | None = None) -> str:
    """Where a version's files lie; with `attempt` (an upload id) apart from an earlier attempt at the same name."""
    suffix = f"~{attempt}" if attempt else ""
    return f"{get_settings().models_prefix}{escape_user_id(user_id)}/{model_id}/{version}{suffix}/"


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What a key below models/ says: whose model and version it is of, and the version's prefix."""

    user_id: str
    model_id: str
    version: str
    prefix: str


def parse_model_key(key: str) -> ModelKey | None:
    """What the key of a version's file says; None for any other key."""
    top = get_settings().models_prefix
    parts = key.removeprefix(top).split("/", 3)
    if not key.startswith(top) or len(parts) != 4 or not parts[3]:
        return None
    user_id, model_id, (version, _, attempt) = unescape_user_id(parts[0]), parts[1], parts[2].partition("~")
    if not (_USER_ID.fullmatch(user_id) and _MODEL_ID.fullmatch(model_id) and is_version(version)):
        return None
    prefix = key[: len(key) - len(parts[3])]
    if prefix != version_prefix(user_id, model_id, version, attempt=attempt):
        return None
    return ModelKey(user_id, model_id, version, prefix)


def file_key(prefix: str, path: str) -> str:
    """The key of a version's file; InvalidError where S3's 1,024 bytes do not hold it."""
    key = prefix + path
    if len(key.encode()) > MAX_KEY_BYTES:
        raise InvalidError(
            f"path {path[:80]!r} is too long: with the ids before it a key may have {MAX_KEY_BYTES} bytes",
            code="path_too_long",
        )
    return key


@dataclass(frozen=True, slots=True)
class InboxKey:
    """What an inbox key says: whose upload, which one, and which of its files (`archive`, or a file's number)."""

    user_id: str
    upload_id: str
    slot: str


def inbox_prefix(user_id: str, upload_id: str) -> str:
    """Where one upload's untrusted bytes arrive."""
    return f"{get_settings().inbox_prefix}{escape_user_id(user_id)}/{upload_id}/"


def inbox_key(user_id: str, upload_id: str, slot: str | int) -> str:
    """The inbox key of one file of an upload; never made of the client's path."""
    name = f"{slot:06d}" if isinstance(slot, int) else slot
    return inbox_prefix(user_id, upload_id) + name


def parse_inbox_key(key: str) -> InboxKey | None:
    """What an inbox key says; None for any key that `inbox_key` never makes."""
    prefix = get_settings().inbox_prefix
    parts = key.removeprefix(prefix).split("/")
    if not key.startswith(prefix) or len(parts) != 3:
        return None
    user, upload_id, slot = parts
    if not _UPLOAD_ID.fullmatch(upload_id) or not (slot == ARCHIVE_SLOT or _SLOT.fullmatch(slot)):
        return None
    user_id = unescape_user_id(user)
    number = int(slot) if slot != ARCHIVE_SLOT else slot
    if not _USER_ID.fullmatch(user_id) or inbox_key(user_id, upload_id, number) != key:
        return None
    return InboxKey(user_id, upload_id, slot)


def claim_key() -> str:
    """What says whose the bucket is: below models/, which every installation writes; no user id begins with `_`."""
    return f"{get_settings().models_prefix}_claim.json"


def archive_key(user_id: str, model_id: str, version: str, upload_id: str) -> str:
    """Where the ZIP of a whole version is kept once built."""
    return f"{get_settings().archives_prefix}{escape_user_id(user_id)}/{model_id}/{version}/{upload_id}.zip"


def last_segment(filename: str) -> str:
    """What a client means by a file name that may be a whole path of its own machine."""
    return filename.replace("\\", "/").rsplit("/", 1)[-1]
