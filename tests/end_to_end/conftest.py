"""One server for the session; tests share it, so each has a `user_id` of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import modelkeep
import pytest
import requests

from tests.end_to_end import client_under_test
from tests.end_to_end.client import Client
from tests.end_to_end.running import Server, running
from tests.end_to_end.targets import Target, read_target, resolve_localhost

Keys = Callable[[str], list[str]]
TARGET = read_target()
if TARGET is not None:
    resolve_localhost()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what the target can't do, and say why."""
    for item in items:
        if TARGET is None or Path(__file__).parent not in item.path.parents:
            continue
        for marker in item.iter_markers("needs"):
            for missing in TARGET.lacks.intersection(marker.args):
                item.add_marker(pytest.mark.skip(reason=f"the target has no {missing}"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server | Target]:
    """The registry, as `make run` starts it: at the end its whole log is looked through for secrets. Or the one that
    MODELKEEP_TEST_TARGET names, which has only a `url`."""
    if TARGET is not None:
        yield TARGET
        return
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(autouse=True)
def identified(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the target wants tokens, what a test sends there (requests, curl) carries its user's; else nothing."""
    if TARGET is not None and TARGET.issuer is not None and "user_id" in request.fixturenames:
        identify(TARGET, request.getfixturevalue("user_id"), monkeypatch, tmp_path)


def identify(target: Target, user_id: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From now on requests and curl call the target as that user, and others, as the store, as before."""
    bearer = f"Bearer {target.token(user_id)}"
    send = requests.Session.request

    def request(self: Any, method: str, url: str, **options: Any) -> requests.Response:
        if url.startswith(target.url + "/"):
            options["headers"] = {"Authorization": bearer, **(options.get("headers") or {})}
        return send(self, method, url, **options)

    monkeypatch.setattr(requests.Session, "request", request)
    (folder / ".curlrc").write_text(f'header = "Authorization: {bearer}"\n')
    monkeypatch.setenv("CURL_HOME", str(folder))


@pytest.fixture
def client(server: Server, user_id: str) -> Client:
    """The registry, for a user that nobody else uses."""
    return Client(server.url, user_id)


@pytest.fixture
def sdk(server: Server | Target, user_id: str, tmp_path: Path) -> Iterator[modelkeep.Client]:
    """The `modelkeep` client for that user, with a home of its own."""
    with client_under_test.sdk(server, user_id, tmp_path / "home") as client:
        yield client


@pytest.fixture
def keys(server: Server) -> Keys:
    """What really lies in the bucket below a prefix."""
    return lambda prefix: keys_below(server, prefix)


def keys_below(server: Server | Target, prefix: str) -> list[str]:
    """Objects, and `key (parts)` for multiparts that are open."""
    store, bucket = s3_client(server)
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    uploads = store.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    return found + [f"{entry['Key']} (parts)" for page in uploads for entry in page.get("Uploads", [])]


def s3_client(server: Server | Target) -> tuple[Any, str]:
    """A client of the store behind, and the bucket."""
    import boto3

    if isinstance(server, Target):
        said = server.s3
    else:
        said = json.loads((server.data / "credentials.json").read_text())
        said |= {"endpoint": f"http://127.0.0.1:{server.ports.s3}", "bucket": "modelkeep"}
    client = boto3.client(
        "s3",
        endpoint_url=said["endpoint"],
        aws_access_key_id=said["access_key"],
        aws_secret_access_key=said["secret_key"],
        region_name="us-east-1",
    )
    return client, said["bucket"]
