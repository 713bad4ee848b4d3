"""What only containers show: each function by itself, one that is killed in the middle, a file larger than memory."""

from __future__ import annotations

import io
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
from tests.end_to_end import making
from tests.end_to_end.client import Client, eventually, file_sha256, send_all, send_file, sha256
from tests.end_to_end.test_memory import write_compressible

PATH = os.environ.get("MODELKEEP_TEST_TARGET", "")
TARGET = json.loads(Path(PATH).read_text()) if PATH else {}
pytestmark = pytest.mark.skipif("sam" not in TARGET, reason="`make local` does not run: make test-local")
FUNCTIONS = sorted(path.parent.name for path in (sam_cli.PROJECT / "functions").glob("*/app.py"))
MIB = 1024 * 1024
MEMBERS = 3000


@pytest.fixture
def client(user_id: str) -> Client:
    return Client(TARGET["url"], user_id)


def containers_of(function: str) -> list[str]:
    """Those that run it now."""
    return [each for each, folder in engine.containers(build()).items() if folder == sam_cli.logical_id(function)]


def build() -> Path:
    return Path(TARGET["sam"]["data"]) / "build"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_sam_local_invoke_calls_it_with_its_event(function: str) -> None:
    """An answer, or what the function means to raise: no import that fails, no policy of SAM's own."""
    event = sam_cli.PROJECT / "tests" / "events" / f"{function}.json"
    command = sam_cli.invoke_command(build(), function, event)
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


def test_a_zip_with_a_1_gb_file_is_sent_by_presigned_urls_and_unpacked(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w") as archive:
        digest = write_compressible(archive, "weights.bin", 1024 * MIB)
    size = path.stat().st_size
    began = time.monotonic()
    started = client.start("large", name="Large", archive={"size": size, "sha256": file_sha256(path)})
    assert "multipart" in started["archive"]
    send_file(started["archive"], path)
    answer = client.complete(started["upload_id"])
    assert answer.status_code in (200, 202), answer.text
    client.wait(started["upload_id"], seconds=600)
    print(f"\n1 GiB in a ZIP of {size / MIB:.0f} MiB: {time.monotonic() - began:.0f} s")
    path.unlink()
    (file,) = client.metadata("large")["files"]
    assert (file["filename"], file["file_hash"], file["file_size"]) == ("weights.bin", digest, 1024 * MIB)
    query = {"filename": "weights.bin"}
    answer = requests.get(f"{client.models}/large/download", params=query, stream=True, timeout=120)
    assert answer.history[0].status_code == 307
    assert sum(len(chunk) for chunk in answer.iter_content(MIB)) == 1024 * MIB


def test_a_function_that_is_killed_in_the_middle_of_a_zip_is_tried_again(client: Client) -> None:
    """One PUT, so that the store's event alone has it unpacked; many members, so that it takes a while."""
    contents = {f"part-{number % 7}/{number}.bin": f"{number} ".encode() * 700 for number in range(MEMBERS)}
    archive = making.zipped(contents)
    started = client.start("killed", name="Killed", archive={"size": len(archive), "sha256": sha256(archive)})
    send_all(started["archive"], archive)
    assert eventually(lambda: stored(client, "killed"), bool, seconds=240)
    if killed := containers_of("receive_upload"):
        engine.docker("kill", *killed)
    # Whether it was still at work depends on the machine; what comes of it does not.
    if client.upload(started["upload_id"])["status"] == "ready":
        print("\nit was over before it was killed")
    client.wait(started["upload_id"], seconds=240)
    files = client.get("killed", "/files", limit=1000).json()
    assert client.metadata("killed")["file_count"] == MEMBERS
    for file in files[:: len(files) // 10]:
        assert file["file_hash"] == sha256(contents[file["filename"]])
        assert client.content(file["filename"], "killed") == contents[file["filename"]]
    with zipfile.ZipFile(io.BytesIO(client.content(None, "killed"))) as whole:
        assert {name: whole.read(name) for name in whole.namelist()} == contents


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
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=said["bucket"], Prefix=f"models/{client.user_id}/{model_id}/"
    )
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]
