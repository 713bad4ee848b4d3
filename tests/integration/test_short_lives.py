"""Gigabytes, and functions that live for 20 seconds, as Lambda would end them."""

from __future__ import annotations

import hashlib
import random
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import pytest
from registry import archives, naming
from registry.archives import DEFLATED, Entry

from local.invoking import LambdaContext
from tests.unit.zip_builder import Item, central_header, end_record, local_header

pytestmark = pytest.mark.long

MIB, GIB = 1024**2, 1024**3
LIFE_SECONDS = 20.0
BLOCK = 8 * MIB


@dataclass(frozen=True)
class Big:
    """A file of `count` times the same 8 MiB, which compress to three quarters."""

    path: str
    seed: int
    count: int

    @property
    def block(self) -> bytes:
        return random.Random(self.seed).randbytes(BLOCK).translate(bytes(byte & 0x3F for byte in range(256)))

    @property
    def size(self) -> int:
        return BLOCK * self.count

    def hashed(self) -> tuple[str, int]:
        block, digest, crc = self.block, hashlib.sha256(), 0
        for _ in range(self.count):
            digest.update(block)
            crc = zlib.crc32(block, crc)
        return digest.hexdigest(), crc

    def deflated(self) -> tuple[bytes, bytes]:
        """Its block, to be repeated as it ends with a full flush, and what comes at the end."""
        compressor = zlib.compressobj(1, zlib.DEFLATED, -15)
        return compressor.compress(self.block) + compressor.flush(zlib.Z_FULL_FLUSH), b"\x03\x00"


def deflated_zip(files: list[Big], hashes: dict[str, tuple[str, int]]) -> tuple[int, Iterator[bytes]]:
    made = []
    position = 0
    for file in files:
        block, end = file.deflated()
        sizes = {
            "crc": hashes[file.path][1],
            "csize": len(block) * file.count + len(end),
            "size": file.size,
        }
        item = Item(file.path.encode(), b"", method=DEFLATED, local=sizes, central=sizes)
        made.append((item, position, block, end, file.count))
        position += len(local_header(item)) + sizes["csize"]
    directory = b"".join(central_header(item, offset) for item, offset, *_ in made)
    count = len(made)
    ending = directory + end_record(here=count, count=count, size=len(directory), offset=position)

    def chunks() -> Iterator[bytes]:
        for item, _, block, end, times in made:
            yield local_header(item)
            for _ in range(times):
                yield block
            yield end
        yield ending

    return position + len(ending), chunks()


def stored_zip(file: Big, hashes: dict[str, tuple[str, int]]) -> tuple[int, Iterator[bytes]]:
    segments = archives.plan_archive([Entry(file.path, file.size, hashes[file.path][1])])

    def chunks() -> Iterator[bytes]:
        block = file.block
        for segment in segments:
            if segment.data is not None:
                yield segment.data
            else:
                for _ in range(file.count):
                    yield block

    return archives.archive_size(segments), chunks()


class Lives:
    """Runs what is started, side by side, each as if it were ended after 20 seconds."""

    def __init__(self, started: list[Any], *, at_once: int) -> None:
        self._started = started
        self._at_once = at_once
        self.invocations = 0
        self.least_left = LIFE_SECONDS
        self.most_at_once = 0
        self._lock = threading.Lock()

    def _invoke(self, event: dict[str, Any]) -> None:
        from functions.receive_upload.app import lambda_handler

        context = LambdaContext("receive_upload", "id", LIFE_SECONDS)
        lambda_handler(event, context)
        with self._lock:
            self.invocations += 1
            self.least_left = min(self.least_left, context.get_remaining_time_in_millis() / 1000)

    def run(self, event: dict[str, Any], *, seconds: float = 1_500) -> None:
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(self._at_once) as pool:
            running: set[Future[None]] = {pool.submit(self._invoke, event)}
            while running:
                assert time.monotonic() < until, "this would go on for ever"
                done, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for each in done:
                    each.result()
                while self._started and len(running) < self._at_once:
                    running.add(pool.submit(self._invoke, self._started.pop(0)[1]))
                self.most_at_once = max(self.most_at_once, len(running))


