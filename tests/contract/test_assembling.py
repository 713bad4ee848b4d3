"""Archives assembled inside the store: the same bytes as when they are read, and how few of them pass here."""

from __future__ import annotations

import hashlib
import io
import secrets
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.client
import pytest
from isal import isal_zlib
from registry import archives
from registry.archives import Entry
from registry.exports import Content, building
from registry.storage import assembling, copying, multiparts, objects
from registry.storage.client import ChecksumError, ObjectChangedError, s3
from registry.storage.objects import StoredObject

MIB = 2**20


class Moved:
    """Bytes that passed here, to and from the store."""

    def __init__(self) -> None:
        self.sent = self.received = self.calls = 0

    def count_sent(self, request: Any, **_: Any) -> None:
        self.calls += 1
        body = request.body
        self.sent += len(body) if isinstance(body, bytes | bytearray) else len(getattr(body, "getvalue", bytes)())

    def count_received(self, http_response: Any = None, parsed: Any = None, **_: Any) -> None:
        self.received += int((parsed or {}).get("ContentLength", 0)) if "Body" in (parsed or {}) else 0


@pytest.fixture
def moved(store: str) -> Iterator[Moved]:
    counted = Moved()
    events = s3().meta.events
    events.register("before-send.s3", counted.count_sent, unique_id="sent")
    events.register("after-call.s3", counted.count_received, unique_id="received")
    yield counted
    events.unregister("before-send.s3", unique_id="sent")
    events.unregister("after-call.s3", unique_id="received")


def put(prefix: str, *sizes: int) -> tuple[Content, list[bytes]]:
    """A version's files, and its archive as it is planned."""
    files = [secrets.token_bytes(size) for size in sizes]
    sources, entries = [], []
    for number, data in enumerate(files):
        path = f"ä{number}.bin" if number % 2 else f"w/{number}.bin"
        sources.append(StoredObject(prefix + path, len(data), objects.put_object(prefix + path, data)))
        entries.append(Entry(path, len(data), isal_zlib.crc32(data)))
    segments = archives.plan_archive(entries)
    crc = archives.crc32_archive(segments, entries)
    return Content("x.zip", archives.archive_size(segments), '"x"', segments, sources, crc), files


def parts_of(content: Content) -> list[assembling.Part]:
    return [building._resolve(content, part) for part in archives.plan_assembly(content.segments)]


def assemble(content: Content, key: str, crc32: int | None = None) -> None:
    multipart = assembling.begin(key)
    try:
        made = assembling.send_parts(key, multipart, parts_of(content), stop=lambda: False)
        assembling.complete(key, multipart, made, crc32=content.crc32 if crc32 is None else crc32)
    except BaseException:
        multiparts.abort_multipart(key, multipart)
        raise


def read(key: str) -> bytes:
    found = objects.find_object(key)
    assert found is not None
    return objects.read_range(key, 0, found.size)


