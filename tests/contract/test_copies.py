"""Ranges of an object made objects of their own, and members of archives made files, on every store: what is copied by
the store itself, what passes here, and what is left when it is refused."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from registry import archives
from registry.deadlines import Deadline
from registry.errors import ArchiveError
from registry.files import StoredFile
from registry.settings import get_settings
from registry.storage import copying, objects, parts
from registry.storage.client import ChecksumError, ObjectChangedError, ObjectMissingError
from registry.storage.objects import StoredObject
from registry.uploads import members

from tests.contract.test_storage import CHECKS_ETAG_OF_COPY_SOURCE, open_multiparts, put, sha256

MIB = 1024 * 1024
# Where no byte of a member that is copied passes here.
COPIES_UNSEEN = {("seaweedfs", "store")}


@pytest.fixture(params=["store", "reading"])
def digests_by(request: pytest.FixtureRequest, store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """REGISTRY_DIGESTS_BY."""
    monkeypatch.setenv("REGISTRY_DIGESTS_BY", request.param)
    get_settings.cache_clear()
    yield request.param
    get_settings.cache_clear()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each request for some brought here."""
    lengths: list[int] = []
    real = objects._open

    def opened(key: str, offset: int, length: int, etag: str | None) -> Any:
        lengths.append(length)
        return real(key, offset, length, etag)

    monkeypatch.setattr(objects, "_open", opened)
    return lengths


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 5 MiB, the least that S3 takes."""
    monkeypatch.setattr(parts, "PART_BYTES", 5 * MIB)


def listed(prefix: str) -> list[str]:
    return [entry.key for entry in objects.list_objects(prefix)]


def is_clean(prefix: str, source: str) -> bool:
    """Nothing but the source, and no multipart of the file's (MinIO lists those of a whole key alone)."""
    return listed(prefix) == [source] and not open_multiparts(prefix) and not open_multiparts(f"{prefix}b")


# From 5 MiB on a range is copied; the last part may be of any size.
LENGTHS = [5 * MIB, 5 * MIB + 1, 10 * MIB, 10 * MIB + 1, 15 * MIB - 1]


@pytest.mark.usefixtures("small_parts")
def test_range_becomes_an_object(store: str, prefix: str, digests_by: str, read: list[int]) -> None:
    data = os.urandom(16 * MIB)
    source = put(f"{prefix}a", data)
    copying.digest_method(), copying.checks_crcs()
    for offset, length in [*((77, length) for length in LENGTHS), (0, 6 * MIB), (9 * MIB, 7 * MIB)]:
        expected = data[offset : offset + length]
        read.clear()
        copied = copying.copy_range(source, f"{prefix}b", offset, length, crc32=zlib.crc32(expected))
        assert sum(read) == (0 if (store, digests_by) in COPIES_UNSEEN else length)
        assert (copied.sha256, copied.crc32) == (sha256(expected), zlib.crc32(expected))
        assert objects.find_object(f"{prefix}b") == StoredObject(f"{prefix}b", length, copied.etag)
        assert objects.read_range(f"{prefix}b", 0, length, etag=copied.etag) == expected
        assert open_multiparts(prefix) == []
        assert open_multiparts(f"{prefix}b") == []


@pytest.mark.usefixtures("small_parts")
def test_range_of_another_crc_becomes_nothing(store: str, prefix: str, digests_by: str) -> None:
    data = os.urandom(12 * MIB)
    source = put(f"{prefix}a", data)
    with pytest.raises(ChecksumError):
        copying.copy_range(source, f"{prefix}b", 1, 11 * MIB, crc32=zlib.crc32(data[1 : 1 + 11 * MIB]) ^ 1)
    assert is_clean(prefix, source.key)


@pytest.mark.usefixtures("small_parts")
def test_range_is_pinned_to_the_etag(store: str, prefix: str, digests_by: str) -> None:
    if not CHECKS_ETAG_OF_COPY_SOURCE[store] and digests_by == "store":
        pytest.skip("this store ignores CopySourceIfMatch: what is read is pinned all the same")
    source = put(f"{prefix}a", b"a" * 12 * MIB)
    put(f"{prefix}a", b"b" * 12 * MIB)
    with pytest.raises(ObjectChangedError):
        copying.copy_range(source, f"{prefix}b", 1, 11 * MIB, crc32=0)
    assert is_clean(prefix, source.key)
    objects.delete_object(source.key)
    with pytest.raises(ObjectMissingError):
        copying.copy_range(source, f"{prefix}b", 1, 11 * MIB, crc32=0)
    assert listed(prefix) == []
    assert open_multiparts(prefix) == open_multiparts(f"{prefix}b") == []


@pytest.mark.usefixtures("small_parts")
def test_copy_that_is_stopped_leaves_nothing(store: str, prefix: str, digests_by: str) -> None:
    class StoppedError(Exception):
        pass

    def stop() -> None:
        raise StoppedError

    source = put(f"{prefix}a", b"a" * 12 * MIB)
    with pytest.raises(StoppedError):
        copying.copy_range(source, f"{prefix}b", 1, 11 * MIB, crc32=0, check=stop)
    assert is_clean(prefix, source.key)


