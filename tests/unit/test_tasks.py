"""How a function is asked for: by its name, and by the alias that is deployed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from registry import settings, tasks


@pytest.fixture
def requests_sent(monkeypatch: pytest.MonkeyPatch):
    """What boto3's client sends, as it would go to AWS: URL and body."""
    for name, value in {
        "REGISTRY_BUCKET": "b",
        "REGISTRY_TABLE": "t",
        "REGISTRY_FUNCTIONS_PREFIX": "stack-",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_LAMBDA", raising=False)
    settings.get_settings.cache_clear()
    tasks.forget_client()
    sent: list[tuple[str, Any]] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent.append((request.url, json.loads(request.body)))
        return AWSResponse(request.url, 202, {}, Raw())

    tasks._lambda().meta.events.register("before-send.lambda.Invoke", answer)
    yield sent
    settings.get_settings.cache_clear()
    tasks.forget_client()


class Raw:
    def stream(self, **_: Any) -> Any:
        return iter(())

    def read(self, *_: Any) -> bytes:
        return b""


URL = "https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/stack-receive_upload/invocations"


def test_a_function_is_started_by_its_name(requests_sent):
    tasks.start_function("receive_upload", {"upload_id": "x"})
    assert requests_sent == [(URL, {"upload_id": "x"})]


def test_a_function_is_started_by_the_alias_that_is_set(requests_sent, monkeypatch):
    monkeypatch.setenv("REGISTRY_FUNCTIONS_QUALIFIER", "live")
    settings.get_settings.cache_clear()
    tasks.start_function("receive_upload", {"upload_id": "x"})
    assert requests_sent == [(f"{URL}?Qualifier=live", {"upload_id": "x"})]
