"""What only containers show: each function by itself, one that is killed in the middle, a file larger than memory."""

from __future__ import annotations

import json
import os
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests

from local import engine, sam_cli
from tests.end_to_end.client import Client, eventually, file_sha256, pattern, send_file, sha256

PATH = os.environ.get("MODELKEEP_TEST_TARGET", "")
TARGET = json.loads(Path(PATH).read_text()) if PATH else {}
pytestmark = pytest.mark.skipif("sam" not in TARGET, reason="`make local` does not run: make test-local")
FUNCTIONS = sorted(path.parent.name for path in (sam_cli.PROJECT / "functions").glob("*/app.py"))
MIB = 1024 * 1024


@pytest.fixture
def client(user_id: str) -> Client:
    return Client(TARGET["url"], user_id)


def containers_of(function: str) -> list[str]:
    """Those that run it now."""
    found = []
    for container in engine.containers():
        told = json.loads(engine._docker("inspect", container))[0]
        if any(mount["Source"].endswith(f"/{sam_cli.logical_id(function)}") for mount in told["Mounts"]):
            found.append(container)
    return found


@pytest.mark.parametrize("function", FUNCTIONS)
def test_sam_local_invoke_calls_it_with_its_event(function: str) -> None:
    """An answer, or what the function means to raise: no import that fails, no policy of SAM's own."""
    event = sam_cli.PROJECT / "tests" / "events" / f"{function}.json"
    command = ["sam", "local", "invoke", sam_cli.logical_id(function), "--event", str(event), "--skip-pull-image"]
    command += ["--template", str(sam_cli.TEMPLATE), *sam_cli.parameters()]
    done = subprocess.run(
        command, cwd=sam_cli.PROJECT, env=sam_cli.environment(), capture_output=True, text=True, timeout=180
    )
    answer: Any = json.loads(done.stdout.strip().splitlines()[-1])
    if function == "authenticate_request":  # the token of the example is none
        assert answer["errorMessage"] in ("Unauthorized", "No issuer is configured"), done.stderr
        return
    assert "errorMessage" not in (answer or {}), answer
    if answer is not None:
        assert answer["statusCode"] < 500, answer


def write_zip(path: Path, size: int, *, members: int) -> dict[str, str]:
    """A ZIP of deflated members that shrink to about a quarter; their digests."""
    import hashlib

    digests = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(members):
            name, digest = f"weights/{number}.bin", hashlib.sha256()
            with archive.open(name, "w", force_zip64=True) as member:
                for block in pattern(size // members // 4, seed=number):
                    for start in range(0, len(block), 4096):
                        piece = block[start : start + 4096] * 4
                        digest.update(piece)
                        member.write(piece)
            digests[name] = digest.hexdigest()
    return digests


def upload(client: Client, model_id: str, path: Path) -> Any:
    """The archive, sent by presigned URLs: the store's event or `complete` begins to unpack it."""
    size = path.stat().st_size
    started = client.start(model_id, name="Large", archive={"size": size, "sha256": file_sha256(path)})
    assert "multipart" in started["archive"]
    send_file(started["archive"], path)
    answer = client.complete(started["upload_id"])
    assert answer.status_code in (200, 202), answer.text
    return started


def test_a_zip_with_a_1_gb_file_is_sent_by_presigned_urls_and_unpacked(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    digests = write_zip(path, 1024 * MIB, members=1)
    began = time.monotonic()
    started = upload(client, "large", path)
    client.wait(started["upload_id"], seconds=600)
    print(f"\n1 GiB in a ZIP of {path.stat().st_size / MIB:.0f} MiB: {time.monotonic() - began:.0f} s")
    path.unlink()
    (file,) = client.metadata("large")["files"]
    assert {file["filename"]: file["file_hash"]} == digests
    assert file["file_size"] == 1024 * MIB
    answer = requests.get(
        f"{client.models}/large/download", params={"filename": file["filename"]}, stream=True, timeout=120
    )
    assert answer.history[0].status_code == 307
    assert sum(len(chunk) for chunk in answer.iter_content(MIB)) == 1024 * MIB


def test_a_function_that_is_killed_in_the_middle_of_a_zip_is_tried_again(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "killed.zip"
    digests = write_zip(path, 512 * MIB, members=8)
    started = upload(client, "killed", path)

    def some_stored() -> bool:
        return client.upload(started["upload_id"])["bytes_stored"] > 0 or bool(stored(client, "killed"))

    assert eventually(some_stored, bool, seconds=120)
    killed = containers_of("receive_upload")
    assert killed
    engine._docker("kill", *killed)
    now = client.upload(started["upload_id"])
    assert now["status"] == "processing", "it was over before it was killed"
    client.assert_invisible("killed")
    client.wait(started["upload_id"], seconds=240)
    metadata = client.metadata("killed")
    assert {file["filename"]: file["file_hash"] for file in metadata["files"]} == digests
    name = min(digests)
    assert sha256(client.content(name, "killed")) == digests[name]


def stored(client: Client, model_id: str) -> list[str]:
    """What lies in the store of a model that nobody can see yet."""
    import boto3

    said = TARGET["s3"]
    s3 = boto3.client(
        "s3",
        endpoint_url=said["endpoint"],
        aws_access_key_id=said["access_key"],
        aws_secret_access_key=said["secret_key"],
        region_name="us-east-1",
    )
    listed = s3.list_objects_v2(Bucket=said["bucket"], Prefix=f"models/{client.user_id}/{model_id}/")
    return [entry["Key"] for entry in listed.get("Contents", [])]
