"""Copies on a store that does as the probe said for some objects only, as MiniStack does."""

from __future__ import annotations

import hashlib

import pytest
from registry.storage import copying, objects

SIZE = copying.SMALL_BYTES + 1


@pytest.mark.usefixtures("on_moto")
def test_a_copy_of_which_the_store_records_no_digest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"x" * SIZE
    monkeypatch.setattr(copying, "digest_method", lambda: "copy")
    monkeypatch.setattr(copying, "_recorded_digest", lambda key: None)
    source = objects.StoredObject(
        "modelkeep/uploads/source", SIZE, objects.put_object("modelkeep/uploads/source", data)
    )
    copied = copying.copy_hashed(source, "models/copy")
    assert copied.sha256 == hashlib.sha256(data).hexdigest()
    assert copied.crc32 is not None  # the bytes were seen
    assert objects.read_range("models/copy", 0, SIZE, etag=copied.etag) == data
