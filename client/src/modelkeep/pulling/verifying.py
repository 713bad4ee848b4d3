"""Verify: a pulled folder, read whole, against what the registry says of its version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.errors import LocalFileError, UsageError
from modelkeep.names import Ref
from modelkeep.progress import Meter, OnProgress
from modelkeep.pulling.choosing import Selection
from modelkeep.pulling.crew import Crew, Task
from modelkeep.pulling.disks import digest_of, explained
from modelkeep.pulling.listing import Item, check_items
from modelkeep.pulling.marker import Marker, read_marker
from modelkeep.pulling.paths import check_paths, is_ours
from modelkeep.results import Verification

if TYPE_CHECKING:
    from modelkeep.client import Client

_WORKERS = min(8, os.cpu_count() or 1)  # hashing is bound by processors, then by the disk


def verify(client: Client, directory: Path, ref: Ref | None, *, on_progress: OnProgress | None) -> Verification:
    """Each file of the version: intact, damaged or missing; and what else is in the folder. Without `ref`, where what
    was pulled are files by patterns, the others are not missing."""
    root = directory.absolute()
    if not root.is_dir():
        raise LocalFileError(f"{root} is no folder", code="no_folder", hint="Name a folder that was pulled.")
    selections = [Selection([])]
    if ref is None:
        marker = _marker(client, root)
        ref = marker.ref
        selections = [Selection(patterns) for patterns in marker.selections] or selections
    version = client.get(ref)
    ref = ref.at(version.version)
    items: list[Item] = []
    others: list[Item] = []
    for item in check_items(client.files(ref), ref):
        (items if any(item.path in selection for selection in selections) else others).append(item)
    check_paths(item.path for item in [*items, *others])
    items.extend(item for item in others if os.path.lexists(root / item.path))
    result = Verification(version, root, intact=[], damaged=[], missing=[], unknown=[])
    with explained(root):
        _read(root, items, result, on_progress)
        known = {item.path for item in items}
        result.unknown.extend(sorted(path for path in _walk(root) if path not in known))
    for names in (result.intact, result.damaged, result.missing):
        names.sort()
    return result


def _read(root: Path, items: list[Item], result: Verification, on_progress: OnProgress | None) -> None:
    crew = Crew(_WORKERS)
    there: list[tuple[Item, int]] = []
    for item in items:
        path = root / item.path
        if path.is_file():
            there.append((item, path.stat().st_size))
        elif os.path.lexists(path):
            result.damaged.append(item.path)
        else:
            result.missing.append(item.path)
    reading = [item for item, size in there if size == item.size]
    result.damaged.extend(item.path for item, size in there if size != item.size)
    meter = Meter(on_progress, "check", sum(item.size for item in reading))

    def read(item: Item) -> None:
        def tell(count: int) -> None:
            crew.check()
            meter.add(count)

        digest = digest_of(root / item.path, tell)
        (result.intact if digest == item.sha256 else result.damaged).append(item.path)

    def tasks() -> Iterator[Task]:
        return (partial(read, item) for item in reading)

    crew.run(tasks())
    meter.finish()


def _walk(root: Path) -> Iterator[str]:
    """Every file below, as a version would call it, without ours."""
    for folder, folders, names in os.walk(root):
        if Path(folder) == root:
            folders[:] = [name for name in folders if not is_ours(name)]
        for name in names:
            path = (Path(folder) / name).relative_to(root).as_posix()
            if not is_ours(path.rpartition("/")[2]):
                yield path
        # os.walk counts links to folders among the folders, and does not go into them.
        for name in folders:
            if (Path(folder) / name).is_symlink():
                yield (Path(folder) / name).relative_to(root).as_posix()


def _marker(client: Client, root: Path) -> Marker:
    marker = read_marker(root)
    if marker is None:
        raise UsageError(
            f"{root} does not say what it was pulled from", code="no_marker", hint="Name it: USER/MODEL:VERSION."
        )
    if marker.url != client.url:
        raise UsageError(
            f"{root} was pulled from another registry, {marker.url}",
            code="other_registry",
            hint=f"Set MODELKEEP_URL={marker.url}, or say {marker.ref} to hold it against {client.url}.",
        )
    return marker
