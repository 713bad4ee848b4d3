"""Many requests to one process, as Lambda makes them: `python -m tests.integration.soaking USER WARM COUNT` over the
servers that its environment names. Prints by how much its memory grew in the latter, and how fast it was."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil

from tests.conftest import call_function
from tests.functional.kit import form_body

USER = sys.argv[1]  # nobody else
MODEL = {"user_id": USER, "model_id": "m"}
Request = tuple[int, str, dict[str, Any]]


def call(status: int, function: str, **arguments: Any) -> Any:
    """What a request answered; it has to have this status."""
    answered, _, body = call_function(function, **arguments)
    assert answered == status, (function, answered, body)
    return body


def form() -> dict[str, Any]:
    """A request for an upload by form."""
    fields = [("user_id", USER), ("model_id", "m"), ("name", "A model"), ("tags", "a,b")]
    body, headers = form_body([*fields, ("file", "model.pkl", b"bytes" * 1000)])
    return {"body": body, "headers": headers}


def kinds(upload_id: str) -> list[Callable[[int], Request]]:
    """Every kind of request, answered well and refused; none makes more rows than there were."""
    upload, sent = {"upload_id": upload_id}, form()
    return [
        lambda n: (200, "get_model", {"path": MODEL}),
        lambda n: (404, "get_model", {"path": {**MODEL, "model_id": f"x{n}"}}),
        lambda n: (400, "get_model", {"path": {**MODEL, "user_id": f"a b{n}"}}),
        lambda n: (200, "list_models", {"path": {"user_id": USER}, "query": {"limit": "5"}}),
        lambda n: (200, "search_models", {"path": {"user_id": USER}, "query": {"query": f"model w{n}"}}),
        lambda n: (200, "list_versions", {"path": MODEL}),
        lambda n: (200, "list_files", {"path": MODEL, "query": {"urls": "true"}}),
        lambda n: (200, "download_model", {"path": MODEL, "query": {"filename": "model.pkl"}}),
        lambda n: (307, "download_model", {"path": MODEL, "query": {"filename": "model.pkl", "redirect": "true"}}),
        lambda n: (200, "download_model", {"path": MODEL}),
        lambda n: (200, "update_model", {"path": MODEL, "json_body": {"description": f"number {n}"}}),
        lambda n: (400, "update_model", {"path": MODEL, "json_body": {f"unknown{n}": n}}),
        lambda n: (400, "update_model", {"path": MODEL, "body": b'{"name": NaN' + b" " * (n % 5000)}),
        lambda n: (409, "upload_single", sent),
        lambda n: (200, "get_upload", {"path": upload, "query": {"urls": "true"}}),
        lambda n: (200, "list_uploads", {"query": {"user_id": USER}}),
        lambda n: (400, "complete_upload", {"path": upload}),
    ]


def main(warm: int, count: int) -> None:
    """Soak, and say how it went."""
    from registry import records

    records.create_table()
    call(200, "upload_single", **form())
    files = [{"path": f"f{number}", "size": 10} for number in range(20)]
    begun = {"user_id": USER, "model_id": "open", "version": "v1", "files": files}
    wanted = kinds(call(201, "start_upload", json_body=begun)["upload_id"])

    def soak(requests: int) -> list[float]:
        seconds = []
        for number in range(requests):
            status, function, arguments = wanted[number % len(wanted)](number)
            began = time.perf_counter()
            call(status, function, **arguments)
            seconds.append(time.perf_counter() - began)
        gc.collect()
        return seconds

    process = psutil.Process()
    soak(warm)
    before = process.memory_info().rss
    began = time.perf_counter()
    seconds = sorted(soak(count))
    elapsed = time.perf_counter() - began
    grown = process.memory_info().rss - before
    said = {"grown_bytes": grown, "a_second": round(count / elapsed), "p50_ms": 1000 * seconds[count // 2]}
    print(json.dumps({**said, "p99_ms": 1000 * seconds[count * 99 // 100]}))


if __name__ == "__main__":
    main(*map(int, sys.argv[2:]))
