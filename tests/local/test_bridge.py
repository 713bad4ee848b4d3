"""The bridge does what Lambda's asynchronous invocation does, and serves boto3's Lambda client."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.config import Config

from local.bridge import Bridge
from local.http_server import HttpServer
from local.invoke_api import create_invoke_api
from local.invoking import FunctionNotFoundError, InProcess
from local.ports import LOOPBACK, Ports

FUNCTIONS = {
    "echo": """
        def lambda_handler(event, context):
            return {"event": event, "name": context.function_name, "arn": context.invoked_function_arn,
                    "remaining": context.get_remaining_time_in_millis(), "request_id": context.aws_request_id}
    """,
    "fail": """
        calls = []
        def lambda_handler(event, context):
            calls.append((event, context.aws_request_id))
            if len(calls) <= event["failures"]:
                raise ValueError(f"failure {len(calls)}")
            return "done"
    """,
    "slow": """
        import threading
        begun, released, ended = threading.Event(), threading.Event(), threading.Event()
        def lambda_handler(event, context):
            begun.set()
            released.wait(300)
            ended.set()
    """,
    "broken": "import no_such_module_at_all",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, source in FUNCTIONS.items():
        folder = tmp_path / "bridge_fakes" / name
        folder.mkdir(parents=True)
        lines = source.splitlines()
        (folder / "app.py").write_text("\n".join(line.removeprefix(" " * 8) for line in lines))
    monkeypatch.syspath_prepend(tmp_path)
    yield "bridge_fakes"
    for name in [name for name in sys.modules if name.startswith("bridge_fakes")]:
        del sys.modules[name]


@pytest.fixture
def bridge(package: str, tmp_path: Path) -> Iterator[Bridge]:
    bridge = Bridge(tmp_path / "dead-letters", InProcess(package=package), concurrency=2, retry_delays=(0.05, 0.1))
    yield bridge
    bridge.close()


def calls_of_fail() -> list[tuple[dict, str]]:
    # Another thread may be importing it just now: until it has run, nothing was called.
    return getattr(sys.modules.get("bridge_fakes.fail.app"), "calls", [])


def test_a_synchronous_invocation_returns_what_the_handler_returns(bridge):
    payload = bridge.invoke_sync("echo", {"a": 1}).payload
    assert payload["event"] == {"a": 1}
    assert payload["name"] == "echo"
    assert payload["arn"].endswith(":function:echo")
    assert 600_000 < payload["remaining"] <= 900_000


def test_an_event_is_tried_again_twice_under_one_request_id(bridge, tmp_path):
    assert bridge.invoke_async("fail", {"failures": 2}).finished.wait(60)
    assert len(calls_of_fail()) == 3
    assert len({request_id for _, request_id in calls_of_fail()}) == 1
    assert not (tmp_path / "dead-letters").exists()


def test_after_the_third_failure_the_event_is_a_dead_letter(bridge, tmp_path, caplog):
    invocation = bridge.invoke_async("fail", {"failures": 99})
    assert invocation.finished.wait(60)
    assert len(calls_of_fail()) == 3
    (letter,) = (tmp_path / "dead-letters").iterdir()
    record = json.loads(letter.read_text())
    assert record["requestContext"] == {
        "requestId": invocation.request_id,
        "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:fail",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    }
    assert record["requestPayload"] == {"failures": 99}
    assert record["responsePayload"]["errorType"] == "ValueError"
    assert record["responsePayload"]["errorMessage"] == "failure 3"
    assert any(log.levelname == "ERROR" and letter.name in log.getMessage() for log in caplog.records)


def test_a_function_that_cannot_be_imported_ends_as_a_dead_letter(bridge, tmp_path):
    assert bridge.invoke_async("broken", {}).finished.wait(60)
    (letter,) = (tmp_path / "dead-letters").iterdir()
    assert json.loads(letter.read_text())["responsePayload"]["errorType"] == "ModuleNotFoundError"


@pytest.mark.parametrize("name", ["nothing", "../echo", "echo.app", ""])
def test_an_unknown_function_is_refused_at_once(bridge, name):
    with pytest.raises(FunctionNotFoundError):
        bridge.invoke_async(name, {})


def test_waiting_for_a_retry_holds_up_nobody(package, tmp_path):
    bridge = Bridge(tmp_path / "dead-letters", InProcess(package=package), concurrency=1, retry_delays=(3600, 3600))
    bridge.invoke_async("fail", {"failures": 1})
    assert bridge.invoke_async("echo", {}).finished.wait(60)
    bridge.close()


def test_close_does_not_wait_for_a_long_handler(package, tmp_path):
    bridge = Bridge(tmp_path / "dead-letters", InProcess(package=package), concurrency=1)
    slow = importlib.import_module("bridge_fakes.slow.app")
    bridge.invoke_async("slow", {})
    assert slow.begun.wait(60)
    bridge.close()
    assert not slow.ended.is_set()
    slow.released.set()


@pytest.fixture
def received() -> list[dict]:
    return []


@pytest.fixture
def invoke_url(bridge: Bridge, received: list[dict]) -> Iterator[str]:
    port = Ports.free().lambda_api
    api = create_invoke_api(bridge, access_key="MKTEST", events_token="token", receive=received.append)
    server = HttpServer(api, host=LOOPBACK, port=port)
    server.start()
    yield f"http://{LOOPBACK}:{port}"
    server.close()


@pytest.fixture
def client(invoke_url: str):
    return boto3.client(
        "lambda",
        endpoint_url=invoke_url,
        region_name="us-east-1",
        aws_access_key_id="MKTEST",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_boto3_gets_the_payload_of_a_request_response(client):
    answer = client.invoke(FunctionName="echo", Payload=b'{"a": "\\u00e9"}')
    assert answer["StatusCode"] == 200
    assert "FunctionError" not in answer
    assert json.loads(answer["Payload"].read())["event"] == {"a": "é"}


def test_boto3_sees_a_raise_as_a_function_error(client):
    answer = client.invoke(FunctionName="fail", Payload=b'{"failures": 1}')
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.loads(answer["Payload"].read())["errorType"] == "ValueError"


def test_boto3_queues_an_event_and_gets_an_empty_202(client):
    answer = client.invoke(FunctionName="fail", InvocationType="Event", Payload=b'{"failures": 0}')
    assert answer["StatusCode"] == 202
    assert answer["Payload"].read() == b""
    deadline = time.monotonic() + 60
    while not calls_of_fail():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_boto3_sees_an_unknown_function_as_not_found(client):
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="nothing")


def test_who_does_not_sign_with_our_key_may_not_invoke(invoke_url):
    answer = httpx.post(f"{invoke_url}/2015-03-31/functions/fail/invocations", json={"failures": 0})
    assert answer.status_code == 403
    assert "bridge_fakes.fail.app" not in sys.modules


def test_an_event_is_taken_with_the_token_alone(invoke_url: str, received: list[dict]) -> None:
    body = {"Records": []}
    for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "token"}):
        assert httpx.post(f"{invoke_url}/events", json=body, headers=headers).status_code == 403
    assert received == []
    assert httpx.post(f"{invoke_url}/events", json=body, headers={"Authorization": "Bearer token"}).status_code == 204
    assert received == [body]
