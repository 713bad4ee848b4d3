"""Pull: a version's files into a folder, side by side, each checked against its digest before it gets its name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from modelkeep.errors import IntegrityError
from modelkeep.names import Ref
from modelkeep.progress import Meter, OnProgress
from modelkeep.pulling.cache import Cache
from modelkeep.pulling.choosing import choose
from modelkeep.pulling.crew import Crew
from modelkeep.pulling.disks import disk_full, explained, free_bytes, lock_of, locked
from modelkeep.pulling.fetching import Fetcher
from modelkeep.pulling.gathering import WORKERS, Gathering
from modelkeep.pulling.landing import Landing
from modelkeep.pulling.listing import Item, Listing
from modelkeep.pulling.marker import Marker, read_marker
from modelkeep.pulling.paths import MARKER, check_paths, show, spelling
from modelkeep.pulling.surveying import Content, survey
from modelkeep.results import Pulled, Version

if TYPE_CHECKING:
    from modelkeep.client import Client


def pull(
    client: Client,
    ref: Ref,
    directory: Path | None,
    *,
    patterns: Sequence[str],
    cache: bool,
    force: bool,
    on_progress: OnProgress | None,
) -> Pulled:
    """Fetch what is missing. Names are checked before anything is written, room before anything is fetched; a file that
    a user changed is not replaced unless by `force`. What an earlier pull of another version of this model left, and
    nobody touched since, goes: the folder holds files of one version."""
    version = client.get(ref)  # only this answers to what `ref` means; a newer version may come meanwhile
    ref = ref.at(version.version)
    landing = Landing((directory or Path(ref.model_id)).absolute())
    listing = Listing(client.api, ref)
    ours: list[str] = []  # files of the version that are named as our marker is

    def watched(item: Item) -> Item:
        if spelling(item.path) == MARKER:
            ours.append(item.path)
        return item

    items = choose(map(watched, listing.items()), patterns, ref)
    listing.check_count(version.file_count)
    check_paths(item.path for item in items)
    pull = _Pull(client, version, ref, landing, listing, force=force, marked=not ours, on_progress=on_progress)
    with locked(lock_of(client.config.home.state, landing.root)), explained(landing.root):
        try:
            landing.make()
            landing.clean(listing.digests())
            return pull.run(items, patterns, Cache(client.config.home.cache) if cache else None)
        finally:
            with suppress(OSError):
                landing.workshop.rmdir()  # unless there is something to go on with


class _Pull:
    """One pull into a folder that is ours alone meanwhile."""

    def __init__(
        self,
        client: Client,
        version: Version,
        ref: Ref,
        landing: Landing,
        listing: Listing,
        *,
        force: bool,
        marked: bool,
        on_progress: OnProgress | None,
    ) -> None:
        self._client = client
        self._version = version
        self._ref = ref
        self._landing = landing
        self._listing = listing
        self._force = force
        self._marked = marked  # whether the folder gets a marker
        self._on_progress = on_progress

    def run(self, items: list[Item], patterns: Sequence[str], cache: Cache | None) -> Pulled:
        root, crew = self._landing.root, Crew(WORKERS)
        before = read_marker(root)
        same_model = before is not None and before.ref.at("") == self._ref.at("")
        records = before.files if before is not None and same_model else {}
        planned = before.planned if before is not None and same_model else {}
        found = survey(
            self._landing,
            items,
            records,
            planned,
            crew,
            replaceable=frozenset({MARKER} if before is not None else ()),
            force=self._force,
            on_progress=self._on_progress,
        )
        wanted = list(found.wanted.values())
        self._check_room(wanted, cache)
        marker = Marker(self._client.url, self._ref, files={**records, **found.present}, planned=planned)
        for content in wanted:
            for path in content.paths:
                planned.setdefault(path, set()).add((content.sha256, content.size))
        if before is not None and before.ref == self._ref:
            marker.selections = before.selections
        marker.select(patterns)
        total = sum(item.size for item in items)
        meter = Meter(self._on_progress, "fetch", total)
        meter.add(sum(record.size for record in found.present.values()), skipped=True)
        gathering = Gathering(
            fetcher=Fetcher(self._client.store, self._listing, crew),
            crew=crew,
            landing=self._landing,
            cache=cache,
            meter=meter,
            marker=marker if self._marked else None,
        )
        try:
            gathering.save()
            gathering.run(wanted)
            if not gathering.damaged:
                # Whatever the marker says of the version: a pull that was killed before this has written it, too.
                self._remove_leftovers(items, marker)
                marker.planned = {}
        finally:
            try:
                meter.finish()  # may raise, as any callback
            finally:
                gathering.save()
                self._landing.sync()
        if gathering.damaged:
            raise _damaged(self._ref, [path for content in gathering.damaged for path in content.paths])
        return Pulled(
            version=self._version,
            directory=root,
            paths=[item.path for item in items],
            bytes_total=total,
            bytes_fetched=gathering.fetched,
            bytes_present=total - gathering.fetched,
        )

    def _check_room(self, wanted: list[Content], cache: Cache | None) -> None:
        """LocalFileError `disk_full` before anything is fetched, where it is plain that there is no room."""
        root, workshop = self._landing.root, cache.workshop if cache else self._landing.workshop
        fetched = sum(
            content.size - _allocated(workshop / content.sha256, content.size)
            for content in wanted
            if not (cache and cache.has(content.sha256, content.size))
        )
        if cache is not None:
            with explained(workshop):
                workshop.mkdir(parents=True, exist_ok=True)
            # Without links and shared blocks every file is there twice.
            apart = workshop.stat().st_dev != root.stat().st_dev
            copied = sum(content.size * len(content.paths) for content in wanted) if apart else 0
        else:
            copied = sum(content.size * (len(content.paths) - 1) for content in wanted)
            apart = False
        if not apart:
            fetched, copied = fetched + copied, 0
        for folder, needed in ((workshop, fetched), (root, copied)):
            if needed > free_bytes(folder):
                raise disk_full(folder, needed=needed)

    def _remove_leftovers(self, items: list[Item], marker: Marker) -> None:
        """What earlier versions have and this one has not, or has otherwise: unless somebody touched it. Not by
        `planned`, which any version can make up that brings a file of the marker's name; nobody makes up an inode."""
        of_this = {item.path for item in items}
        for path, record in list(marker.files.items()):
            if path in of_this or self._listing.digest(path) == record.sha256:
                continue
            there = self._landing.look(path)
            if there is not None and record.is_of(there):
                self._landing.remove(path)
            del marker.files[path]


def _allocated(partial: Path, size: int) -> int:
    """What a file that is under way has of the disk already."""
    try:
        found = partial.stat()
    except OSError:
        return 0
    return min(size, found.st_blocks * 512 if os.name == "posix" else found.st_size)


def _damaged(ref: Ref, paths: list[str]) -> IntegrityError:
    named = ", ".join(map(show, sorted(paths)[:5])) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    return IntegrityError(
        f"what the store has of {ref} is not what was pushed, fetched twice: {named}",
        code="damaged",
        hint="These files were not written; all others are there. Tell who runs the registry, or push them anew.",
        extra={"files": sorted(paths)},
    )
