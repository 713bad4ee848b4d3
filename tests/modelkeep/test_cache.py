"""The cache: entries that are what their name says, whoever writes into them."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import modelkeep
import pytest
from modelkeep.errors import LocalFileError
from modelkeep.pulling import disks
from modelkeep.pulling.cache import Cache

from tests.modelkeep.fake_registry import FakeRegistry, serving, sha256, tree

MIB = 1024 * 1024
FILES = {"a.bin": b"a" * 1000, "b/c.bin": b"bc" * (2 * MIB)}


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with serving() as registry:
        registry.versions["v1"] = FILES
        yield registry


@pytest.fixture
def client(registry: FakeRegistry, tmp_path: Path) -> Iterator[modelkeep.Client]:
    with registry.client(tmp_path / "home") as client:
        yield client


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "home/cache")


def test_a_second_folder_is_served_by_the_cache(
    registry: FakeRegistry, client: modelkeep.Client, cache: Cache, tmp_path: Path
) -> None:
    client.pull("alice/bert", tmp_path / "one")
    sent = registry.bytes_sent
    pulled = client.pull("alice/bert", tmp_path / "two")
    assert (registry.bytes_sent, pulled.bytes_fetched) == (sent, 0)
    assert tree(tmp_path / "two") == FILES
    assert cache.usage().files == 2
    assert not list(cache.workshop.glob("*.map"))


@pytest.mark.parametrize("path", FILES)
def test_a_poisoned_entry_is_noticed_and_fetched_anew(
    registry: FakeRegistry, client: modelkeep.Client, cache: Cache, tmp_path: Path, path: str
) -> None:
    """As a program does that writes into a linked file, and even sets its times back."""
    client.pull("alice/bert", tmp_path / "one")
    sent = registry.bytes_sent
    entry = cache.path(sha256(FILES[path]))
    before = entry.stat()
    entry.chmod(0o644)
    with entry.open("r+b") as file:
        file.write(b"?")
    os.utime(entry, ns=(before.st_atime_ns, before.st_mtime_ns))
    pulled = client.pull("alice/bert", tmp_path / "two")
    assert tree(tmp_path / "two") == FILES
    assert registry.bytes_sent - sent == len(FILES[path]) == pulled.bytes_fetched
    assert entry.read_bytes() == FILES[path]


def test_entries_are_read_only_and_linked_where_blocks_can_not_be_shared(
    client: modelkeep.Client, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "_share_blocks", lambda source, target: False)
    client.pull("alice/bert", tmp_path / "one")
    for path, data in FILES.items():
        entry = cache.path(sha256(data))
        assert stat.S_IMODE(entry.stat().st_mode) == 0o444
        assert entry.samefile(tmp_path / "one" / path)


def test_where_blocks_are_shared_the_users_file_is_its_own(
    client: modelkeep.Client, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def share(source: Path, target: Path) -> bool:
        target.write_bytes(source.read_bytes())
        return True

    monkeypatch.setattr(disks, "_share_blocks", share)
    client.pull("alice/bert", tmp_path / "one")
    file = tmp_path / "one/a.bin"
    assert file.stat().st_mode & stat.S_IWUSR
    assert not cache.path(sha256(FILES["a.bin"])).samefile(file)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_without_links_it_is_a_copy(
    client: modelkeep.Client, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr(disks, "_share_blocks", lambda source, target: False)
    monkeypatch.setattr(os, "link", link)
    client.pull("alice/bert", tmp_path / "one")
    assert tree(tmp_path / "one") == FILES
    file = tmp_path / "one/a.bin"
    assert file.stat().st_mode & stat.S_IWUSR
    file.write_bytes(b"mine")
    assert cache.path(sha256(FILES["a.bin"])).read_bytes() == FILES["a.bin"]


def test_pullers_of_the_same_at_once_fetch_the_large_one_once(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    """Threads, as processes would: each with a client and a folder of its own, on one home."""
    gate = threading.Barrier(3)
    errors: list[BaseException] = []

    def pull(number: int) -> None:
        gate.wait(120)
        try:
            with registry.client(tmp_path / "home") as own:
                own.pull("alice/bert", tmp_path / str(number % 2))
        except Exception as error:  # noqa: BLE001 - the test shows it
            errors.append(error)

    threads = [threading.Thread(target=pull, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert tree(tmp_path / "0") == tree(tmp_path / "1") == FILES
    assert sum(count for path, _, count in registry.gets if path == "b/c.bin") == len(FILES["b/c.bin"])


def test_contents_that_share_a_lock_wait_for_each_other_and_for_nothing_else(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path
) -> None:
    """Some of the locks are shared by several contents of one pull."""
    registry.versions["v1"] = {f"{number}.bin": number.to_bytes(2, "big") * (MIB // 2 + 1) for number in range(40)}
    prefixes = [sha256(data)[:2] for data in registry.versions["v1"].values()]
    assert len(set(prefixes)) < len(prefixes)
    client.pull("alice/bert", tmp_path / "one")
    assert tree(tmp_path / "one") == registry.versions["v1"]


def test_prune_keeps_what_was_used_last(cache: Cache, tmp_path: Path) -> None:
    cache.workshop.mkdir(parents=True)
    for number in range(3):
        data = bytes([number]) * 100
        whole = cache.workshop / "whole"
        whole.write_bytes(data)
        entry = cache.add(whole, sha256(data))
        os.utime(entry, (1000 + number, 1000 + number))
    old, new = cache.workshop / ("0" * 64), cache.workshop / ("1" * 64)
    old.write_bytes(b"x" * 10)
    os.utime(old, (1000, 1000))
    new.write_bytes(b"y" * 10)
    assert (cache.usage().files, cache.usage().bytes) == (3, 320)
    assert cache.prune(keep=150) == 210
    assert [cache.has(sha256(bytes([number]) * 100), 100) for number in range(3)] == [False, False, True]
    assert (old.exists(), new.exists()) == (False, True)
    assert cache.prune() == 100
    assert cache.usage().files == 0
    assert time.time() - new.stat().st_mtime < 3600


def test_no_room_is_said_before_anything_is_fetched(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelkeep.pulling.free_bytes", lambda folder: 1 * MIB)
    with pytest.raises(LocalFileError) as error:
        client.pull("alice/bert", tmp_path / "one")
    assert (error.value.code, error.value.exit_code) == ("disk_full", 8)
    assert f"{len(FILES['a.bin']) + len(FILES['b/c.bin']):,}" in error.value.detail
    assert registry.gets == []
    assert tree(tmp_path / "one") == {}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")  # noqa: PTH110
@pytest.mark.parametrize("cache", [True, False])
def test_a_disk_that_is_full_meanwhile_is_explained_and_the_next_call_goes_on(
    registry: FakeRegistry, client: modelkeep.Client, tmp_path: Path, cache: bool
) -> None:
    """The system itself refuses to write on: a file may be 3 MiB here."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    registry.versions["v1"] = {"b/c.bin": b"bc" * (20 * MIB), "a.bin": b"a"}
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB, before[1]))
        with pytest.raises(LocalFileError) as error:
            client.pull("alice/bert", tmp_path / "one", cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert error.value.code == "disk_full"
    assert "b/c.bin" not in tree(tmp_path / "one")
    client.pull("alice/bert", tmp_path / "one", cache=cache)
    assert tree(tmp_path / "one") == registry.versions["v1"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB, where we may have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("cache", [True, False])
def test_a_disk_that_fills_up_while_we_pull(
    registry: FakeRegistry, client: modelkeep.Client, small_disk: Path, tmp_path: Path, cache: bool
) -> None:
    """Somebody else takes the room that there was when we looked. With the cache, which is on another disk, it is the
    copy that does not fit."""
    registry.versions["v1"] = {"b/c.bin": b"bc" * (3 * MIB), "a.bin": b"a"}

    def fault(path: str, start: int, count: int) -> None:
        if path == "b/c.bin":
            (small_disk / "others").write_bytes(bytes(5 * MIB))

    registry.fault = fault
    with pytest.raises(LocalFileError) as error:
        client.pull("alice/bert", small_disk / "one", cache=cache)
    assert error.value.code == "disk_full"
    assert str(small_disk / "one") in error.value.detail
    assert "b/c.bin" not in tree(small_disk / "one")
    assert not list(small_disk.rglob("*.tmp"))
    sent = registry.bytes_sent
    registry.fault = lambda path, start, count: None
    with pytest.raises(LocalFileError) as error:
        client.pull("alice/bert", small_disk / "one", cache=cache)  # now it is plain before
    assert (error.value.code, registry.bytes_sent) == ("disk_full", sent)
    (small_disk / "others").unlink()
    client.pull("alice/bert", small_disk / "one", cache=cache)
    assert tree(small_disk / "one") == registry.versions["v1"]
    if cache:
        assert registry.bytes_sent == sent
