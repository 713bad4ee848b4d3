"""What reading costs follows from what is returned, not from what is stored: counted in DynamoDB's own units."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.harness import World, sha256

_BASE = 1_700_000_000
_FEW = 100


def fill(world: World, numbers: range, *, total: int) -> None:
    """Versions with these numbers, newest last, as publication writes them, in bulk. The newest `_FEW` are alike
    whatever `total` is, but every fourth has a word of its own: the older there are, the more words begin alike."""
    from registry import records, search
    from registry.catalog import publishing, reading
    from registry.files import StoredFile
    from registry.records import UploadRow

    rows: list[Any] = []
    for number in numbers:
        place = total - number  # 1: the newest
        upload_id = f"{number:032x}"
        fields = {
            "name": "Alpha model" if place % 2 else "Gamma model",
            "description": f"beta release alps{number}" if place % 4 == 1 else "better release",
            "framework": "pytorch" if place % 2 else "onnx",
            "tags": ["prod", "eu"] if place % 4 == 1 else ["dev", "eu"],
        }
        upload = UploadRow(
            f"A#{upload_id}",
            "#",
            upload_id=upload_id,
            user_id=world.user_id,
            model_id=f"model{place % 10}",
            version=f"v{place}",
            prefix=f"models/{world.user_id}/model{place % 10}/v{place}/",
            fields=fields,
        )
        row = publishing._version_row(upload, [StoredFile("model.bin", 1, sha256(b"x"), "etag")], None)
        row.created = row.updated = records.time_text(_BASE - place)
        terms = search.version_terms(row.model_id, reading.fields_of(row))
        rows += [row, *search.make_postings(row, terms, rev=0, active=True)]
    records.save_all(rows)


ROUTES: dict[str, dict[str, Any]] = {
    "list": {},
    "filtered": {"framework": "pytorch", "tags": "prod,eu"},
    "searched": {"query": "alpha beta"},
    "searched by beginnings": {"query": "alp bet"},
    "searched among what begins alike": {"query": "beta"},
}


def measure(world: World, call: Callable[..., Any]) -> dict[str, tuple[list[str], float, dict[str, int]]]:
    """The page, what it consumed, and by which calls."""
    found = {}
    for name, asked in ROUTES.items():
        function = "search_models" if "query" in asked else "list_models"
        with world.process.watched() as calls:
            status, _, page = call(function, path={"user_id": world.user_id}, query={"limit": "20", **asked})
        assert status == 200
        assert len(page) == 20
        found[name] = [each["model_id"] + each["version"] for each in page], calls.consumed, calls.table_calls()
    return found


def check_same_cost(world: World, call: Callable[..., Any], total: int) -> None:
    began = time.monotonic()
    fill(world, range(total - _FEW, total), total=total)
    few = measure(world, call)
    fill(world, range(total - _FEW), total=total)
    print(f"\n{total} versions filled in {time.monotonic() - began:.1f} s")
    many = measure(world, call)
    for name in ROUTES:
        page, consumed, calls = few[name]
        page_of_many, consumed_of_many, calls_of_many = many[name]
        print(f"{name}: {consumed} units at {_FEW} {calls}, {consumed_of_many} at {total} {calls_of_many}")
        assert page_of_many == page
        assert consumed > 0
        assert consumed_of_many == pytest.approx(consumed, rel=0.1), name
        assert calls_of_many == calls, name
        assert calls["BatchGetItem"] <= 3, name


def test_page_costs_the_same_at_2_000_versions(world: World, call: Callable[..., Any]) -> None:
    check_same_cost(world, call, 2_000)


@pytest.mark.long
def test_page_costs_the_same_at_10_000_versions(world: World, call: Callable[..., Any]) -> None:
    check_same_cost(world, call, 10_000)


def test_calls_of_each_route(world: World, call: Callable[..., Any]) -> None:
    """So that a route that begins to look around is noticed."""
    for number in range(3):
        world.upload_single("model", b"bytes", version=f"v{number}", tags="prod", framework="onnx")
    model = {"user_id": world.user_id, "model_id": "model"}
    user = {"user_id": world.user_id}
    upload = world.start_files("model", {"a": b"x", "b": b"y"}, version=None)
    expected: list[tuple[str, dict[str, Any], dict[str, int]]] = [
        ("get_model", {"path": model, "query": {"version": "v1"}}, {"GetItem": 1}),
        ("get_model", {"path": model}, {"Query": 1, "GetItem": 1}),
        ("list_models", {"path": user, "query": {"limit": "2"}}, {"Query": 1, "BatchGetItem": 1}),
        ("list_models", {"path": user}, {"Query": 1, "BatchGetItem": 1}),
        (
            "list_models",
            {"path": user, "query": {"framework": "onnx", "tags": "prod"}},
            {"Query": 2, "BatchGetItem": 1},
        ),
        ("search_models", {"path": user, "query": {"query": "name"}}, {"Query": 1, "BatchGetItem": 1}),
        ("search_models", {"path": user, "query": {"query": "mod name"}}, {"Query": 2, "BatchGetItem": 1}),
        ("search_models", {"path": user, "query": {"query": "a"}}, {"Query": 1, "BatchGetItem": 1}),
        ("list_versions", {"path": model}, {"Query": 2, "BatchGetItem": 1}),
        ("list_files", {"path": model, "query": {"version": "v1"}}, {"GetItem": 1}),
        ("download_model", {"path": model, "query": {"version": "v1", "filename": "model.onnx"}}, {"GetItem": 1}),
        ("get_upload", {"path": {"upload_id": upload.upload_id}}, {"GetItem": 3, "Query": 1}),
        ("list_uploads", {"query": {"user_id": world.user_id}}, {"Query": 1, "BatchGetItem": 1, "GetItem": 1}),
    ]
    measured = []
    for function, asked, _ in expected:
        with world.process.watched() as calls:
            status, _, _ = call(function, **asked)
        assert status == 200, function
        measured.append((function, asked, calls.table_calls()))
        print(function, asked.get("query"), calls.table_calls(), calls.consumed)
    assert measured == expected
