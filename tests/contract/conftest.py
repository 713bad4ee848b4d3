"""Every store that the registry is tested on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from registry.settings import get_settings
from registry.storage import objects

FIXTURES = {"moto": "on_moto", "seaweedfs": "on_servers", "minio": "on_minio"}


@pytest.fixture(params=FIXTURES)
def store(request: pytest.FixtureRequest, user_id: str) -> Iterator[str]:
    """Its name. `moto`: AWS as moto plays it; the others are the real ones, as `make run` has them."""
    request.getfixturevalue(FIXTURES[request.param])
    del user_id
    yield request.param


@pytest.fixture(params=["seaweedfs", "minio"])
def real_store(request: pytest.FixtureRequest) -> Iterator[str]:
    """Those that check signatures: moto has no server here that does."""
    request.getfixturevalue(FIXTURES[request.param])
    yield request.param


@pytest.fixture
def prefix(user_id: str) -> str:
    """A place of one's own in the bucket."""
    return f"models/{user_id}/"


@pytest.fixture
def inbox(real_store: str, user_id: str) -> Iterator[str]:
    """The same where clients write: presigned PUTs lead nowhere else."""
    del real_store
    prefix = f"{get_settings().inbox_prefix}{user_id}/"
    yield prefix
    objects.delete_prefix(prefix)  # whoever claims the inbox later must find it empty
