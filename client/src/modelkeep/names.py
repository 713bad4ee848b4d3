"""How models, versions and files are named: `USER/MODEL[:VERSION][/PATH]`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import quote

from modelkeep.errors import UsageError

# The registry's rules (docs/design.md, section 1.1).
_USER_ID = re.compile(r"[A-Za-z0-9._@|+-]{1,128}")
_RULE = "1 to 128 of A-Z a-z 0-9 . _ -"
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True)
class Ref:
    """A model, one of its versions (None: the newest, or when pushing the next) or a file in it."""

    user_id: str
    model_id: str
    version: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        version = f":{self.version}" if self.version else ""
        return f"{self.user_id}/{self.model_id}{version}" + (f"/{self.path}" if self.path else "")

    @property
    def route(self) -> str:
        """The model's path in the API."""
        return f"/ai-models/{quote(self.user_id, safe='')}/{quote(self.model_id, safe='')}"

    @property
    def query(self) -> dict[str, str]:
        """The version as the API's routes take it."""
        return {"version": self.version} if self.version else {}

    def at(self, version: str) -> Ref:
        """The same model or file at that version."""
        return replace(self, version=version)


def parse_ref(text: str | Ref, *, file: bool = False) -> Ref:
    """`alice/bert`, `alice/bert:v2`; with `file` also, and only, `alice/bert:v2/weights/a.safetensors`. UsageError for
    what is none. `latest` means no version: the newest."""
    if isinstance(text, Ref):
        if file != bool(text.path):
            raise UsageError(f"{text} names {'no' if file else 'a'} file", code="bad_name", hint=_hint(file))
        return text
    parts = text.removeprefix("modelkeep://").split("/", 2)
    if len(parts) < 2 or (len(parts) == 3) != file or (file and not parts[2]):
        raise UsageError(f"{text!r} is not {_form(file)}", code="bad_name", hint=_hint(file))
    user_id, (model_id, colon, version) = parts[0], parts[1].partition(":")
    check_user_id(user_id)
    if not _is_id(model_id):
        raise UsageError(
            f"{model_id!r} can't be a model's name: {_RULE}",
            code="bad_model_id",
            hint=_hint(file),
        )
    if colon and not _is_id(version):
        raise UsageError(
            f"{version!r} can't be a version's name: {_RULE}",
            code="bad_version",
            hint=_hint(file),
        )
    return Ref(user_id, model_id, None if version in ("", "latest") else version, parts[2] if file else None)


def check_user_id(user_id: str) -> str:
    """The user's name; UsageError where none can be so."""
    if not _USER_ID.fullmatch(user_id) or user_id in (".", ".."):
        raise UsageError(f"{user_id!r} can't be a user's name: 1 to 128 of A-Z a-z 0-9 . _ @ | + -", code="bad_user_id")
    return user_id


def is_version(text: object) -> bool:
    """Whether a version can be called so: what a registry says is not believed."""
    return isinstance(text, str) and _is_id(text)


def _is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None and text not in (".", "..")


def _form(file: bool) -> str:
    return "USER/MODEL[:VERSION]/PATH" if file else "USER/MODEL[:VERSION]"


def _hint(file: bool) -> str:
    return f"Write {_form(file)}, for example alice/bert:v2{'/config.json' if file else ''}."
