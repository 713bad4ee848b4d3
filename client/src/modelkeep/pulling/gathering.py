"""Bytes that are wanted, from the cache or the store, to the paths that want them: small files whole, large ones by
ranges, all side by side. A file that arrives damaged is fetched once more."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modelkeep.errors import IntegrityError
from modelkeep.progress import Meter
from modelkeep.pulling.cache import Cache
from modelkeep.pulling.crew import Crew, Task
from modelkeep.pulling.disks import explained, locked, remove_quietly, sync
from modelkeep.pulling.fetching import Fetcher
from modelkeep.pulling.landing import Landing
from modelkeep.pulling.marker import Marker, record
from modelkeep.pulling.partials import BLOCK, Partial
from modelkeep.pulling.surveying import Content

WORKERS = 12  # ranges and small files at once; each has at most some MiB in memory
SMALL = BLOCK  # bytes; what is larger is gone on with after a crash
_SAVED_EVERY = 5.0  # seconds; what a kill makes us forget of where files are from


@dataclass
class _Job:
    """A large file: so many of its bytes were there already, so many ranges are still to come."""

    content: Content
    whole: Partial
    there: int
    stack: ExitStack  # holds its lock
    left: int
    fetched: int = 0
    broken: bool = False  # the store has not what it should: no use in fetching the rest


class Gathering:
    """All that one pull wants; `fetched` bytes came from the store, `damaged` contents came damaged twice."""

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        crew: Crew,
        landing: Landing,
        cache: Cache | None,
        meter: Meter,
        marker: Marker | None,
    ) -> None:
        self._fetcher = fetcher
        self._crew = crew
        self._landing = landing
        self._cache = cache
        self._meter = meter
        self._marker = marker
        self._workshop: Path = cache.workshop if cache else landing.workshop
        self._lock = threading.Lock()
        self._saved = time.monotonic()
        self._again: list[Content] = []
        self._tries: Counter[str] = Counter()
        self._held: list[ExitStack] = []
        self.damaged: list[Content] = []
        self.fetched = 0

    def run(self, wanted: Iterable[Content]) -> None:
        """Have it all at its place, or among `damaged`; or raise what stopped that."""
        with explained(self._workshop):
            self._workshop.mkdir(parents=True, exist_ok=True)
            try:
                self._crew.run(self._tasks(wanted))
                while self._again:
                    again, self._again = self._again, []
                    self._crew.run(self._tasks(again))
            finally:
                for stack in self._held:
                    stack.close()

    def save(self) -> None:
        """Write down which files are whose."""
        if self._marker is not None:
            with self._lock, explained(self._landing.root):
                self._marker.write(self._landing.root)
                self._saved = time.monotonic()

    def _tasks(self, wanted: Iterable[Content]) -> Iterator[Task]:
        for content in wanted:
            if self._cache is not None and self._cache.has(content.sha256, content.size):
                yield partial(self._take_cached, content)
            elif content.size <= SMALL:
                yield partial(self._fetch_small, content)
            else:
                yield from self._large_tasks(content)

    def _take_cached(self, content: Content) -> None:
        assert self._cache is not None
        if self._cache.holds(content.sha256, lambda count: self._crew.check()):
            self._land(content.paths, content, self._cache.path(content.sha256))
            self._meter.add(content.size * len(content.paths), skipped=True)
        else:
            self._again.append(content)

    def _fetch_small(self, content: Content) -> None:
        temporary = self._workshop / f"{content.sha256}.{secrets.token_hex(8)}"
        digest = hashlib.sha256()
        came = 0
        try:
            with temporary.open("xb") as file:

                def write(chunk: bytes) -> None:
                    nonlocal came
                    file.write(chunk)
                    digest.update(chunk)
                    came += len(chunk)
                    self._count(len(chunk))

                with suppress(IntegrityError):
                    self._fetcher.fetch(content.paths[0], 0, content.size, write)
            if came == content.size and digest.hexdigest() == content.sha256:
                self._keep(content, temporary)
            else:
                self._refuse(content, fetched=came)
        finally:
            remove_quietly(temporary)

    def _large_tasks(self, content: Content) -> Iterator[Task]:
        stack = ExitStack()
        if self._cache is not None:
            # Others may be at it, for a folder of theirs. Who holds a lock never waits before letting go of it (our
            # workers end what is begun while this thread waits), so it is no deadlock that some contents share one.
            lock = self._workshop / f"{content.sha256[:2]}.lock"
            stack.enter_context(locked(lock, check=self._crew.check))
            self._held.append(stack)
            if self._cache.has(content.sha256, content.size):
                stack.close()
                yield partial(self._take_cached, content)
                return
        whole = Partial(self._workshop / content.sha256, content.size)
        there = whole.open()
        self._meter.add(there, skipped=True)
        ranges = list(whole.missing())
        job = _Job(content, whole, there, stack, left=len(ranges))
        if not ranges:
            yield partial(self._finish, job)
        for start, length in ranges:
            yield partial(self._fetch_range, job, start, length)

    def _fetch_range(self, job: _Job, start: int, length: int) -> None:
        def write(chunk: bytes) -> None:
            writer.write(chunk)
            with self._lock:
                job.fetched += len(chunk)
            self._count(len(chunk))

        try:
            if not job.broken:
                with job.whole.writer(start) as writer:
                    self._fetcher.fetch(job.content.paths[0], start, length, write)
                job.whole.hash_on()
        except IntegrityError:
            job.broken = True
        with self._lock:
            job.left -= 1
            last = job.left == 0
        if last:
            self._finish(job)

    def _finish(self, job: _Job) -> None:
        with job.stack:
            if not job.broken and job.whole.digest() == job.content.sha256:
                self._keep(job.content, job.whole.path)
                job.whole.forget()
            else:
                job.whole.discard()
                self._meter.add(-job.there, skipped=True)
                self._refuse(job.content, fetched=job.fetched)

    def _refuse(self, content: Content, *, fetched: int) -> None:
        self._count(-fetched)
        with self._lock:
            self._tries[content.sha256] += 1
            (self._again if self._tries[content.sha256] < 2 else self.damaged).append(content)

    def _keep(self, content: Content, whole: Path) -> None:
        """What arrived intact goes to its places."""
        if self._cache is not None:
            self._land(content.paths, content, self._cache.add(whole, content.sha256))
        else:
            sync(whole)
            first, *others = content.paths
            self._note(first, content, self._landing.move(whole, first))
            self._land(others, content, self._landing.root / first)
        self._meter.add(content.size * (len(content.paths) - 1), skipped=True)

    def _land(self, paths: list[str], content: Content, whole: Path) -> None:
        with explained(self._landing.root):
            for path in paths:
                self._note(path, content, self._landing.copy(whole, path, link=self._cache is not None))
        if time.monotonic() - self._saved > _SAVED_EVERY:
            self.save()

    def _note(self, path: str, content: Content, found: os.stat_result) -> None:
        if self._marker is not None:
            self._marker.files[path] = record(content.sha256, found)

    def _count(self, count: int) -> None:
        with self._lock:
            self.fetched += count
        self._meter.add(count)
