"""What the API says of itself, and how it answers where no route is. Whether it is true: tests/integration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from registry.web import apps

from local.app import find_routers, sort_routers
from tests.asgi import call

PROJECT = Path(__file__).parents[2]
NAMES_A_PLACE = re.compile("ur[il]$|href|link|host|endpoint|callback|webhook|remote")
FETCHES = re.compile(r"^\s*(?:import|from) (?:urllib\.request|http\.client|urllib3|httpx|requests\b)", re.MULTILINE)


def described(*, authenticated: bool = False) -> dict[str, Any]:
    return apps.create_app(sort_routers(find_routers()), docs=True, authenticated=authenticated).openapi()


def names_in(schema: Any) -> Iterator[str]:
    """Of every property, at any depth, and every format."""
    if isinstance(schema, list):
        for each in schema:
            yield from names_in(each)
    elif isinstance(schema, dict):
        yield from schema.get("properties", {}) if isinstance(schema.get("properties"), dict) else ()
        yield str(schema.get("format", ""))
        for each in schema.values():
            yield from names_in(each)


@pytest.mark.case("A15")
def test_no_route_fetches_what_a_client_names() -> None:
    """Nothing that a request may say is a URL, and only the issuer's keys are fetched, from where the settings say."""
    said: list[str] = []
    for path in described()["paths"].values():
        for operation in path.values():
            said += [parameter["name"] for parameter in operation.get("parameters", [])]
            said += names_in(operation.get("requestBody", {}))
    assert "user_id" in said and "sha256" in said
    assert [name for name in said if NAMES_A_PLACE.search(name)] == []
    sources = [*(PROJECT / "layers/registry/registry").rglob("*.py"), *(PROJECT / "functions").rglob("*.py")]
    assert [path.name for path in sources if FETCHES.search(path.read_text())] == ["signing_keys.py"]


def test_a_token_is_described_where_one_is_needed_alone() -> None:
    assert "security" not in described() and "securitySchemes" not in described()["components"]
    secure = described(authenticated=True)
    assert secure["security"] == [{"bearer": []}]
    assert secure["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "/ai-models/alice/m", "DELETE, GET, PUT"),
        ("PUT", "/ai-models/upload/direct", "POST"),  # not an update of model `direct` of user `upload`
        ("GET", "/ai-models/upload/single", "POST"),  # not an upload called `single`
        ("OPTIONS", "/ai-models/upload/0", "DELETE, GET"),
        ("HEAD", "/ai-models/alice", "GET"),
        ("TRACE", "/ai-models/search/alice", "GET"),
    ],
)
def test_another_method_is_a_405_that_names_those_of_the_closest_path(
    on_moto: None, method: str, path: str, allow: str
) -> None:
    app = apps.create_app(sort_routers(find_routers()))
    answer = call(app, method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow
    assert answer.headers["x-request-id"]
    if method != "HEAD":
        assert answer.json() == {"detail": "Method Not Allowed", "code": "method_not_allowed"}
