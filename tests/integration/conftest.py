"""The registry on SeaweedFS and DynamoDB Local, a table of its own for every test."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.ports import Ports
from local.servers import Stack
from tests.conftest import forget_everything, set_environment
from tests.integration.harness import Clock, Process, World
from tests.integration.soundness import Soundness

_PROJECT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def memory_dynamodb(stack: Stack) -> Iterator[str]:
    """DynamoDB Local in memory; its endpoint."""
    import os
    import time

    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    port = Ports.free().dynamodb
    dies_with_us = [sys.executable, str(_PROJECT / "local" / "exec_child.py"), str(os.getpid())]
    command = [*dies_with_us, sys.executable, "-m", "tests.integration.memory_dynamodb", str(port)]
    paths = os.pathsep.join([str(_PROJECT), os.environ.get("PYTHONPATH", "")])
    server = subprocess.Popen(
        command,
        cwd=_PROJECT,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://127.0.0.1:{port}"
    client = botocore.session.Session().create_client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}, proxies={}),
    )
    try:
        for _ in range(1500):
            assert server.poll() is None, "DynamoDB Local has died"
            try:
                client.list_tables(Limit=1)
                break
            except BotoCoreError:
                time.sleep(0.2)
        yield endpoint
    finally:
        server.kill()
        server.wait()


@contextmanager
def empty_table(stack: Stack, dynamodb: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty registry on the session's servers."""
    table = f"table-{secrets.token_hex(6)}"
    environment = {**stack.environment(), "AWS_ENDPOINT_URL_DYNAMODB": dynamodb, "REGISTRY_TABLE": table}
    environment["REGISTRY_INSTALLATION"] = "tests"  # one inbox for all the tables
    set_environment(monkeypatch, environment)
    from registry import records
    from registry.storage import copying
    from registry.uploads import inbox

    records.create_table()
    # So that the probe and the claim are not among the calls that tests count.
    copying.digest_method()
    inbox.claim()
    yield
    records.Row.delete_table()
    forget_everything()


@pytest.fixture
def world(
    stack: Stack, memory_dynamodb: str, monkeypatch: pytest.MonkeyPatch, started: Any, user_id: str
) -> Iterator[World]:
    """An empty registry."""
    with empty_table(stack, memory_dynamodb, monkeypatch):
        yield World(user_id, started, Clock(monkeypatch), Process(monkeypatch, started))


@pytest.fixture
def sound(world: World) -> Soundness:
    """The world's closing check; a neighbour lives in it."""
    return Soundness.of(world)
