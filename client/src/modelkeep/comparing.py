"""Diff: two versions' files by digest, and what is said of them side by side."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from modelkeep.names import Ref
from modelkeep.results import Change, Difference, File, Version

if TYPE_CHECKING:
    from modelkeep.client import Client

# What two versions can't have in common, or what follows from their files.
_OWN = {
    "user_id", "model_id", "version", "files", "primary_file_path", "created_at", "updated_at",
    "file_count", "total_size", "model_size_mb", "etag", "raw",
}  # fmt: skip


def diff(client: Client, a: Ref, b: Ref) -> Difference:
    """What differs. Both lists are paged through; `primary_file_path` is compared as a path in the version."""
    version_a, version_b = client.get(a), client.get(b)
    left = {file.path: file for file in client.files(a.at(version_a.version))}
    right = {file.path: file for file in client.files(b.at(version_b.version))}
    both = [(left[path], right[path]) for path in sorted(left.keys() & right.keys())]
    changed = [Change(one.path, one, other) for one, other in both if one.sha256 != other.sha256]
    metadata = {
        name: (getattr(version_a, name), getattr(version_b, name))
        for name in (each.name for each in fields(Version))
        if name not in _OWN and getattr(version_a, name) != getattr(version_b, name)
    }
    primary = _primary(left), _primary(right)
    if primary[0] != primary[1]:
        metadata["primary_file_path"] = primary
    return Difference(
        a=version_a,
        b=version_b,
        only_a=[left[path] for path in sorted(left.keys() - right.keys())],
        only_b=[right[path] for path in sorted(right.keys() - left.keys())],
        changed=changed,
        same=len(both) - len(changed),
        metadata=metadata,
    )


def _primary(files: dict[str, File]) -> Any:
    return next((path for path, file in files.items() if file.is_primary), None)
