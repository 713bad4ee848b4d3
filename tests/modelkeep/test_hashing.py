"""Digests of local files: right, and read only when they have to be."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from modelkeep.errors import LocalFileError
from modelkeep.progress import Meter, Progress
from modelkeep.pushing import hashing, scanning
from modelkeep.pushing.hashing import Hashed, Hashes, hash_files

OLD_NS = time.time_ns() - 3600 * 10**9


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are really read."""
    seen: list[Path] = []
    hash_file = hashing._hash_file

    def counting(entry: scanning.Entry, *arguments: object) -> Hashed:
        seen.append(entry.source)
        return hash_file(entry, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(hashing, "_hash_file", counting)
    return seen


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files written just now count as written long ago: nobody can set a ctime."""
    monkeypatch.setattr(hashing, "_RACY_NS", -(10**12))


def run(path: Path, cache: Path, told: list[Progress] | None = None) -> dict[str, str]:
    entries = scanning.scan(path).entries
    hashes = Hashes(cache)
    try:
        meter = Meter(told.append if told is not None else None, "hash", sum(entry.stamp.size for entry in entries))
        return {file.path: file.sha256 for file in hash_files(entries, hashes, meter, threading.Event())}
    finally:
        hashes.close()


def make(folder: Path) -> dict[str, str]:
    """Files of many sizes, and their digests."""
    folder.mkdir()
    made = {}
    for size in (0, 1, 100, hashing.CHUNK - 1, hashing.CHUNK, hashing.CHUNK + 1, 3 * hashing.CHUNK):
        (folder / str(size)).write_bytes(os.urandom(size))
        made[str(size)] = hashlib.sha256((folder / str(size)).read_bytes()).hexdigest()
    return made


@pytest.mark.usefixtures("aged")
def test_the_second_time_nothing_is_read(tmp_path: Path, read: list[Path]) -> None:
    expected = make(tmp_path / "model")
    told: list[Progress] = []
    assert run(tmp_path / "model", tmp_path / "cache", told) == expected
    assert len(read) == len(expected)
    assert (told[-1].done, told[-1].skipped) == (told[-1].total, 0)
    read.clear()
    assert run(tmp_path / "model", tmp_path / "cache", told) == expected
    assert read == []
    assert (told[-1].done, told[-1].skipped) == (told[-1].total, told[-1].total)


@pytest.mark.usefixtures("aged")
def test_only_what_changed_is_read_again(tmp_path: Path, read: list[Path]) -> None:
    make(tmp_path / "model")
    run(tmp_path / "model", tmp_path / "cache")
    read.clear()
    changed = tmp_path / "model/100"
    before = changed.stat()
    changed.write_bytes(b"y" * 100)  # the same size, and the old time set again: the ctime still tells
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    replaced = tmp_path / "model/1"
    (tmp_path / "new").write_bytes(b"z")
    (tmp_path / "new").replace(replaced)
    said = run(tmp_path / "model", tmp_path / "cache")
    assert sorted(read) == [replaced, changed]
    assert said["100"] == hashlib.sha256(b"y" * 100).hexdigest()
    assert said["1"] == hashlib.sha256(b"z").hexdigest()


def test_a_file_that_was_just_written_is_not_trusted(
    tmp_path: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be written again within the same tick of the file system's clock, and would look the same."""
    monkeypatch.setattr(hashing, "_RACY_NS", 10**12)  # a busy machine may take longer than two seconds
    (tmp_path / "a").write_bytes(b"one")
    run(tmp_path / "a", tmp_path / "cache")
    run(tmp_path / "a", tmp_path / "cache")
    assert len(read) == 2


def test_a_damaged_cache_is_made_anew_and_none_at_all_is_no_fault(tmp_path: Path, read: list[Path], aged: None) -> None:
    expected = make(tmp_path / "model")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "digests.sqlite").write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    assert run(tmp_path / "model", cache) == expected
    read.clear()
    assert run(tmp_path / "model", cache) == expected
    assert read == []
    (tmp_path / "file").touch()
    assert run(tmp_path / "model", tmp_path / "file") == expected  # no folder can be there


@pytest.mark.usefixtures("aged")
def test_a_cache_that_is_damaged_further_in_is_made_anew_too(tmp_path: Path, read: list[Path]) -> None:
    (tmp_path / "model").mkdir()
    for number in range(300):
        (tmp_path / f"model/{number}").write_text(str(number))
    run(tmp_path / "model", tmp_path / "cache")
    database = tmp_path / "cache/digests.sqlite"
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (database.stat().st_size - 4096))
    run(tmp_path / "model", tmp_path / "cache")
    read.clear()
    run(tmp_path / "model", tmp_path / "cache")
    assert read == []


@pytest.mark.usefixtures("aged")
def test_processes_share_it(tmp_path: Path, read: list[Path]) -> None:
    make(tmp_path / "model")
    script = (
        "import sys; sys.path[:0] = sys.argv[3:]\n"
        "import threading; from pathlib import Path; from modelkeep import progress\n"
        "from modelkeep.pushing import hashing, scanning\n"
        "hashing._RACY_NS = -(10**12); entries = scanning.scan(Path(sys.argv[1])).entries\n"
        "for _ in range(20):\n"
        "    hashes = hashing.Hashes(Path(sys.argv[2])); hashes.forget(entries[0].source)\n"
        "    hashing.hash_files(entries, hashes, progress.Meter(None, 'hash', 0), threading.Event()); hashes.close()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "model"), str(tmp_path / "cache"), *sys.path]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(300) for process in processes] == [0, 0, 0]
    run(tmp_path / "model", tmp_path / "cache")
    assert read == []
    with sqlite3.connect(tmp_path / "cache/digests.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 10)
    entries = scanning.scan(path).entries

    class Growing(Meter):
        def add(self, count: int, *, skipped: bool = False) -> None:
            with path.open("ab") as file:
                file.write(b"more") if path.stat().st_size < 1000 else None

    with pytest.raises(LocalFileError) as refused:
        hash_files(entries, Hashes(tmp_path / "cache"), Growing(None, "hash", 10), threading.Event())
    assert refused.value.code == "file_changed"


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    entries = scanning.scan(tmp_path / "a").entries
    (tmp_path / "a").unlink()
    with pytest.raises(LocalFileError) as refused:
        hash_files(entries, Hashes(tmp_path / "cache"), Meter(None, "hash", 1), threading.Event())
    assert str(tmp_path / "a") in refused.value.detail
