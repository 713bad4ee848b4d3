"""Files that go in parts, by presigned URLs, on the real store: with digests and without, resumed and repeated."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from registry import settings
from registry.auth import ANYBODY
from registry.errors import InvalidError
from registry.schemas.parts import SignParts
from registry.uploads import completing, showing

from tests.integration.harness import MIB, World, sha256

PART = 5 * MIB


@pytest.fixture(autouse=True)
def small_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REGISTRY_PART_BYTES", str(PART))
    settings.get_settings.cache_clear()
    yield
    settings.get_settings.cache_clear()


def parts_of(data: bytes) -> list[bytes]:
    return [data[start : start + PART] for start in range(0, len(data), PART)]


def put(part: Any, data: bytes) -> None:
    answer = requests.put(part.url, data=data, headers=part.headers, timeout=60)
    assert answer.status_code == 200, answer.text


def sign(world: World, upload: Any, path: str | None, data: bytes) -> Any:
    asked = {"path": path, "parts": [{"number": i + 1, "sha256": sha256(p)} for i, p in enumerate(parts_of(data))]}
    return showing.sign_parts(principal=ANYBODY, upload_id=upload.upload_id, request=SignParts.model_validate(asked))


def look(upload: Any) -> Any:
    return showing.get_upload(
        principal=ANYBODY, upload_id=upload.upload_id, urls=True, limit=10, cursor=None, state=None
    )[0]


@pytest.mark.parametrize("repeated", [False, True], ids=["once", "a part twice"])
@pytest.mark.parametrize("digests", [False, True], ids=["plain", "digests"])
def test_file_in_parts(world: World, digests: bool, repeated: bool) -> None:
    data = os.urandom(2 * PART + 9)
    upload = world.start("parts", files=[{"path": "big.bin", "size": len(data), "sha256": sha256(data)}])
    view = sign(world, upload, "big.bin", data) if digests else look(upload).files[0].multipart
    for part in view.parts[:2]:
        put(part, parts_of(data)[part.number - 1])
    with pytest.raises(InvalidError) as caught:
        completing.complete_upload(principal=ANYBODY, upload_id=upload.upload_id)
    assert caught.value.extra["missing"] == [{"path": "big.bin", "parts": [3]}]
    assert look(upload).files[0].multipart.stored_parts == [1, 2]  # the client goes on after a crash
    again = sign(world, upload, "big.bin", data) if digests else look(upload).files[0].multipart
    put(again.parts[-1], parts_of(data)[2])
    if repeated:  # its answer was lost
        put(view.parts[1], parts_of(data)[1])
        assert look(upload).files[0].multipart.stored_parts == [1, 2, 3]
    done = completing.complete_upload(principal=ANYBODY, upload_id=upload.upload_id)
    assert done.status == "ready"
    world.verify("parts", "v1", {"big.bin": data})
    assert completing.complete_upload(principal=ANYBODY, upload_id=upload.upload_id).status == "ready"
    world.end()
    world.check_clean()


def test_parts_that_were_signed_with_digests_can_be_gone_on_with_by_fresh_urls(world: World) -> None:
    data = os.urandom(2 * PART + 9)
    upload = world.start("parts", files=[{"path": "big.bin", "size": len(data), "sha256": sha256(data)}])
    put(sign(world, upload, "big.bin", data).parts[1], parts_of(data)[1])
    left = look(upload).files[0].multipart  # as a client asks that has forgotten everything
    assert left.stored_parts == [2]
    assert [part.number for part in left.parts] == [1, 3]
    for part in left.parts:
        put(part, parts_of(data)[part.number - 1])
    assert completing.complete_upload(principal=ANYBODY, upload_id=upload.upload_id).status == "ready"
    world.verify("parts", "v1", {"big.bin": data})
    world.end()
    world.check_clean()


def test_archive_in_parts_with_digests(world: World) -> None:
    from tests.integration.harness import make_zip

    contents = {"a.bin": os.urandom(PART + 3), "b.txt": b"text"}
    data = make_zip(contents)
    upload = world.start("parts", archive={"size": len(data), "sha256": sha256(data)})
    for part in sign(world, upload, None, data).parts:
        put(part, parts_of(data)[part.number - 1])
    done = completing.complete_upload(principal=ANYBODY, upload_id=upload.upload_id)
    assert done.status == "ready"
    world.verify("parts", "v1", contents)
    world.end()
    world.check_clean()
