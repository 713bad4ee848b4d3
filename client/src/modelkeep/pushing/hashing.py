"""SHA-256 of local files: read side by side, and remembered, so that a file that has not changed is not read again."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from modelkeep.errors import LocalFileError
from modelkeep.progress import Meter
from modelkeep.pushing.scanning import Entry, Stamp, unreadable
from modelkeep.workers import StoppedError, side_by_side

CHUNK = 1024 * 1024  # bytes in memory at a time, of one file
_THREADS = min(8, os.cpu_count() or 1)
# A file changed twice within one tick of its file system's clock looks the same after the second change; the coarsest
# clock (FAT) ticks every 2 s. Git calls such entries racy, and like us reads them again.
_RACY_NS = 2_000_000_000
_BATCH = 200  # small files' digests written at once
_LARGE = 64 * CHUNK  # bytes; whose digest is written at once, as reading it again would take long
_SCHEMA = """
CREATE TABLE IF NOT EXISTS digests (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode TEXT, sha256 TEXT
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file to push whose content is known."""

    path: str
    source: Path
    stamp: Stamp
    sha256: str  # 64 hex digits

    @property
    def size(self) -> int:
        """In bytes."""
        return self.stamp.size


class Hashes:
    """Digests by path, size, times and inode, in SQLite; for many threads and processes. Where it can't be used (a
    read-only disk, a damaged file) all goes on without it."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[object, ...]] = []
        self._database: sqlite3.Connection | None = None
        self._path = folder / "digests.sqlite"
        with self._unless_damaged(), suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database = _open(self._path)

    def get(self, source: Path, stamp: Stamp) -> str | None:
        """The digest of a file that has not changed since it was read."""
        with self._lock, self._unless_damaged():
            if self._database is None:
                return None
            row = self._database.execute(
                "SELECT sha256 FROM digests WHERE (path, size, mtime_ns, ctime_ns, inode) = (?, ?, ?, ?, ?)",
                _key(source, stamp),
            ).fetchone()
            return str(row[0]) if row else None
        return None

    def put(self, source: Path, stamp: Stamp, sha256: str, *, began_ns: int) -> None:
        """Remember a digest; not of a file that had been changed just before its reading began."""
        if max(stamp.mtime_ns, stamp.ctime_ns) > began_ns - _RACY_NS:
            return
        with self._lock:
            self._waiting.append((*_key(source, stamp), sha256))
            if len(self._waiting) >= _BATCH or stamp.size >= _LARGE:
                self._write()

    def forget(self, source: Path) -> None:
        """For a file whose content is not what its digest says."""
        with self._lock, self._unless_damaged():
            self._write()
            if self._database is not None:
                with self._database:
                    self._database.execute("DELETE FROM digests WHERE path = ?", (_text(source),))

    def close(self) -> None:
        """Write what is waiting."""
        with self._lock:
            self._write()
            if self._database is not None:
                self._database.close()
                self._database = None

    def _write(self) -> None:
        rows, self._waiting = self._waiting, []
        if rows and self._database is not None:
            with self._unless_damaged(), self._database:
                self._database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", rows)

    @contextmanager
    def _unless_damaged(self) -> Iterator[None]:
        """Without an answer where it is busy or its disk read-only. One that is damaged is made anew: it holds nothing
        that can't be found out again, and else would make every push read all."""
        try:
            yield
        except sqlite3.OperationalError:
            pass
        except sqlite3.DatabaseError:
            with suppress(sqlite3.Error, OSError):
                if self._database is not None:
                    self._database.close()
                self._database = None
                self._path.unlink()
                self._database = _open(self._path)


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=10, check_same_thread=False)
    try:
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(_SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _text(source: Path) -> str:
    return os.fsencode(source).decode("utf-8", "backslashreplace")


def _key(source: Path, stamp: Stamp) -> tuple[object, ...]:
    # As text: an inode may have 64 bits without a sign, which SQLite's numbers don't.
    return (_text(source), stamp.size, stamp.mtime_ns, stamp.ctime_ns, str(stamp.inode))


def hash_files(entries: Sequence[Entry], hashes: Hashes, meter: Meter, stop: threading.Event) -> list[Hashed]:
    """All the files with their digests, in the same order. LocalFileError for one that can't be read, or changes
    meanwhile."""
    known: dict[int, Hashed] = {}
    for place, entry in enumerate(entries):
        if (sha256 := hashes.get(entry.source, entry.stamp)) is not None:
            known[place] = Hashed(entry.path, entry.source, entry.stamp, sha256)
            meter.add(entry.stamp.size, skipped=True)

    def read(place: int) -> None:
        known[place] = _hash_file(entries[place], hashes, meter, stop)

    side_by_side(
        (lambda place=place: read(place) for place in range(len(entries)) if place not in known),  # type: ignore[misc]
        threads=_THREADS,
        stop=stop,
    )
    meter.finish()
    return [known[place] for place in range(len(entries))]


def _hash_file(entry: Entry, hashes: Hashes, meter: Meter, stop: threading.Event) -> Hashed:
    began_ns = time.time_ns()
    digest = hashlib.sha256()
    try:
        with entry.source.open("rb", buffering=0) as file:
            stamp = Stamp.of(os.fstat(file.fileno()))
            buffer = memoryview(bytearray(min(CHUNK, stamp.size + 1)))
            while count := file.readinto(buffer):
                if stop.is_set():
                    raise StoppedError
                digest.update(buffer[:count])
                meter.add(count)
            after = Stamp.of(os.fstat(file.fileno()))
    except OSError as error:
        raise unreadable(entry.source, error) from error
    if stamp != after:
        raise changed(entry.source)
    hashes.put(entry.source, stamp, digest.hexdigest(), began_ns=began_ns)
    return Hashed(entry.path, entry.source, stamp, digest.hexdigest())


def read_range(file: Hashed, start: int, length: int, stop: threading.Event) -> Iterator[bytes]:
    """A range of a file in chunks. LocalFileError where the file is not any more what was hashed, before as after."""
    try:
        with file.source.open("rb", buffering=0) as opened:
            _check_same(file, opened.fileno())
            opened.seek(start)
            while length:
                if stop.is_set():
                    raise StoppedError
                chunk = opened.read(min(CHUNK, length))
                if not chunk:
                    raise changed(file.source)
                length -= len(chunk)
                yield chunk
            _check_same(file, opened.fileno())
    except OSError as error:
        raise unreadable(file.source, error) from error


def hash_range(file: Hashed, start: int, length: int, stop: threading.Event) -> str:
    """The SHA-256 of a range."""
    digest = hashlib.sha256()
    for chunk in read_range(file, start, length, stop):
        digest.update(chunk)
    return digest.hexdigest()


def check_content(file: Hashed, hashes: Hashes, stop: threading.Event) -> None:
    """Somebody says that a file is not what was announced. LocalFileError where that is so: it has changed, unseen by
    its times, or its disk is failing."""
    if hash_range(file, 0, file.size, stop) != file.sha256:
        hashes.forget(file.source)
        raise changed(file.source)


def _check_same(file: Hashed, descriptor: int) -> None:
    if not file.stamp.same_content(Stamp.of(os.fstat(descriptor))):
        raise changed(file.source)


def changed(source: Path) -> LocalFileError:
    """Somebody writes to a file that is being pushed."""
    return LocalFileError(
        f"{source} changed while it was pushed",
        code="file_changed",
        hint="Push again when nobody writes to it any more.",
    )
