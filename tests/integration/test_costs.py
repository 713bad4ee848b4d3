"""The document that says what each request asks of DynamoDB and S3 (docs/costs.md) tells the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import routes
from benchmarks.metering import Meter
from tests.integration.harness import World

_PROJECT = Path(__file__).parent.parent.parent


@pytest.fixture
def counted(world: World, monkeypatch: pytest.MonkeyPatch) -> list[routes.Counted]:
    """Every request, with Lambda's limits."""
    import os

    from registry.settings import get_settings

    for name in os.environ.keys() - routes.limits_of_lambda(dict(os.environ)).keys():
        if name.startswith("REGISTRY_"):
            monkeypatch.delenv(name)
    get_settings.cache_clear()
    routes.prepare()
    with Meter().installed() as meter:
        return list(routes.count(meter, routes.new_user()))


def test_what_each_request_asks_of_dynamodb_and_s3_is_documented(counted: list[routes.Counted]) -> None:
    folders = {path.parent.name for path in (_PROJECT / "functions").glob("*/app.py")}
    assert {each.function for each in counted} == folders, "a function of which docs/costs.md says nothing"
    documented = routes.documented(_PROJECT / "docs/costs.md")
    assert documented.splitlines() == routes.table(counted).splitlines(), (
        "if that is meant: PYTHONPATH=.:layers/registry python -m benchmarks.routes --write docs/costs.md"
    )
    without = {each.function for each in counted if not each.bill.table}
    assert without == {"answer_options", "authenticate_request"}, "a request that was refused?"
