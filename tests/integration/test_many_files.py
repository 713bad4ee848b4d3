"""A version with as many files as one may have: answers stay small, and files come by pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.harness import World, sha256

MIB = 1024 * 1024
LAMBDA_ANSWER = 6 * MIB
PAGE = 1_000


def publish(world: World, model_id: str, count: int, name: str = "file") -> list[str]:
    """A version of so many files that nobody stored; their paths."""
    from registry.catalog import publishing
    from registry.files import StoredFile

    upload = world.start_files(model_id, {"first": b"0"})
    paths = [f"weights/{name}-{number:05d}.bin" for number in range(count)]
    stored = [StoredFile(path, 1, sha256(path.encode()), '"0123456789abcdef0123456789abcdef"', 1) for path in paths]
    assert publishing.publish(upload, stored) is not None
    return paths


def counted(world: World, call: Callable[..., Any], function: str, **asked: Any) -> tuple[Any, dict[str, str], float]:
    with world.process.watched() as calls:
        status, headers, answer = call(function, **asked)
    assert status == 200
    return answer, headers, calls.consumed


def next_query(headers: dict[str, str]) -> dict[str, str] | None:
    link = headers.get("link")
    if link is None:
        return None
    return {key: values[-1] for key, values in parse_qs(urlsplit(link[1 : link.index(">")]).query).items()}


@pytest.mark.parametrize("count", [3_000, pytest.param(50_000, marks=pytest.mark.long)])
def test_a_get_is_bounded_and_files_come_by_pages(world: World, call: Callable[..., Any], count: int) -> None:
    few, many = publish(world, "few", PAGE), publish(world, "many", count)
    model = {"user_id": world.user_id, "model_id": "many"}
    _, _, units_of_few = counted(world, call, "get_model", path={**model, "model_id": "few"}, query={"version": "v1"})
    shown, _, units = counted(world, call, "get_model", path=model, query={"version": "v1"})
    assert shown["file_count"] == count
    assert [file["filename"] for file in shown["files"]] == many[:PAGE]
    assert len(few) == PAGE and units == units_of_few <= 80
    listed, _, units = counted(world, call, "list_models", path={"user_id": world.user_id})
    assert [each["file_count"] for each in listed] == [count, PAGE]
    assert all(0 < len(each["files"]) < 100 for each in listed) and units <= 10
    found: list[str] = []
    query: dict[str, str] | None = {"version": "v1", "limit": str(PAGE)}
    costs = []
    while query is not None:
        page, headers, units = counted(world, call, "list_files", path=model, query=query)
        found += [file["filename"] for file in page]
        costs.append(units)
        query = next_query(headers)
    assert found == many
    assert len(costs) == count // PAGE
    assert max(costs) <= 100, "a page costs what it shows, wherever it is"


def test_the_longest_paths_fit_into_an_answer_of_lambda(world: World, call: Callable[..., Any]) -> None:
    publish(world, "long", PAGE + 1, name="ä" * 400)
    asked = {"path": {"user_id": world.user_id, "model_id": "long"}, "query": {"version": "v1"}}
    for function in ("get_model", "list_files"):
        answer, _, _ = counted(world, call, function, **asked)
        assert len(json.dumps(answer, ensure_ascii=False).encode()) < LAMBDA_ANSWER * 3 // 4, function


@pytest.mark.case("U23")
def test_5_000_files_are_published_by_one_transaction_of_three_rows(world: World) -> None:
    """Which rows hold the files was settled before: a transaction takes 100 at most."""
    transactions = []

    def look(operation: str, arguments: dict[str, Any]) -> None:
        if operation == "TransactWriteItems":
            transactions.append(len(arguments["TransactItems"]))

    with world.process.watched(before=look):
        publish(world, "many", 5_000)
    start, publication = transactions
    assert start <= 4
    assert publication == 3
