"""What tests of several kinds share: the registry on moto, the registry on the embedded servers."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import moto  # before boto3 is used, so that no client escapes it

import boto3  # isort: skip
import botocore.session
import pytest
from moto.core.serialize import BaseJSONSerializer

from local import minio
from local.ports import Ports
from local.seaweedfs import ProgramMissingError
from local.servers import Stack
from tests.leaks import no_secret_in_any_log  # noqa: F401  # a fixture, for every test

SETTINGS = {
    "REGISTRY_BUCKET": "modelkeep",
    "REGISTRY_TABLE": "modelkeep",
    "REGISTRY_AUTHENTICATION": "off",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def pytest_configure() -> None:
    """A shell has what it starts in the background ignore Ctrl-C, and so would the commands that tests press it for."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from hypothesis import HealthCheck, settings  # here, as the benchmarks import this module and have no hypothesis

    # How long an example takes tells how busy the machine is, and nothing of what is tested.
    settings.register_profile("modelkeep", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("modelkeep")
    # Each session of botocore's, of which most tests make two, would read the same megabytes of JSON.
    botocore.session.create_loader = cache(botocore.session.create_loader)
    hasten_moto()


def hasten_moto() -> None:
    """Of each attribute value moto looks for all ten types under several names each, which takes longer than all else
    that a test does; what it looks at is the answer already."""
    original = BaseJSONSerializer._serialize_type_structure

    def serialize(self: BaseJSONSerializer, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if shape.name == "AttributeValue":
            self._default_serialize(serialized, value, shape, key)
        else:
            original(self, serialized, value, shape, key)

    BaseJSONSerializer._serialize_type_structure = serialize  # type: ignore[method-assign]


def forget_everything() -> None:
    """The registry reads its environment at first use; after this it does so again."""
    from registry import authentication, records, settings, tasks
    from registry.storage import claiming, client, copying, multiparts

    boto3.DEFAULT_SESSION = None  # it keeps the credentials that it found first
    settings.get_settings.cache_clear()
    authentication.keys_of.cache_clear()
    client.forget_clients()
    copying.digest_method.cache_clear()
    multiparts.lists_digests.cache_clear()
    copying.checks_crcs.cache_clear()
    claiming.claim_inbox.cache_clear()
    tasks.forget_client()
    records.reset_connection()


def set_environment(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith(("REGISTRY_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    forget_everything()


class Started(list[tuple[str, dict[str, Any]]]):
    """The functions that were started and not yet run: name and event. `run()` runs them as Lambda would."""

    def run(self, context: Any = None) -> None:
        import importlib

        while self:
            name, event = self.pop(0)
            importlib.import_module(f"functions.{name}.app").lambda_handler(event, context)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Instead of Lambda's queue."""
    from registry import tasks

    calls = Started()
    monkeypatch.setattr(tasks, "start_function", lambda name, event: calls.append((name, event)))
    return calls


@pytest.fixture
def on_moto(monkeypatch: pytest.MonkeyPatch, started: Started) -> Iterator[None]:
    """An empty registry on moto, with API Gateway's limits."""
    set_environment(monkeypatch, SETTINGS)
    with moto.mock_aws():
        from registry import records
        from registry.storage.client import s3

        s3().create_bucket(Bucket="modelkeep")
        records.create_table()
        yield
    forget_everything()


SHARED = {"REGISTRY_INSTALLATION": "tests"}  # of all tables on the session's stores, as each has one inbox


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """SeaweedFS and DynamoDB Local, without the app; shared by the session, so use a `user_id` of your own."""
    with Stack(tmp_path_factory.mktemp("stack"), Ports.free()) as stack:
        stack.wait()
        yield stack


@pytest.fixture
def on_servers(stack: Stack, monkeypatch: pytest.MonkeyPatch, started: Started) -> Iterator[Stack]:
    """The registry on the embedded servers, in this process, with `make run`'s limits (none)."""
    set_environment(monkeypatch, stack.environment() | SHARED)
    from registry import records

    records.create_table()
    yield stack
    forget_everything()


@pytest.fixture(scope="session")
def minio_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """MinIO and DynamoDB Local, without the app; shared by the session. Left out where there is no MinIO."""
    try:
        minio.program()
    except ProgramMissingError as exc:
        pytest.skip(str(exc))
    with Stack(tmp_path_factory.mktemp("minio"), Ports.free(), store="minio") as stack:
        yield stack


@pytest.fixture
def on_minio(minio_stack: Stack, monkeypatch: pytest.MonkeyPatch, started: Started) -> Iterator[Stack]:
    """The registry on MinIO and DynamoDB Local, in this process, with `make run`'s limits (none)."""
    set_environment(monkeypatch, minio_stack.environment() | SHARED)
    from registry import records

    records.create_table()
    yield minio_stack
    forget_everything()


@pytest.fixture
def user_id() -> str:
    """A user that nobody else uses."""
    return f"user-{secrets.token_hex(6)}"


@pytest.fixture
def call() -> Callable[..., tuple[int, dict[str, str], Any]]:
    """Calls a function as API Gateway does: `call("get_model", path={"user_id": …}, query={}, json=…)`. Status,
    headers (lower case) and the body: parsed if JSON, else bytes."""
    return call_function


def call_function(
    function: str,
    *,
    path: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    json_body: Any = None,
    principal: str | None = None,
    context: dict[str, Any] | None = None,
) -> tuple[int, dict[str, str], Any]:
    """`context`: what the authorizer says of the principal beside its id."""
    import base64
    import importlib
    from urllib.parse import quote

    app = importlib.import_module(f"functions.{function}.app")
    route = app.router.routes[0]
    url = route.path
    for name, value in (path or {}).items():
        url = url.replace("{" + name + "}", quote(value, safe="")).replace("{" + name + ":path}", quote(value))
    if json_body is not None:
        body = json.dumps(json_body).encode()
        headers = {"content-type": "application/json", **(headers or {})}
    sent = {"host": "api.example.com", "accept": "*/*", "content-length": str(len(body)), **(headers or {})}
    event = {
        "resource": route.path,
        "path": url,
        "httpMethod": sorted(route.methods)[0],
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} if query else None,
        "pathParameters": path,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": route.path,
            "httpMethod": sorted(route.methods)[0],
            "path": url,
            "stage": "prod",
            "requestId": "id",
            "identity": {"sourceIp": "127.0.0.1"},
            **({"authorizer": {**(context or {}), "principalId": principal}} if principal else {}),
        },
        "body": base64.b64encode(body).decode() if body else None,
        "isBase64Encoded": bool(body),
    }
    answer = app.lambda_handler(event, None)
    answered = {name.lower(): value for name, value in (answer.get("headers") or {}).items()}
    answered |= {name.lower(): values[-1] for name, values in (answer.get("multiValueHeaders") or {}).items()}
    content = base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else (answer["body"] or "").encode()
    if "json" in answered.get("content-type", ""):
        return answer["statusCode"], answered, json.loads(content)
    return answer["statusCode"], answered, content


@pytest.fixture
def own_loop() -> Iterator[None]:
    """For tests that call asyncio.run: it takes the thread's event loop away, which Mangum asks for afterwards."""
    yield
    asyncio.set_event_loop(asyncio.new_event_loop())
