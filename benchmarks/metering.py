"""Counts what invocations of the functions use, and prices it: for `cost.py`."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import requests

from tests.conftest import call_function
from tests.template.loading import functions_of, load_template

# List prices in US dollars, us-east-1, as known on 2026-11-24; without free tiers and discounts. Check them before you
# rely on them: https://aws.amazon.com/pricing/
PRICES = {
    "s3_put": 0.005 / 1_000,  # PUT, COPY, POST, LIST
    "s3_get": 0.0004 / 1_000,  # GET, HEAD; DELETE and abort are free
    "s3_gb_month": 0.023,
    "table_read": 0.125 / 1e6,  # a read request unit, on demand
    "table_write": 0.625 / 1e6,
    "lambda_request": 0.20 / 1e6,
    "lambda_gb_second": 0.0000133334,  # arm64
    "api_request": 3.50 / 1e6,
    "logs_gb": 0.50,
    "alarm_month": 0.10,
    "metric_month": 0.30,  # each metric with each set of dimensions that was written in the month
    "gb_out": 0.09,  # to the internet; in, and within the region, nothing
}
# Seconds that one invocation is billed, where nothing is copied or read; and how fast a function reads from S3.
ASSUMED = {"call_seconds": 0.06, "event_seconds": 0.3, "sweep_seconds": 0.2, "copy_seconds": 20.0, "read_mb_s": 70.0}
PLATFORM_LOG_BYTES = 400  # START, END and REPORT of an invocation, and the gateway's access log
AUTHORIZED_EACH = 10  # calls of one token within the minute for which the authorizer's answer is kept
GIB, MIB = 1024**3, 1024**2
MONTH_MINUTES = 30 * 24 * 60
URLS_A_PAGE, PARTS_A_LIST = 500, 1_000
FREE = {"DeleteObject", "DeleteObjects", "AbortMultipartUpload"}
READS = {"GetObject", "HeadObject", "GetObjectAttributes", "HeadBucket"}
TABLE_READS = {"GetItem", "Query", "BatchGetItem", "Scan"}
TABLE_WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"}
BEGIN, END = "<!-- cost: written by benchmarks/cost.py -->", "<!-- cost: end -->"


@dataclass
class Bill:
    """What was used: S3's and DynamoDB's operations by name, units, and each function's invocations and seconds."""

    s3: Counter[str] = field(default_factory=Counter)
    table: Counter[str] = field(default_factory=Counter)
    reads: float = 0.0
    writes: float = 0.0
    requests: float = 0.0
    invocations: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    log_bytes: float = 0.0

    def add(self, other: Bill, times: float = 1) -> None:
        """Put another's use on this one, so many times."""
        for mine, theirs in (
            (self.s3, other.s3),
            (self.table, other.table),
            (self.invocations, other.invocations),
            (self.seconds, other.seconds),
        ):
            for name, count in theirs.items():
                mine[name] += count * times  # type: ignore[assignment]
        self.reads += other.reads * times
        self.writes += other.writes * times
        self.requests += other.requests * times
        self.log_bytes += other.log_bytes * times

    def s3_puts(self) -> float:
        """Requests of the dearer class."""
        return sum(count for name, count in self.s3.items() if name not in FREE | READS)

    def s3_gets(self) -> float:
        """Requests of the cheaper class."""
        return sum(count for name, count in self.s3.items() if name in READS)

    def dollars(self) -> dict[str, float]:
        """The cost, by service."""
        gb_seconds = sum(seconds * MEMORY_GB[name] for name, seconds in self.seconds.items())
        return {
            "S3 requests": self.s3_puts() * PRICES["s3_put"] + self.s3_gets() * PRICES["s3_get"],
            "DynamoDB": self.reads * PRICES["table_read"] + self.writes * PRICES["table_write"],
            "Lambda": sum(self.invocations.values()) * PRICES["lambda_request"]
            + gb_seconds * PRICES["lambda_gb_second"],
            "API Gateway": self.requests * PRICES["api_request"],
            "logs": self.log_bytes / 1e9 * PRICES["logs_gb"],
        }


TEMPLATE = load_template()
MEMORY_GB = {
    name: properties.get("MemorySize", TEMPLATE["Globals"]["Function"]["MemorySize"]) / 1024
    for name, properties in functions_of(TEMPLATE).items()
}


def _least_units(operation: str, arguments: dict[str, Any]) -> float:
    """What AWS bills at least, also for rows that are not there; DynamoDB Local says 0 for those."""
    each = 1.0 if arguments.get("ConsistentRead") else 0.5
    if operation == "BatchGetItem":
        asked = arguments["RequestItems"].values()
        return sum(len(one["Keys"]) * (1.0 if one.get("ConsistentRead") else 0.5) for one in asked)
    if operation == "BatchWriteItem":
        return float(sum(map(len, arguments["RequestItems"].values())))
    if operation == "TransactWriteItems":
        return 2.0 * len(arguments["TransactItems"])
    return each if operation in TABLE_READS else float(operation in TABLE_WRITES)


