"""The real embedded servers: events, restarts, kills. The first run on a machine fetches DynamoDB Local (53 MB)."""

from __future__ import annotations

import os
import queue
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import boto3
import psutil
import pytest
from botocore.config import Config

from local.data_folder import DataFolderInUseError
from local.events import EventSource
from local.ports import Ports
from local.servers import BUCKET, Stack

PROJECT = Path(__file__).parent.parent.parent
EVENT_SECONDS = 120


def client_of(stack: Stack, service: str) -> Any:
    environment = stack.environment()
    return boto3.client(
        service,
        endpoint_url=environment[f"AWS_ENDPOINT_URL_{service.upper()}"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=Config(signature_version="s3v4") if service == "s3" else None,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack") / "data"


@pytest.fixture(scope="module")
def stack(data: Path) -> Iterator[Stack]:
    with Stack(data, Ports.free()) as stack:
        yield stack
    assert not stack.ports.taken()


@pytest.fixture(scope="module")
def events(stack: Stack) -> Iterator[queue.Queue]:
    received: queue.Queue = queue.Queue()
    source = EventSource(stack, received.put)
    source.start()
    yield received
    source.close()


def next_object(events: queue.Queue) -> dict[str, Any]:
    return events.get(timeout=EVENT_SECONDS)["Records"][0]["s3"]["object"]


def assert_no_further(stack: Stack, events: queue.Queue) -> None:
    """What comes next is the event of an object that is put now: they come in order."""
    key = f"modelkeep/uploads/u/{secrets.token_hex(8)}"
    client_of(stack, "s3").put_object(Bucket=BUCKET, Key=key, Body=b"")
    assert next_object(events)["key"] == key


def test_a_put_gives_one_event_with_its_key_size_and_etag(stack, events):
    key = "modelkeep/uploads/u/x y+é"
    etag = client_of(stack, "s3").put_object(Bucket=BUCKET, Key=key, Body=b"hello")["ETag"]
    received = next_object(events)
    assert (unquote_plus(received["key"]), received["size"], received["eTag"]) == (key, 5, etag.strip('"'))
    assert_no_further(stack, events)


def test_a_multipart_completion_gives_one_event(stack, events):
    s3, target = client_of(stack, "s3"), {"Bucket": BUCKET, "Key": "modelkeep/uploads/u/parts"}
    upload = target | {"UploadId": s3.create_multipart_upload(**target)["UploadId"]}
    bodies = [b"a" * (5 << 20), b"b"]
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in enumerate(bodies, 1)
    ]
    etag = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})["ETag"]
    received = next_object(events)
    assert (received["key"], received["size"], received["eTag"]) == (target["Key"], (5 << 20) + 1, etag.strip('"'))
    assert_no_further(stack, events)


def test_objects_elsewhere_deletions_and_tags_give_none(stack, events):
    s3 = client_of(stack, "s3")
    s3.put_object(Bucket=BUCKET, Key="models/u/m/v1/file", Body=b"x")
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    s3.put_object_tagging(Bucket=BUCKET, Key="modelkeep/uploads/u/parts", Tagging=tags)
    s3.delete_object(Bucket=BUCKET, Key="modelkeep/uploads/u/parts")
    assert_no_further(stack, events)


def test_only_loopback_is_listened_on(stack):
    for name, pid in stack.pids().items():
        listening = [c for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {c.laddr.ip for c in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}, name


def test_the_folder_cannot_be_used_twice(stack, data):
    with pytest.raises(DataFolderInUseError):
        Stack(data, Ports.free()).start()


def test_a_dead_server_is_started_again(stack):
    os.kill(stack.pids()["dynamodb"], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not (messages := stack.restart_dead()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "dynamodb has died" in messages[0]
    stack.wait()


def write_marks(stack: Stack) -> None:
    client_of(stack, "s3").put_object(Bucket=BUCKET, Key="models/kept", Body=b"object")
    dynamodb = client_of(stack, "dynamodb")
    dynamodb.create_table(
        TableName="kept",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.put_item(TableName="kept", Item={"pk": {"S": "row"}})


def assert_marks(stack: Stack) -> None:
    assert client_of(stack, "s3").get_object(Bucket=BUCKET, Key="models/kept")["Body"].read() == b"object"
    assert client_of(stack, "dynamodb").get_item(TableName="kept", Key={"pk": {"S": "row"}})["Item"]


def test_a_restart_keeps_everything_also_on_other_ports(tmp_path):
    with Stack(tmp_path, Ports.free()) as stack:
        write_marks(stack)
    with Stack(tmp_path, Ports.free()) as stack:
        assert_marks(stack)
    assert not stack.ports.taken()


HOLD_A_STACK = """
import sys, time
from pathlib import Path
from local.ports import Ports
from local.servers import Stack
stack = Stack(Path(sys.argv[1]), Ports.from_base(int(sys.argv[2])))
stack.start()
print("pids", *stack.pids().values(), flush=True)
time.sleep(600)
"""


def test_after_a_kill_of_the_main_process_nothing_stays_and_the_next_start_works(tmp_path):
    ports = Ports.free()
    main = subprocess.Popen(
        [sys.executable, "-c", HOLD_A_STACK, str(tmp_path), str(ports.api)], cwd=PROJECT, stdout=subprocess.PIPE
    )
    said = iter(main.stdout.readline, b"")  # on a busy machine it also says what it waits for
    children = [int(pid) for pid in next(line for line in said if line.startswith(b"pids")).split()[1:]]
    main.kill()
    main.wait()
    if sys.platform == "linux":
        _, alive = psutil.wait_procs([psutil.Process(pid) for pid in children if psutil.pid_exists(pid)], timeout=60)
        assert not alive
    with Stack(tmp_path, ports) as stack:
        write_marks(stack)


def test_leftover_children_are_ended_at_the_next_start_but_strangers_with_their_pid_are_not(tmp_path):
    first = Stack(tmp_path, Ports.free())
    first.start()
    write_marks(first)
    leftovers = [psutil.Process(pid) for pid in first.pids().values()]
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (tmp_path / "run" / "stranger.json").write_text(f'{{"pid": {stranger.pid}, "command": ["weed", "mini"]}}')
    first.data.unlock()  # as the system does when the main process is killed
    try:
        with Stack(tmp_path, first.ports) as second:
            assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in leftovers)
            assert stranger.poll() is None
            assert_marks(second)
    finally:
        stranger.kill()
        stranger.wait()
        first.stop()
