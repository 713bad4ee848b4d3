"""A version that is there already: just what would be pushed, so that nothing is left to do, or something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelkeep.errors import ConflictError, DeniedError, NotFoundError
from modelkeep.names import Ref
from modelkeep.pushing.contents import Content
from modelkeep.pushing.scanning import Entry
from modelkeep.results import File, Version

if TYPE_CHECKING:
    from modelkeep.client import Client

_ANOTHER = "Leave the version out to make the next one, or name another."


class Existing:
    """A published version, by one call where it has at most 1,000 files; else its files are asked for when all else
    agrees."""

    def __init__(self, client: Client, ref: Ref, version: Version) -> None:
        self._client = client
        self._ref = ref
        self._known: dict[str, File] | None = None
        self.version = version

    @classmethod
    def find(cls, client: Client, ref: Ref) -> Existing | None:
        """None where there is none, or none that the caller may see: what a push then meets, it says itself."""
        try:
            return cls(client, ref, client.get(ref))
        except (NotFoundError, DeniedError):
            return None

    def check_sizes(self, entries: Sequence[Entry]) -> None:
        """ConflictError where the paths and sizes tell already, before a byte is read, that it has other files."""
        self._check_files({entry.path: (entry.stamp.size, None) for entry in entries})

    def check(self, content: Content) -> Version:
        """The version, if it has exactly these files and nothing else is said of it; else ConflictError."""
        self._check_files({file.path: (file.size, file.sha256) for file in content.files})
        if names := [
            name for name, value in content.fields.items() if not _same(_plain(name, value), self._said(name))
        ]:
            raise self._taken(
                f"It has exactly these files, and another {', '.join(names)}: "
                f"`modelkeep update {self._ref}` changes that. {_ANOTHER}"
            )
        return self.version

    def _check_files(self, ours: Mapping[str, tuple[int, str | None]]) -> None:
        facts = len(ours), sum(size for size, _ in ours.values())
        same = facts == (self.version.file_count, self.version.total_size) and ours.keys() == self._files.keys()
        if not same or not all(_fits(self._files[path], *known) for path, known in ours.items()):
            raise self._taken(f"It has other files, and a version never changes. {_ANOTHER}")

    @property
    def _files(self) -> dict[str, File]:
        if self._known is None:
            inline = self.version.files
            listed = inline if len(inline) == self.version.file_count else self._client.files(self._ref)
            self._known = {file.path: file for file in listed}
        return self._known

    def _said(self, name: str) -> Any:
        if name == "primary_file_path":  # the registry answers with the key in its bucket
            return next((path for path, file in self._files.items() if file.is_primary), None)
        return _plain(name, self.version.raw.get(name))

    def _taken(self, hint: str) -> ConflictError:
        return ConflictError(f"{self._ref} exists already", code="version_exists", hint=hint)


def taken_by_archive(error: ConflictError) -> ConflictError:
    """What is in a ZIP is known to the registry alone: it is never compared."""
    error.hint = _ANOTHER
    return error


def _fits(file: File, size: int, sha256: str | None) -> bool:
    return file.size == size and sha256 in (None, file.sha256)


def _plain(name: str, value: Any) -> Any:
    """Tags as the registry keeps them (layers/registry/registry/schemas/values.py), in no order."""
    if name != "tags" or not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        return value
    kept: dict[str, str] = {}
    for tag in ",".join(value).split(","):
        if trimmed := tag.strip():
            kept.setdefault(trimmed.casefold(), trimmed)
    return sorted(kept.values())


def _same(a: Any, b: Any) -> bool:
    """As JSON: true is not 1, and 1 is 1.0."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(value, b[name]) for name, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)
