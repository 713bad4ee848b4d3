"""CRC-32s that nobody knew are found out once, and written down only if they are right."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest

from tests.functional.kit import ok


@pytest.fixture
def forgotten(api):
    """A version none of whose files has a CRC-32, on record in rows of 100; its row."""
    from registry.catalog import reading
    from registry.records import ManifestRow, VersionRow

    ok(api.folder({f"{number:03}.bin": b"%d" % number for number in range(250)}))
    row = reading.get_version("alice", "m", "v1")
    for manifest in ManifestRow.query(f"F#{row.upload_id}"):
        manifest.files = [_without(packed) for packed in manifest.files]
        manifest.save()
    row.update(actions=[VersionRow.files.set([_without(packed) for packed in row.files])])
    assert len(row.files) < row.file_count
    return row


def _without(packed):
    from registry.files import StoredFile

    return replace(StoredFile.unpack(packed), crc32=None).pack()


def test_crcs_are_remembered_everywhere_and_read_for_once(forgotten, monkeypatch):
    from registry import exports
    from registry.catalog import reading
    from registry.storage import copying

    exports.plan_version(forgotten, filename="")
    now = reading.get_version("alice", "m", "v1")
    expected = [zlib.crc32(b"%d" % number) for number in range(250)]
    assert [file.crc32 for file in reading.iter_files(now)] == expected
    assert [file.crc32 for file in reading.inline_files(now)] == expected[: len(now.files)]
    monkeypatch.setattr(copying, "hash_object", None)
    exports.plan_version(now, filename="")


def test_remembering_some_reads_the_rows_that_hold_them_alone(forgotten, monkeypatch):
    from registry.catalog import changing, reading
    from registry.records import ManifestRow

    stored = list(reading.iter_files(forgotten))
    read = []
    real = ManifestRow.query.__func__

    def query(cls, *args, **kwargs):
        for each in real(cls, *args, **kwargs):
            read.append(each.sk)
            yield each

    monkeypatch.setattr(ManifestRow, "query", classmethod(query))
    changing.remember_files(forgotten, [replace(file, crc32=7) for file in stored[230:238]])
    assert set(read) == {"200.bin"}
    read.clear()
    changing.remember_files(forgotten, [replace(file, crc32=7) for file in stored[98:102]])
    assert set(read) == {"000.bin", "100.bin"}
    monkeypatch.undo()
    numbers = [number for number, file in enumerate(reading.iter_files(forgotten)) if file.crc32 == 7]
    assert numbers == [98, 99, 100, 101, *range(230, 238)]


def test_a_crc_of_bytes_that_were_read_wrong_is_not_remembered(forgotten, monkeypatch):
    from registry import exports
    from registry.catalog import reading
    from registry.storage import objects
    from registry.storage.client import ChecksumError

    real = objects.stream_range
    monkeypatch.setattr(
        objects, "stream_range", lambda *args, **named: (b"!" * len(each) for each in real(*args, **named))
    )
    with pytest.raises(ChecksumError):
        exports.plan_version(forgotten, filename="")
    assert {file.crc32 for file in reading.iter_files(reading.get_version("alice", "m", "v1"))} == {None}


def test_a_batch_has_few_files_and_no_more_bytes_than_a_builder_has_time_for():
    from registry.exports import contents
    from registry.files import StoredFile

    gib = 2**30
    sizes = [1, 2, 40 * gib, 31 * gib, gib, 1, *[5] * 20]
    files = [StoredFile(str(number), size, "", "") for number, size in enumerate(sizes)]
    batches = [[file.size for file in batch] for batch in contents._batches(files)]
    assert batches == [[1, 2], [40 * gib], [31 * gib, gib], [1, *[5] * 7], [5] * 8, [5] * 5]
    assert list(contents._batches([])) == []
