"""Metrics: one line an invocation in CloudWatch's embedded format, where a namespace is set; no secret in any line."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from typing import Any

import pytest
from registry import observability

from tests.functional.kit import deliver, event_of, make_zip, ok, refused, send, sweep

NAMESPACE = "POWERTOOLS_METRICS_NAMESPACE"


@pytest.fixture
def metrics(api, monkeypatch, capsys):
    """Switched on; called, it gives the lines since the last call."""
    monkeypatch.setenv(NAMESPACE, "Modelkeep")

    def lines() -> list[dict[str, Any]]:
        printed = (line for line in capsys.readouterr().out.splitlines() if line.startswith("{"))
        return [line for line in map(json.loads, printed) if "_aws" in line]

    lines()
    return lines


def dimensions(line: dict[str, Any]) -> set[str]:
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Modelkeep"
    (names,) = directive["Dimensions"]
    return set(names)


def units(line: dict[str, Any]) -> dict[str, str]:
    return {metric["Name"]: metric["Unit"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}


def test_an_answer_is_one_line_with_count_latency_and_bytes(api, metrics):
    answer = api.single(content=b"x" * 1000)
    ok(answer)
    (line,) = metrics()
    assert dimensions(line) == {"service"}
    assert (line["service"], line["function"]) == ("modelkeep", "upload_single")
    assert units(line) == {
        "Requests": "Count",
        "Latency": "Milliseconds",
        "Failures": "Count",
        "BytesReceived": "Bytes",
        "BytesSent": "Bytes",
    }
    assert (line["Requests"], line["Failures"]) == ([1.0], [0.0])
    assert line["Latency"][0] > 0
    assert 1000 < line["BytesReceived"][0] < 3000
    ok(api.get())
    (line,) = metrics()
    assert line["function"] == "get_model" and "BytesReceived" not in line


def test_a_refusal_is_counted_by_its_code_alone(api, metrics):
    refused(api.get("nothing"), 404, "model_not_found")
    requests, refusals = metrics()
    assert requests["function"] == "get_model" and requests["Failures"] == [0.0]
    assert dimensions(refusals) == {"service", "code"}
    assert refusals["code"] == "model_not_found" and units(refusals) == {"Refusals": "Count"}


def test_the_service_is_the_installation(api, metrics, monkeypatch):
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "models-prod")
    ok(api.list())
    (line,) = metrics()
    assert line["service"] == "models-prod"


def test_a_failure_is_counted_and_is_no_refusal(api, metrics, monkeypatch):
    def fail(**_: Any) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("registry.versions.get_model", fail)
    assert api.get().status == 500
    (line,) = metrics()
    assert line["Failures"] == [1.0]


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_namespace_nothing_is_written(api, metrics, monkeypatch, capsys, value):
    if value is None:
        monkeypatch.delenv(NAMESPACE)
    else:
        monkeypatch.setenv(NAMESPACE, value)
    ok(api.single())
    deliver(event_of("modelkeep/uploads/alice/0198f0a1b2c300000000000000000001/000000"))
    sweep()
    assert metrics() == []
    assert not observability._moved


def test_powertools_own_switch_holds_too(api, metrics, monkeypatch):
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
    ok(api.single())
    assert metrics() == []


@pytest.mark.parametrize("kind", ["files", "archive"])
def test_a_worker_counts_what_it_promotes_or_unpacks(api, metrics, kind):
    content = b"y" * 500 if kind == "files" else make_zip({"a": b"y" * 300, "b": b"z" * 200})
    spec = {"size": len(content)}
    upload = ok(api.start(**({"files": [{"path": "a", **spec}]} if kind == "files" else {"archive": spec})), 201)
    key = send(upload["files"][0] if kind == "files" else upload["archive"], content)
    metrics()
    deliver(event_of(key))
    (line,) = metrics()
    assert line["function"] == "receive_upload" and line["Failures"] == [0.0]
    assert line["BytesPromoted" if kind == "files" else "BytesUnpacked"] == [500.0]


def test_a_worker_that_fails_is_counted_and_its_error_stays(api, metrics, monkeypatch):
    def fail(event: Any, deadline: Any) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("registry.uploads.receiving.receive", fail)
    with pytest.raises(RuntimeError, match="no such luck"):
        importlib.import_module("functions.receive_upload.app").lambda_handler({}, None)
    (line,) = metrics()
    assert line["Failures"] == [1.0]


def test_the_sweep_says_how_long_the_oldest_row_is_overdue(api, metrics, move_clock):
    sweep()
    assert [line["OldestWorkAge"] for line in metrics() if "OldestWorkAge" in line] == [[0.0]]
    ok(api.start(archive={"size": 5}), 201)
    metrics()
    move_clock(1_000)  # due 60 s after it was begun
    sweep()
    (age,) = [line for line in metrics() if "OldestWorkAge" in line]
    assert 900 < age["OldestWorkAge"][0] < 960
    assert units(age) == {"OldestWorkAge": "Seconds"} and dimensions(age) == {"service"}


def test_a_sweep_without_time_still_says_so(api, metrics, move_clock, no_time):
    ok(api.start(archive={"size": 5}), 201)
    metrics()
    move_clock(1_000)
    with no_time():
        sweep()
    (age,) = [line for line in metrics() if "OldestWorkAge" in line]
    assert 900 < age["OldestWorkAge"][0] < 960


def test_metrics_that_fail_fail_nothing(api, metrics, monkeypatch):
    from aws_lambda_powertools.metrics import EphemeralMetrics

    monkeypatch.setattr(EphemeralMetrics, "flush_metrics", lambda self: 1 / 0)
    ok(api.single())
    refused(api.get("nothing"), 404)
    sweep()


def test_no_line_holds_a_token_or_a_signature(api, metrics, monkeypatch, capsys):
    for handler in logging.getLogger("modelkeep").handlers:  # made by an earlier test, whose output is closed
        monkeypatch.setattr(handler, "stream", sys.stdout)
    upload = ok(api.start(headers={"authorization": "Bearer s3cr3t-token"}, files=[{"path": "a", "size": 1}]), 201)
    signature = upload["files"][0]["put"]["url"].split("X-Amz-Signature=")[1].split("&")[0]
    ok(api.upload(upload["upload_id"], urls="true"))
    deliver(event_of(send(upload["files"][0], b"1")))
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert '"_aws"' in text and '"answered"' in text
    for secret in ("s3cr3t-token", signature, "X-Amz-Signature", "Signature="):
        assert secret not in text


def test_numbers_of_one_invocation_do_not_leak_into_the_next(api, metrics):
    ok(api.single(content=b"x" * 10_000))
    ok(api.get())
    _, second = metrics()
    assert "BytesReceived" not in second