@pytest.mark.parametrize("size", [10, 12 * MIB])
def test_copy_of_another_digest_becomes_nothing(store: str, prefix: str, digests_by: str, size: int) -> None:
    data = os.urandom(size)
    source = put(f"{prefix}a", data)
    with pytest.raises(ChecksumError):
        copying.copy_hashed(source, f"{prefix}b", sha256="0" * 64)
    assert is_clean(prefix, source.key)
    copied = copying.copy_hashed(source, f"{prefix}b", sha256=sha256(data))
    assert objects.read_range(f"{prefix}b", 0, size, etag=copied.etag) == data


# -- members ----------------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, source: StoredObject) -> None:
        self.source = source
        self.size = source.size

    def read(self, offset: int, length: int) -> bytes:
        return objects.read_range(self.source.key, offset, length, etag=self.source.etag)


def write(prefix: str, zipped: bytes) -> dict[str, StoredFile]:
    """As a worker does: run by run, some at once."""
    source = put(f"{prefix}archive.zip", zipped)  # no name that a member has, or a folder of one
    found = archives.read_archive(_Reader(source))
    lease: Any = SimpleNamespace(upload=SimpleNamespace(prefix=prefix), check=lambda: None)
    with ThreadPoolExecutor(3) as pool:
        runs = members.plan_runs(found.members)
        written = list(pool.map(lambda run: members.write_run(lease, source, run, Deadline(None)), runs))
    return {file.path: file for each in written for file in each.values()}


def zip_of(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, (data, method) in files.items():
            archive.writestr(path, data, compress_type=method)
    return buffer.getvalue()


@pytest.mark.usefixtures("small_parts")
def test_members_of_every_kind(store: str, prefix: str, digests_by: str, read: list[int]) -> None:
    """What is stored plainly and large enough is copied; of it nothing passes here where the store tells its digest."""
    stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    files = {
        "empty": (b"", stored),
        "a/small": (os.urandom(1000), stored),
        "large": (os.urandom(5 * MIB), stored),
        "a/larger": (os.urandom(11 * MIB + 3), stored),
        "almost": (os.urandom(5 * MIB - 1), stored),
        "text": (b"text " * 1000, deflated),
        "zeros": (bytes(20 * MIB), deflated),  # a run of neighbours, and more than a PUT
        "weights": (os.urandom(9 * MIB), deflated),
        **{f"many/{number}": (os.urandom(number), stored) for number in range(50)},
    }
    copying.digest_method(), copying.checks_crcs()
    written = write(f"{prefix}v1/", zip_of(files))
    passed = sum(read)
    assert written.keys() == files.keys()
    for path, (data, _) in files.items():
        file = written[path]
        assert (file.size, file.sha256, file.crc32) == (len(data), sha256(data), zlib.crc32(data)), path
        key = f"{prefix}v1/{path}"
        assert objects.read_range(key, 0, len(data), etag=file.etag) == data
    assert open_multiparts(f"{prefix}v1/") == []
    copied = 16 * MIB + 3
    rest = 5 * MIB + 9 * MIB + 2 * MIB  # what is streamed, headers with what lies between, and the directory
    assert passed <= rest + (0 if (store, digests_by) in COPIES_UNSEEN else copied)


@pytest.mark.parametrize("size", [1000, 6 * MIB])
def test_member_of_another_crc_becomes_nothing(store: str, prefix: str, digests_by: str, size: int) -> None:
    data = os.urandom(size)
    zipped = bytearray(zip_of({"first": (b"1", 0), "bad": (data, 0), "last": (b"2", 0)}))
    zipped[zipped.index(data) + size // 2] ^= 1
    with pytest.raises(ArchiveError, match="bad") as caught:
        write(f"{prefix}v1/", bytes(zipped))
    assert caught.value.code == "archive_bad_crc"
    assert f"{prefix}v1/bad" not in listed(prefix)
    assert open_multiparts(f"{prefix}v1/bad") == open_multiparts(prefix) == []


def test_small_members_are_put_side_by_side(store: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And their digests are not worked out twice."""
    under_way, most, hashed = 0, 0, []
    changed = threading.Condition()
    real = objects.put_object

    def waiting(key: str, data: bytes, *, sha256: str | None = None) -> str:
        nonlocal under_way, most
        if f"{prefix}v1/f" in key:
            with changed:
                hashed.append(sha256 is None)
                under_way += 1
                most = max(most, under_way)
                changed.notify_all()
                # The first wait for each other.
                assert changed.wait_for(lambda: most >= 8, 120), f"{most} at once, and no more"
        try:
            return real(key, data, sha256=sha256)
        finally:
            with changed:
                under_way -= f"{prefix}v1/f" in key

    monkeypatch.setattr(objects, "put_object", waiting)
    files = {f"f{number:03d}": (str(number).encode() * 100, zipfile.ZIP_DEFLATED) for number in range(200)}
    written = write(f"{prefix}v1/", zip_of(files))
    assert len(written) == 200
    assert all(written[path].sha256 == hashlib.sha256(data).hexdigest() for path, (data, _) in files.items())
    assert 8 <= most <= 24
    assert hashed == [False] * 200