SIZES = {
    "large files": (12 * MIB, 11 * MIB, 20 * MIB),
    "just large enough": (5 * MIB, 5 * MIB, 5 * MIB + 1),
    "small ones between": (10 * MIB, 70_000, 0, 6 * MIB, 4 * MIB, 3 * MIB, 10 * MIB, 1),
    "small ones first": (4 * MIB, 4 * MIB, 4 * MIB, 4 * MIB, 4 * MIB, 9 * MIB),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_an_assembled_archive_is_the_one_that_is_read(
    store: str, prefix: str, sizes: tuple[int, ...], moved: Moved
) -> None:
    content, files = put(prefix, *sizes)
    key = f"{prefix}archive.zip"
    copying.checks_crcs()
    plan = archives.plan_assembly(content.segments)
    moved.sent = moved.received = 0
    assemble(content, key)
    assert abs(moved.sent - archives.sent_bytes(plan)) < 40_000  # requests have bodies too
    assert moved.received <= archives.sent_bytes(plan)
    whole = read(key)
    assert whole == content.read_at_once(0, content.size - 1)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert [archive.read(name) for name in archive.namelist()] == files
    assert [each.key for each in objects.list_objects(f"{key}.parts/")] == []


def test_a_store_that_checks_makes_no_archive_that_is_not_the_one_that_was_meant(store: str, prefix: str) -> None:
    content, _ = put(prefix, 6 * MIB, 12 * MIB)
    assert content.crc32 is not None
    key = f"{prefix}archive.zip"
    if not copying.checks_crcs():
        assert store in ("moto", "minio")
        return
    with pytest.raises(ChecksumError):
        assemble(content, key, crc32=content.crc32 ^ 1)
    assert objects.find_object(key) is None


def test_a_part_carries_a_crc32_only_where_one_was_announced(store: str, prefix: str, monkeypatch: Any) -> None:
    """AWS refuses any other: `Checksum Type mismatch occurred, expected checksum Type: null, actual ... crc32`."""
    content, _ = put(prefix, 12 * MIB, 12 * MIB, 12 * MIB)
    if not copying.checks_crcs():
        pytest.skip(f"{store} is not asked to check")
    announced: dict[str, str | None] = {}
    sent: list[str | None] = []
    real = botocore.client.BaseClient._make_api_call

    def call(client: Any, operation: str, arguments: Any) -> Any:
        answer = real(client, operation, arguments)
        if operation == "CreateMultipartUpload":
            announced[answer["UploadId"]] = arguments.get("ChecksumAlgorithm")
        if operation == "UploadPart" and "ChecksumCRC32" in arguments:
            sent.append(announced[arguments["UploadId"]])
        return answer

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    assemble(content, f"{prefix}archive.zip")
    assert len(announced) == 3  # the archive's, and two that are made first
    assert len(sent) == 4
    assert set(sent) == {"CRC32"}


def test_a_file_that_is_not_what_it_was_gets_into_no_archive(store: str, prefix: str) -> None:
    content, _ = put(prefix, 6 * MIB, 12 * MIB)
    # The first is read, the second copied: moto copies parts whatever they were expected to be.
    changed = content.objects[0 if store == "moto" else 1]
    objects.put_object(changed.key, secrets.token_bytes(changed.size))
    with pytest.raises(ObjectChangedError):
        assemble(content, f"{prefix}archive.zip")
    assert objects.find_object(f"{prefix}archive.zip") is None


def test_parts_that_the_store_has_are_not_made_again(store: str, prefix: str) -> None:
    content, _ = put(prefix, 6 * MIB, 12 * MIB, 12 * MIB)
    parts, key = parts_of(content), f"{prefix}archive.zip"
    multipart = assembling.begin(key)
    left = [4]

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    first = assembling.send_parts(key, multipart, parts, stop=stop)
    assert 0 < len(first) < len(parts)
    asked = []
    second = assembling.send_parts(key, multipart, parts, stop=lambda: asked.append(1) is not None)
    assert len(asked) == len(parts) - len(first)
    assembling.complete(key, multipart, second, crc32=content.crc32 or 0)
    assert read(key) == content.read_at_once(0, content.size - 1)


def test_the_store_tells_the_crc32_of_what_it_copies(store: str, prefix: str, moved: Moved, monkeypatch: Any) -> None:
    monkeypatch.setattr(assembling, "_CRC_BYTES", 6 * MIB)
    content, files = put(prefix, 13 * MIB, 5 * MIB, 1)
    if not copying.checks_crcs():
        pytest.skip(f"{store} tells none")
    moved.sent = moved.received = 0
    told = assembling.crcs_of(content.objects, f"{prefix}scratch")
    assert [len(ranges) for ranges in told] == [2, 1, 1]
    combined = []
    for ranges in told:
        crc = 0
        for each, length in ranges:
            crc = archives.crc32_combine(crc, each, length)
        combined.append(crc)
    assert combined == [isal_zlib.crc32(data) for data in files]
    assert moved.sent + moved.received < 10_000
    assert objects.find_object(f"{prefix}scratch") is None


def test_sent_parts_are_put_together_in_bounded_memory(store: str, prefix: str) -> None:
    if store == "moto":
        pytest.skip("moto keeps objects in this process")
    content, _ = put(prefix, *[4 * MIB] * 40)
    tracemalloc.start()
    try:
        assemble(content, f"{prefix}archive.zip")
        assert tracemalloc.get_traced_memory()[1] < 128 * MIB
    finally:
        tracemalloc.stop()


READERS: dict[str, Callable[[str], list[str]]] = {
    "unzip": lambda path: ["unzip", "-tq", path],
    "7z": lambda path: ["7z", "t", path],
    "7zz": lambda path: ["7zz", "t", path],
    "bsdtar": lambda path: ["bsdtar", "-tf", path],
    "jar": lambda path: ["jar", "tf", path],
    sys.executable: lambda path: [sys.executable, "-m", "zipfile", "-t", path],
}


@pytest.mark.parametrize("program", READERS)
def test_common_tools_open_an_assembled_archive(program: str, store: str, prefix: str, tmp_path: Path) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not on this machine")
    content, _ = put(prefix, 6 * MIB, 0, 20, 12 * MIB, 1000)
    assemble(content, f"{prefix}archive.zip")
    (tmp_path / "a.zip").write_bytes(read(f"{prefix}archive.zip"))
    result = subprocess.run(READERS[program](str(tmp_path / "a.zip")), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_of_files_whose_crc32_nobody_knows_no_byte_passes_here_where_the_store_tells_it(
    store: str, user_id: str, moved: Moved
) -> None:
    from registry import exports, naming, records
    from registry.files import StoredFile
    from registry.records import VersionRow

    prefix, upload_id = naming.version_prefix(user_id, "m", "v1"), naming.new_upload_id()
    sizes = [30 * MIB, 7 * MIB, 12 * MIB, 1000]
    content, data = put(prefix, *sizes)
    files = [
        StoredFile(source.key.removeprefix(prefix), source.size, hashlib.sha256(each).hexdigest(), source.etag)
        for source, each in zip(content.objects, data, strict=True)
    ]
    row = VersionRow(
        *records.version_key(user_id, "m", "v1"),
        status="ready",
        user_id=user_id,
        model_id="m",
        version="v1",
        upload_id=upload_id,
        prefix=prefix,
        fields={},
        files=[file.pack() for file in files],
        file_count=len(files),
        total_size=sum(sizes),
    )
    row.save()
    tells = copying.checks_crcs()
    moved.sent = moved.received = 0
    exports.build_archive({"user_id": user_id, "model_id": "m", "version": "v1"})
    whole = read(naming.archive_key(user_id, "m", "v1", upload_id))
    passed = archives.sent_bytes(archives.plan_assembly(content.segments))
    assert moved.received <= passed + len(whole) + (1000 if tells else sum(sizes))
    assert abs(moved.sent - passed) < 40_000
    assert whole == content.read_at_once(0, content.size - 1)
    now = VersionRow.find(row.pk, row.sk)
    assert now is not None
    assert [StoredFile.unpack(packed).crc32 for packed in now.files] == [isal_zlib.crc32(each) for each in data]