@pytest.fixture
def calls(on_servers: Any, monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """What is done to each object, and the bytes that are sent."""
    from botocore.client import BaseClient

    counted: Counter[tuple[str, str]] = Counter()
    lock = threading.Lock()
    real = BaseClient._make_api_call

    def call(client: Any, operation: str, given: Any) -> Any:
        if isinstance(given.get("Key"), str):
            with lock:
                counted[operation, given["Key"]] += 1
                if "Body" in given and operation in ("UploadPart", "PutObject"):
                    counted["bytes", given["Key"]] += len(given["Body"])
        return real(client, operation, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return counted


@pytest.fixture
def unpack(
    on_servers: Any, calls: Counter[tuple[str, str]], started: Any, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    from registry import deleting, versions
    from registry.auth import ANYBODY
    from registry.schemas.starting import StartUpload
    from registry.settings import get_settings
    from registry.storage.writing import ObjectWriter
    from registry.uploads import starting

    def run(size: int, chunks: Iterator[bytes], hashes: dict[str, tuple[str, int]], *, shares: int) -> Lives:
        monkeypatch.setenv("REGISTRY_UNPACK_SHARES", str(shares))
        get_settings.cache_clear()
        body = {"user_id": user_id, "model_id": "big", "version": "v1", "archive": {"size": size}}
        upload = starting.start_upload(
            principal=ANYBODY, request=StartUpload.model_validate(body), idempotency_key=None
        )
        key = naming.inbox_key(user_id, upload.upload_id, naming.ARCHIVE_SLOT)
        with ObjectWriter(key, size) as writer:
            for chunk in chunks:
                writer.write(chunk)
            writer.finish()
        calls.clear()
        lives = Lives(started, at_once=max(2, shares))
        began = time.monotonic()
        lives.run({"upload_id": upload.upload_id})
        took = time.monotonic() - began
        shown = versions.get_model(principal=ANYBODY, user_id=user_id, model_id="big", version="v1")[0]
        assert {file.filename: file.file_hash for file in shown.files} == {
            path: digest for path, (digest, _) in hashes.items()
        }
        sent = sum(count for (operation, key), count in calls.items() if operation == "bytes" and "models/" in key)
        print(
            f"\n{shown.total_size / GIB:.1f} GiB in {took:.0f} s, {lives.invocations} invocations, "
            f"{lives.most_at_once} at once, {lives.least_left:.1f} s left at least, {sent / GIB:.2f} GiB sent"
        )
        assert lives.least_left > 0
        for file in shown.files:
            made = calls["CompleteMultipartUpload", file.file_path] + calls["PutObject", file.file_path]
            assert made == 1, file.filename
        assert sent <= shown.total_size * 1.05
        return lives

    yield run
    deleting.delete_model(principal=ANYBODY, user_id=user_id, model_id="big", version="v1", every=False)


@pytest.mark.parametrize("shares", [1, 2])
def test_2_gb_are_unpacked_by_functions_that_live_for_20_s(unpack: Any, shares: int) -> None:
    files = [Big(f"weights-{number:02d}.bin", number, 12 + number) for number in range(15)]
    hashes = {file.path: file.hashed() for file in files}
    assert sum(file.size for file in files) > 2 * 10**9
    lives = unpack(*deflated_zip(files, hashes), hashes, shares=shares)
    assert lives.invocations > shares


def test_one_deflated_member_outlasts_several_lives(unpack: Any) -> None:
    file = Big("weights.bin", 7, 256)
    hashes = {file.path: file.hashed()}
    lives = unpack(*deflated_zip([file], hashes), hashes, shares=1)
    assert lives.invocations > 1


def test_a_stored_member_of_6_gib_outlasts_several_lives(unpack: Any) -> None:
    file = Big("weights.bin", 8, 768)
    hashes = {file.path: file.hashed()}
    lives = unpack(*stored_zip(file, hashes), hashes, shares=1)
    assert lives.invocations > 1