class Meter:
    """Counts what one invocation calls, by AWS's own client, wherever the call comes from."""

    def __init__(self) -> None:
        self.bill = Bill()
        self.metrics: dict[str, set[str]] = {}  # by function: name and dimensions
        self.started: list[tuple[str, dict[str, Any]]] = []

    @contextlib.contextmanager
    def installed(self) -> Iterator[Meter]:
        """Within, every call is counted."""
        from botocore.client import BaseClient
        from registry import tasks

        original, lock = BaseClient._make_api_call, threading.Lock()  # some calls are made side by side

        def make_call(client: Any, operation: str, arguments: Any) -> Any:
            service = client.meta.service_model.service_name
            if service == "s3":
                with lock:
                    self.bill.s3[operation] += 1
                return original(client, operation, arguments)
            if service != "dynamodb":
                return original(client, operation, arguments)
            least = _least_units(operation, arguments)
            units = least
            try:
                answer = original(client, operation, {"ReturnConsumedCapacity": "TOTAL", **arguments})
                told = answer.get("ConsumedCapacity") or []
                told = told if isinstance(told, list) else [told]
                units = max(least, sum(each.get("CapacityUnits", 0.0) for each in told))
            finally:  # a write whose condition does not hold is billed too
                with lock:
                    self.bill.table[operation] += 1
                    self.bill.reads += units if operation in TABLE_READS else 0
                    self.bill.writes += units if operation in TABLE_WRITES else 0
            return answer

        def start(name: str, event: dict[str, Any]) -> None:
            self.started.append((name, event))

        with (
            mock.patch.object(BaseClient, "_make_api_call", make_call),
            mock.patch.object(tasks, "start_function", start),
        ):
            yield self

    def invoke(self, name: str, work: Callable[[], Any], *, seconds: float, api: bool) -> tuple[Any, Bill]:
        """One invocation: what it answered and what it used."""
        self.bill = Bill(invocations=Counter({name: 1}), seconds=Counter({name: seconds}))  # type: ignore[dict-item]
        from registry.observability import get_logger

        said = io.StringIO()
        handlers = [each for each in get_logger().handlers if isinstance(each, logging.StreamHandler)]
        assert handlers, "nothing would be weighed"
        before = [each.setStream(said) for each in handlers]
        try:
            with contextlib.redirect_stdout(said):
                answer = work()
        finally:
            for handler, stream in zip(handlers, before, strict=True):
                handler.setStream(stream)
        self.bill.requests = 1.0 if api else 0.0
        self._note_metrics(name, said.getvalue())
        self.bill.log_bytes = len(said.getvalue().encode()) + PLATFORM_LOG_BYTES
        if api:
            share = 1 / AUTHORIZED_EACH
            self.bill.invocations["authenticate_request"] += share  # type: ignore[assignment]
            self.bill.seconds["authenticate_request"] += share * ASSUMED["call_seconds"]  # type: ignore[assignment]
        return answer, self.bill

    def _note_metrics(self, name: str, said: str) -> None:
        """What CloudWatch makes metrics of: lines with `_aws` in them."""
        for line in said.splitlines():
            embedded = json.loads(line).get("_aws") if line.startswith("{") else None
            for each in embedded["CloudWatchMetrics"] if embedded else ():
                dimensions = [(key, json.loads(line)[key]) for keys in each["Dimensions"] for key in keys]
                self.metrics.setdefault(name, set()).update(f"{m['Name']} {dimensions}" for m in each["Metrics"])

    def call(self, name: str, status: int = 200, **arguments: Any) -> tuple[Any, Bill]:
        """One request to the API."""

        def work() -> Any:
            got, _, body = call_function(name, principal=USER, **arguments)
            assert got == status, (name, got, body)
            return body

        return self.invoke(name, work, seconds=ASSUMED["call_seconds"], api=True)

    def receive(self, event: dict[str, Any]) -> Bill:
        """One event from the inbox."""
        from functions.receive_upload.app import lambda_handler

        work = lambda: lambda_handler(event, None)  # noqa: E731
        return self.invoke("receive_upload", work, seconds=ASSUMED["event_seconds"], api=False)[1]


USER = "alice"


def put(entry: dict[str, Any], data: bytes) -> int:
    """The client's own PUTs; how many."""
    if "put" in entry:
        requests.put(entry["put"]["url"], data=data, headers=entry["put"]["headers"], timeout=60).raise_for_status()
        return 1
    size = entry["multipart"]["part_size"]
    for part in entry["multipart"]["parts"]:
        piece = data[(part["number"] - 1) * size : part["number"] * size]
        requests.put(part["url"], data=piece, headers=part["headers"], timeout=60).raise_for_status()
    return len(entry["multipart"]["parts"])


def event_of(upload: dict[str, Any], number: int) -> dict[str, Any]:
    """What S3 tells of a file that has arrived."""
    from registry import naming

    key = naming.inbox_key(upload["user_id"], upload["upload_id"], number)
    return {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"object": {"key": key}}}]}
