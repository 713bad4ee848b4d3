"""answer_options: what pages of other origins may do; and what the other functions' answers say to them."""

from __future__ import annotations

import asyncio
import importlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.functional.kit import ok, refused

ORIGIN, OTHER = "https://models.example.com", "https://evil.example"
EVENT = json.loads((Path(__file__).parent.parent / "events" / "answer_options.json").read_text())


def answer(origin: str | None = ORIGIN, **headers: str):
    sent = {**EVENT["headers"], **headers}
    sent.pop("Origin")
    if origin is not None:
        sent["origin"] = origin
    return importlib.import_module("functions.answer_options.app").lambda_handler({**EVENT, "headers": sent}, None)


def test_a_named_origin_is_told_what_it_may_do(setting):
    setting(cors_origins=f"https://a.example, {ORIGIN}")
    answered = answer()
    headers = answered["headers"]
    assert (answered["statusCode"], answered["body"]) == (204, "")
    assert headers["Access-Control-Allow-Origin"] == ORIGIN
    assert headers["Access-Control-Allow-Methods"].split(", ") == ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
    allowed = headers["Access-Control-Allow-Headers"].split(", ")
    assert {"Authorization", "Content-Type", "If-Match", "Idempotency-Key", "Range"} <= set(allowed)
    assert int(headers["Access-Control-Max-Age"]) > 0
    assert headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.parametrize("origin", [OTHER, None, "null", "*", f"{ORIGIN}.evil.example", f"{ORIGIN}:8443", ""])
@pytest.mark.parametrize("named", [ORIGIN, ""])
@pytest.mark.case("T10")
def test_others_are_told_the_methods_alone(setting, named, origin):
    setting(cors_origins=named)
    answered = answer(origin)
    assert answered["statusCode"] == 204
    assert answered["headers"]["Allow"] == "GET, POST, PUT, DELETE, OPTIONS"
    assert answered["headers"]["Vary"] == "Origin"
    assert not [name for name in answered["headers"] if name.startswith("Access-Control-")]


def test_an_event_without_headers_is_answered(setting):
    for headers in (None, {}):
        event = {**EVENT, "headers": headers}
        assert importlib.import_module("functions.answer_options.app").lambda_handler(event, None)["statusCode"] == 204


@pytest.fixture
def fresh(setting, monkeypatch):
    """Handlers that read these settings at their first request, as in a new process."""
    from registry.web.apps import create_handler

    def change(**values: str) -> None:
        setting(**values)
        for name in ("get_model", "upload_single"):
            app = importlib.import_module(f"functions.{name}.app")
            monkeypatch.setattr(app, "lambda_handler", create_handler(app.router))

    return change


def get(api, origin: str | None):
    path = {"user_id": "alice", "model_id": "m"}
    return api.call("get_model", path=path, headers={"origin": origin} if origin else None)


def test_answers_can_be_read_by_named_origins_and_no_others(api, fresh):
    ok(api.single())
    fresh(cors_origins=ORIGIN)
    answered = get(api, ORIGIN)
    ok(answered)
    assert answered.headers["access-control-allow-origin"] == ORIGIN
    assert "Origin" in answered.headers["vary"]
    assert "access-control-allow-credentials" not in answered.headers
    exposed = answered.headers["access-control-expose-headers"].split(", ")
    assert {"ETag", "Link", "Location", "Content-Disposition", "X-Request-Id", "Retry-After", "Content-Range"} == set(
        exposed
    )
    for origin in (OTHER, None):
        answered = get(api, origin)
        ok(answered)
        assert "access-control-allow-origin" not in answered.headers
        assert "Origin" in answered.headers["vary"]


def test_refusals_and_failures_can_be_read_too(api, fresh, monkeypatch):
    fresh(cors_origins=ORIGIN)
    answered = get(api, ORIGIN)
    refused(answered, 404)
    assert answered.headers["access-control-allow-origin"] == ORIGIN
    from registry import versions

    monkeypatch.setattr(versions, "get_model", lambda **_: 1 / 0)
    answered = get(api, ORIGIN)
    refused(answered, 500, "internal")
    assert answered.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.case("T10")
def test_without_named_origins_nothing_is_said(api, fresh):
    fresh()
    answered = get(api, ORIGIN)
    assert not [name for name in answered.headers if name.startswith("access-control-") or name == "vary"]


def test_where_one_app_answers_all_it_answers_preflights_too(setting):
    from registry.web.apps import create_app

    setting(cors_origins=ORIGIN)
    app = create_app([importlib.import_module("functions.delete_model.app").router])

    async def preflight(origin: str) -> httpx.Response:
        asked = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.options("/ai-models/alice/bert", headers={"Origin": origin, **asked})

    with ThreadPoolExecutor(1) as pool:  # a thread of its own, so that this one keeps its event loop for Mangum
        answered, other = pool.map(lambda origin: asyncio.run(preflight(origin)), (ORIGIN, OTHER))
    assert answered.status_code == 200
    for name in ("Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Max-Age"):
        assert answered.headers[name] == answer()["headers"][name]
    assert "Access-Control-Allow-Origin" not in other.headers
