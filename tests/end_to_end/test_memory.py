"""Memory stays flat, whatever the size; the long form of it with the sizes that people have, and its figures."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.end_to_end.client import Client, eventually, file_sha256, pattern, send_file, sha256, write_pattern
from tests.end_to_end.conftest import keys_below
from tests.end_to_end.running import Server, Usage

pytestmark = pytest.mark.needs("process")
MIB = 1024 * 1024
LIMIT_MIB = 300
needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells peaks, others do not")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder for what is large; pytest would keep it."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def upload_by_curl(client: Client, path: Path, model_id: str) -> dict[str, object]:
    """curl streams a form from disk; `requests` would hold it in memory."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        [
            *("curl", "-sS", f"{client.url}/ai-models/upload/single", "-F", f"file=@{path}"),
            *("-F", f"user_id={client.user_id}", "-F", f"model_id={model_id}", "-F", "name=Large"),
        ],
        capture_output=True,
        timeout=600,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    assert answer.get("status") == "ready", done
    return answer


def downloaded_sha256(client: Client, model_id: str, filename: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    query = {"filename": filename}
    with requests.get(f"{client.models}/{model_id}/download", params=query, stream=True, timeout=120) as answer:
        assert answer.status_code == 200
        for chunk in answer.iter_content(MIB):
            digest.update(chunk)
            size += len(chunk)
        assert size == int(answer.headers["Content-Length"])
    return digest.hexdigest(), size


def write_compressible(archive: zipfile.ZipFile, name: str, size: int, *, level: int = 1) -> str:
    """A deflated member that shrinks to about a quarter; its SHA-256."""
    digest = hashlib.sha256()
    information = zipfile.ZipInfo(name)
    information.compress_type = zipfile.ZIP_DEFLATED
    information._compresslevel = level  # type: ignore[attr-defined]
    with archive.open(information, "w", force_zip64=True) as member:
        for block in pattern(size // 4):
            for start in range(0, len(block), 4096):
                piece = block[start : start + 4096] * 4
                digest.update(piece)
                member.write(piece)
    return digest.hexdigest()


def report(what: str, size: int, seconds: float, usage: Usage) -> None:
    """For `pytest -s`."""
    print(
        f"\n{what}: {size / MIB:.0f} MiB in {seconds:.1f} s, {size / MIB / seconds:.0f} MiB/s, "
        f"peak {usage.peak_mib:.0f} MiB, {usage.processor_seconds:.1f} s of processor time"
    )


@needs_proc
def test_a_200_mb_form_is_stored_in_flat_memory(server: Server, client: Client, scratch: Path) -> None:
    large_single(server, client, scratch, 200_000_000)


@needs_proc
@pytest.mark.long
def test_a_1_gib_form_is_stored_in_flat_memory(server: Server, client: Client, scratch: Path) -> None:
    large_single(server, client, scratch, 1024 * MIB)


def large_single(server: Server, client: Client, folder: Path, size: int) -> None:
    path = write_pattern(folder / "large.bin", size)
    digest = file_sha256(path)
    began = time.monotonic()
    with Usage(server) as usage:
        answer = upload_by_curl(client, path, "large")
    report("upload/single", size, time.monotonic() - began, usage)
    assert answer["files"][0]["file_hash"] == digest  # type: ignore[index]
    assert usage.peak_mib < LIMIT_MIB
    began = time.monotonic()
    with Usage(server) as usage:
        assert downloaded_sha256(client, "large", "large.bin") == (digest, size)
    report("download", size, time.monotonic() - began, usage)
    assert usage.peak_mib < LIMIT_MIB
    assert requests.delete(f"{client.models}/large", timeout=60).status_code == 200


@needs_proc
def test_a_200_mb_deflated_member_is_unpacked_in_flat_memory(server: Server, client: Client, scratch: Path) -> None:
    size = 200 * MIB
    with zipfile.ZipFile(scratch / "folder.zip", "w") as archive:
        digests = {"weights/large.bin": write_compressible(archive, "weights/large.bin", size)}
        archive.writestr("config.json", b"{}")
    digests["config.json"] = sha256(b"{}")
    began = time.monotonic()
    with Usage(server) as usage:
        upload_id = send_archive(client, scratch / "folder.zip", "folder")
        sent = time.monotonic()
        answer = client.complete(upload_id)
        assert answer.status_code in (200, 202), answer.text
        client.wait(upload_id, seconds=300)
    report("unpacking a deflated member", size, time.monotonic() - sent, usage)
    assert sent > began
    files = client.get("folder", "/files").json()
    assert {file["filename"]: file["file_hash"] for file in files} == digests
    assert usage.peak_mib < LIMIT_MIB
    assert downloaded_sha256(client, "folder", "weights/large.bin") == (digests["weights/large.bin"], size)
    assert requests.delete(f"{client.models}/folder", timeout=60).status_code == 200


def send_archive(client: Client, path: Path, model_id: str) -> str:
    started = client.start(model_id, archive={"size": path.stat().st_size, "sha256": file_sha256(path)})
    upload_id: str = started["upload_id"]
    send_file(started["archive"], path)
    return upload_id


@needs_proc
@pytest.mark.long
@pytest.mark.case("Z24")
def test_a_zip64_of_more_than_4_gib_is_unpacked_in_flat_memory(server: Server, client: Client, scratch: Path) -> None:
    """A stored member of 2 GiB, one whose size needs 64 bits, and one whose offset does."""
    digests: dict[str, str] = {}
    with zipfile.ZipFile(scratch / "folder.zip", "w") as archive:
        for name, size in {"two.bin": 2**31, "large.bin": 2**32 + 5, "last.txt": 5}.items():
            digest = hashlib.sha256()
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                for block in pattern(size, seed=size):
                    digest.update(block)
                    member.write(block)
            digests[name] = digest.hexdigest()
        assert archive.getinfo("large.bin").file_size > 2**32 < archive.getinfo("last.txt").header_offset
    began = time.monotonic()
    with Usage(server) as usage:
        upload_id = send_archive(client, scratch / "folder.zip", "folder")
        (scratch / "folder.zip").unlink()
        assert client.complete(upload_id, seconds=900).status_code in (200, 202)
        client.wait(upload_id, seconds=900)
    report("sending and unpacking a ZIP64 of 6 GiB", 2**31 + 2**32, time.monotonic() - began, usage)
    assert usage.peak_mib < LIMIT_MIB
    files = client.get("folder", "/files").json()
    assert {file["filename"]: file["file_hash"] for file in files} == digests
    assert downloaded_sha256(client, "folder", "large.bin") == (digests["large.bin"], 2**32 + 5)
    assert requests.delete(f"{client.models}/folder", timeout=600).status_code == 200


@needs_proc
@pytest.mark.long
@pytest.mark.case("Z24")
def test_a_2_gb_folder_survives_sigkill_in_the_middle(server: Server, client: Client, scratch: Path) -> None:
    """Stored and deflated members; the server dies while it unpacks, and only the server does anything about it."""
    digests: dict[str, str] = {}
    path = scratch / "folder.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(14):
            name = f"weights/stored-{number:02}.bin"
            digest = hashlib.sha256()
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                for block in pattern(125_000_000, seed=number):
                    digest.update(block)
                    member.write(block)
            digests[name] = digest.hexdigest()
        for number in range(3):
            name = f"weights/deflated-{number}.bin"
            digests[name] = write_compressible(archive, name, 400 * MIB)
        for number in range(200):
            digests[f"small/{number}.txt"] = sha256(b"%d" % number)
            archive.writestr(f"small/{number}.txt", b"%d" % number)
    size = path.stat().st_size
    assert size > 2_000_000_000
    began = time.monotonic()
    with Usage(server) as usage:
        upload_id = send_archive(client, path, "folder")
    report("sending a 2 GB ZIP in parts", size, time.monotonic() - began, usage)

    completing = threading.Thread(target=complete_until_the_end, args=(client, upload_id))
    completing.start()
    # Some members are done then, some are half done; on a machine that is faster than we look, all of them.
    assert eventually(lambda: keys_below(server, f"models/{client.user_id}/folder/"), bool, seconds=300)
    server.kill()
    completing.join()
    server.start()
    began = time.monotonic()
    with Usage(server) as usage:
        client.wait(upload_id, seconds=900)
        total = client.metadata("folder")["total_size"]
    report("unpacking it, restart to ready", total, time.monotonic() - began, usage)
    assert usage.peak_mib < LIMIT_MIB
    files = client.get("folder", "/files").json()
    assert {file["filename"]: file["file_hash"] for file in files} == digests
    began = time.monotonic()
    whole = requests.get(f"{client.models}/folder/download", stream=True, timeout=600)
    with Usage(server) as usage, (scratch / "all.zip").open("wb") as file, whole as answer:
        for chunk in answer.iter_content(MIB):
            file.write(chunk)
    report("download of the whole version", (scratch / "all.zip").stat().st_size, time.monotonic() - began, usage)
    assert usage.peak_mib < LIMIT_MIB
    with zipfile.ZipFile(scratch / "all.zip") as archive:
        assert set(archive.namelist()) == set(digests)
        for name, wanted in digests.items():
            with archive.open(name) as member:
                assert hashlib.file_digest(member, "sha256").hexdigest() == wanted, name  # type: ignore[arg-type]
    assert requests.delete(f"{client.models}/folder", timeout=600).status_code == 200


def complete_until_the_end(client: Client, upload_id: str) -> None:
    """Its connection breaks when the server dies."""
    try:
        client.complete(upload_id, seconds=600)
    except requests.RequestException:
        return
