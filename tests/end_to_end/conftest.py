"""One server for the session; tests share it, so each has a `user_id` of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.end_to_end.client import Client
from tests.end_to_end.running import Server, running

Keys = Callable[[str], list[str]]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The registry, as `make run` starts it. At the end its whole log is looked through for secrets."""
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def client(server: Server, user_id: str) -> Client:
    """The registry, for a user that nobody else uses."""
    return Client(server.url, user_id)


@pytest.fixture
def keys(server: Server) -> Keys:
    """What really lies in the bucket below a prefix."""
    return lambda prefix: keys_below(server, prefix)


def keys_below(server: Server, prefix: str) -> list[str]:
    """Objects, and `key (parts)` for multiparts that are open."""
    store = s3_client(server)
    pages = store.get_paginator("list_objects_v2").paginate(Bucket="modelkeep", Prefix=prefix)
    found = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    uploads = store.get_paginator("list_multipart_uploads").paginate(Bucket="modelkeep", Prefix=prefix)
    return found + [f"{entry['Key']} (parts)" for page in uploads for entry in page.get("Uploads", [])]


def s3_client(server: Server) -> Any:
    import boto3

    credentials = json.loads((server.data / "credentials.json").read_text())
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{server.ports.s3}",
        aws_access_key_id=credentials["access_key"],
        aws_secret_access_key=credentials["secret_key"],
        region_name="us-east-1",
    )
