"""Every store that the registry is tested on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(params=["moto", "embedded"])
def store(request: pytest.FixtureRequest, user_id: str) -> Iterator[str]:
    """Its name. `moto`: AWS as moto plays it; `embedded`: SeaweedFS and DynamoDB Local, as `make run` has them."""
    request.getfixturevalue({"moto": "on_moto", "embedded": "on_servers"}[request.param])
    del user_id
    yield request.param


@pytest.fixture
def prefix(user_id: str) -> str:
    """A place of one's own in the bucket."""
    return f"models/{user_id}/"
