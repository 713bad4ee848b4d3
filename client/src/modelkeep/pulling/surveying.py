"""Before a pull: what of a version is in the folder already, what is wanted, and what is in the way."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import partial

from modelkeep.errors import LocalFileError
from modelkeep.progress import Meter, OnProgress
from modelkeep.pulling.crew import Crew, Task
from modelkeep.pulling.disks import digest_of
from modelkeep.pulling.landing import Landing
from modelkeep.pulling.listing import Item
from modelkeep.pulling.marker import Record, record
from modelkeep.pulling.paths import show


@dataclass(slots=True)
class Content:
    """Bytes that are wanted, and the paths that want them."""

    sha256: str
    size: int
    paths: list[str]


@dataclass
class Survey:
    """What was found: files that are there, bytes that are wanted by digest, files of others in the way."""

    present: dict[str, Record] = field(default_factory=dict)
    wanted: dict[str, Content] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)

    def want(self, item: Item) -> None:
        """These bytes have to come to that path."""
        content = self.wanted.setdefault(item.sha256, Content(item.sha256, item.size, []))
        if content.size != item.size:
            raise LocalFileError(f"the version has two sizes for the digest of {show(item.path)}", code="bad_list")
        content.paths.append(item.path)


def survey(
    landing: Landing,
    items: Iterable[Item],
    records: Mapping[str, Record],
    planned: Mapping[str, Set[tuple[str, int]]],
    crew: Crew,
    *,
    replaceable: frozenset[str],
    force: bool,
    on_progress: OnProgress | None,
) -> Survey:
    """Look at each item's path. What `records` tell of, and nobody touched since, is not read unless `force` (disks
    forget); what else is there is read whole. A file that differs may be replaced if an earlier pull left it so or had
    `planned` it (digests and sizes by path), if it is one of `replaceable`, or by force; LocalFileError `in_the_way` if
    none of that, and nothing was changed."""
    found = Survey()
    unknown: list[tuple[Item, os.stat_result]] = []
    for item in items:
        there = landing.look(item.path)
        known = records.get(item.path)
        if there is None:
            found.want(item)
        elif stat.S_ISDIR(there.st_mode):
            raise _in_the_way(landing, [item.path], folder=True)
        elif not stat.S_ISREG(there.st_mode):
            (found.want(item) if force else found.changed.append(item.path))
        elif known is not None and known.is_of(there) and not force:
            if known.sha256 == item.sha256:
                found.present[item.path] = known
            else:
                found.want(item)
        else:
            unknown.append((item, there))
    _read(
        landing,
        found,
        unknown,
        _left(unknown, records, planned),
        crew,
        replaceable,
        force=force,
        on_progress=on_progress,
    )
    if found.changed:
        raise _in_the_way(landing, sorted(found.changed))
    return found


def _left(
    unknown: Iterable[tuple[Item, os.stat_result]],
    records: Mapping[str, Record],
    planned: Mapping[str, Set[tuple[str, int]]],
) -> dict[str, set[tuple[str, int]]]:
    """What earlier pulls may have left at these paths: digests and sizes."""
    left = {item.path: set(planned.get(item.path, ())) for item, _ in unknown}
    for path, contents in left.items():
        if (known := records.get(path)) is not None:
            contents.add((known.sha256, known.size))
    return left


def _read(
    landing: Landing,
    found: Survey,
    unknown: list[tuple[Item, os.stat_result]],
    left: Mapping[str, Set[tuple[str, int]]],
    crew: Crew,
    replaceable: frozenset[str],
    *,
    force: bool,
    on_progress: OnProgress | None,
) -> None:
    # Another size is another content; then only what an earlier pull left is worth reading.
    def worth(item: Item, there: os.stat_result) -> bool:
        sizes = {size for _, size in left[item.path]}
        return there.st_size == item.size or (not force and there.st_size in sizes)

    reading = [each for each in unknown if worth(*each)]
    digests: dict[str, str] = {}
    if reading:
        meter = Meter(on_progress, "check", sum(there.st_size for _, there in reading))

        def read(item: Item) -> None:
            def tell(count: int) -> None:
                crew.check()
                meter.add(count)

            digests[item.path] = digest_of(landing.root / item.path, tell)

        def tasks() -> Iterator[Task]:
            return (partial(read, item) for item, _ in reading)

        crew.run(tasks())
        meter.finish()
    for item, there in unknown:
        digest = digests.get(item.path)
        if digest == item.sha256:
            found.present[item.path] = record(digest, there)
        elif force or item.path in replaceable or (digest, there.st_size) in left[item.path]:
            found.want(item)
        else:
            found.changed.append(item.path)


def _in_the_way(landing: Landing, paths: list[str], *, folder: bool = False) -> LocalFileError:
    named = ", ".join(map(show, paths[:5])) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    if folder:
        return LocalFileError(
            f"{landing.root} has a folder where the version has the file {named}",
            code="in_the_way",
            hint="Move it away, or pull into another folder by -o DIR.",
            extra={"files": paths},
        )
    return LocalFileError(
        f"{landing.root} has files of its own where the version has others: {named}",
        code="in_the_way",
        hint="Pull into another folder by -o DIR, move them away, or have them replaced by --force.",
        extra={"files": paths},
    )
