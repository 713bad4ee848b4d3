"""Every endpoint in one app: the routers of `functions/*/app.py`, composed."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from fastapi import APIRouter, FastAPI

_FUNCTIONS = Path(__file__).parent.parent / "functions"


def create_app() -> FastAPI:
    """Create the table if it is missing, then the app."""
    from registry import records
    from registry.settings import get_settings
    from registry.web import apps

    records.create_table()
    authenticated = get_settings().authentication != "off"
    app: FastAPI = apps.create_app(sort_routers(find_routers()), docs=True, authenticated=authenticated)
    return app


def find_routers(functions: Path = _FUNCTIONS) -> list[APIRouter]:
    """The routers of all functions that answer HTTP; others have none."""
    routers = []
    for path in sorted(functions.glob("*/app.py")):
        module: ModuleType = importlib.import_module(f"functions.{path.parent.name}.app")
        router = getattr(module, "router", None)
        if isinstance(router, APIRouter):
            routers.append(router)
    return routers


def sort_routers(routers: list[APIRouter]) -> list[APIRouter]:
    """Fixed segments before parameters, from the left: the first match wins, as in API Gateway the closest does."""
    return sorted(routers, key=lambda router: min(_closeness(getattr(route, "path", "")) for route in router.routes))


def _closeness(path: str) -> tuple[tuple[bool, bool], ...]:
    return tuple((segment.startswith("{"), ":path}" in segment) for segment in path.strip("/").split("/"))
