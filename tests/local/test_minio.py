"""MinIO as the store: its events, and that its folder is nobody else's."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from local import minio
from local.bridge import Bridge
from local.http_server import HttpServer
from local.invoke_api import create_invoke_api
from local.invoking import InProcess
from local.minio import MinIO
from local.ports import LOOPBACK, Ports
from local.seaweedfs import ProgramMissingError
from local.servers import BUCKET, REGION, Stack, StackError
from tests.local.test_servers import client_of

EVENT_SECONDS = 120  # MinIO delivers every three
KEY = "modelkeep/uploads/u%40x/x y+é/1"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    try:
        minio.program()
    except ProgramMissingError as exc:
        pytest.skip(str(exc))
    with Stack(tmp_path_factory.mktemp("minio") / "data", Ports.free(), store=MinIO.name) as stack:
        yield stack
    assert not stack.ports.taken()


class Receiver:
    """What listens for events, and may be away for a while."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self._bridge = Bridge(folder / "dead-letters", InProcess())
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._server: HttpServer | None = None

    def listen(self) -> None:
        ours = self._stack.data.credentials()
        api = create_invoke_api(
            self._bridge,
            access_key=ours.access_key,
            events_token=ours.secret_key,
            receive=lambda body: self.events.put(minio.event_of(body, region=REGION)),
        )
        self._server = HttpServer(api, host=LOOPBACK, port=self._stack.ports.lambda_api)
        self._server.start()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def next(self) -> dict[str, Any]:
        (record,) = self.events.get(timeout=EVENT_SECONDS)["Records"]
        assert (record["eventSource"], record["awsRegion"]) == ("aws:s3", REGION)
        assert record["s3"]["bucket"]["name"] == BUCKET
        return {"name": record["eventName"], **record["s3"]["object"]}


@pytest.fixture(scope="module")
def receiver(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    receiver = Receiver(stack, tmp_path_factory.mktemp("receiver"))
    receiver.listen()
    yield receiver
    receiver.close()


def test_a_put_gives_the_event_that_s3_would_send(stack: Stack, receiver: Receiver) -> None:
    etag = client_of(stack, "s3").put_object(Bucket=BUCKET, Key=KEY, Body=b"hello")["ETag"]
    event = receiver.next()
    assert event["key"] == "modelkeep/uploads/u%2540x/x+y%2B%C3%A9/1"
    assert (unquote_plus(event["key"]), event["size"], event["eTag"]) == (KEY, 5, etag.strip('"'))
    assert event["name"] == "ObjectCreated:Put"


def test_a_multipart_completion_gives_one_event(stack: Stack, receiver: Receiver) -> None:
    s3 = client_of(stack, "s3")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=KEY)["UploadId"]
    part = s3.upload_part(Bucket=BUCKET, Key=KEY, UploadId=upload, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=BUCKET, Key=KEY, UploadId=upload, MultipartUpload=parts)
    event = receiver.next()
    assert (event["name"], event["size"]) == ("ObjectCreated:CompleteMultipartUpload", 4)


def test_what_came_while_nobody_listened_comes_later_and_other_prefixes_never(stack: Stack, receiver: Receiver) -> None:
    receiver.close()
    s3 = client_of(stack, "s3")
    s3.put_object(Bucket=BUCKET, Key="models/u/m/v1/file", Body=b"not ours")
    for number in range(5):
        s3.put_object(Bucket=BUCKET, Key=f"modelkeep/uploads/late/{number}", Body=b"late")
    time.sleep(3.5)  # a delivery fails
    receiver.listen()
    expected = {f"modelkeep/uploads/late/{number}" for number in range(5)}
    assert {receiver.next()["key"] for _ in range(5)} == expected


def test_a_folder_of_one_store_is_refused_on_another(stack: Stack) -> None:
    with pytest.raises(StackError, match="belongs to a registry on minio, not seaweedfs"):
        other = Stack(stack.data.path.parent / "copy", Ports.free())
        (other.data.path / "minio").mkdir(parents=True)
        other.start()
    assert not other.ports.taken()
    assert not (other.data.path / "s3").exists()
