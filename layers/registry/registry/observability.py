"""Logs, metrics and traces; never a token, never a presigned URL.

A log is one JSON line an event, with ids and counts. Metrics are one line an invocation in CloudWatch's embedded format
where `POWERTOOLS_METRICS_NAMESPACE` is set, and nothing where it is not. Traces are X-Ray's, where Lambda samples the
invocation and `POWERTOOLS_TRACE_DISABLED` does not say no: only then is its SDK imported.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from aws_lambda_powertools import Logger

if TYPE_CHECKING:
    from aws_lambda_powertools import Tracer

Moved = Literal["BytesReceived", "BytesSent", "BytesPromoted", "BytesUnpacked"]

_moved: Counter[str] = Counter()  # since the last line of metrics
_lock = threading.Lock()  # workers move many files at once


def service() -> str:
    """What tells one installation's logs and metrics from another's; the template says its stack's name."""
    return os.environ.get("POWERTOOLS_SERVICE_NAME") or "modelkeep"


@cache
def get_logger() -> Logger:
    """The process's logger."""
    return Logger(service=service(), use_rfc3339=True)


def count_bytes(name: Moved, count: int) -> None:
    """Notes bytes that were moved; they go out with the invocation's metrics."""
    if count and _metrics_wanted():
        with _lock:
            _moved[name] += count


def write_metrics(function: str, *, seconds: float, code: str | None = None, failed: bool = False) -> None:
    """The metrics of one invocation; `code` is that of a refusal. `function` is in the line for queries of logs and no
    dimension: every combination of dimensions is paid for, and Lambda's own metrics of each function are not. Whatever
    goes wrong here is logged and fails nothing."""
    if not _metrics_wanted():
        return
    with _lock:
        moved = dict(_moved)
        _moved.clear()
    values = {"Requests": 1.0, "Latency": seconds * 1000, "Failures": float(failed), **moved}
    _write(values, function)
    if code is not None and not failed:
        _write({"Refusals": 1.0}, function, code=code)


def write_work_age(seconds: float) -> None:
    """How long the oldest work row has been overdue: what grows while the sweep does not keep up."""
    if _metrics_wanted():
        _write({"OldestWorkAge": max(0.0, seconds)}, "sweep_uploads")


def write_damaged_files(count: int, function: str) -> None:
    """How many files were found that are not as recorded; nothing is written where all are."""
    if count and _metrics_wanted():
        _write({"DamagedFiles": float(count)}, function)


def _metrics_wanted() -> bool:
    return bool(os.environ.get("POWERTOOLS_METRICS_NAMESPACE"))


def _unit(name: str) -> str:
    if name.startswith("Bytes"):
        return "Bytes"
    return {"Latency": "Milliseconds", "OldestWorkAge": "Seconds"}.get(name, "Count")


def _write(values: dict[str, float], function: str, **dimensions: str) -> None:
    try:
        from aws_lambda_powertools.metrics import EphemeralMetrics

        metrics = EphemeralMetrics(service=service())
        metrics.add_metadata("function", function)
        for name, value in dimensions.items():
            metrics.add_dimension(name, value)
        for name, number in values.items():
            metrics.add_metric(name, _unit(name), number)
        metrics.flush_metrics()
    except Exception:  # noqa: BLE001  # a request that did its work has done it, whatever becomes of its numbers
        get_logger().exception("metrics not written")


@contextmanager
def worker(function: str, context: Any) -> Iterator[None]:
    """One invocation of a function that answers nobody: its id in every log line, its metrics, its trace."""
    log = get_logger()
    # For this thread alone: `make run` has many workers in one process.
    log.thread_safe_append_keys(request_id=getattr(context, "aws_request_id", None), function=function)
    began, failed = time.perf_counter(), True
    try:
        with trace(function):
            yield
        failed = False
    finally:
        write_metrics(function, seconds=time.perf_counter() - began, failed=failed)
        log.thread_safe_remove_keys(["request_id", "function"])


def trace(name: str) -> AbstractContextManager[Any]:
    """A subsegment of the invocation's trace, with AWS's calls below it; nothing where it is not sampled."""
    if "Sampled=1" not in os.environ.get("_X_AMZN_TRACE_ID", ""):
        return nullcontext()
    if os.environ.get("POWERTOOLS_TRACE_DISABLED", "").lower() in ("1", "true", "yes", "on"):
        return nullcontext()
    try:
        subsegment: AbstractContextManager[Any] = _tracer().provider.in_subsegment(f"## {name}")
    except Exception:  # noqa: BLE001  # as with metrics
        get_logger().exception("not traced")
        return nullcontext()
    return subsegment


@cache
def _tracer() -> Tracer:
    from aws_lambda_powertools import Tracer  # and with it X-Ray's SDK: docs/cold-start.md says what that costs

    tracer = Tracer(service=service(), auto_patch=False)
    # Where a thread has no trace of its own: not an error, and not worth a log line each.
    tracer.provider.configure(context_missing="IGNORE_ERROR")  # type: ignore[attr-defined]  # it is the SDK's recorder
    tracer.patch(["botocore"])
    return tracer
