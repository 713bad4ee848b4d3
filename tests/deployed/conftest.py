"""The deployment that `make test-deployed` made; without one these tests are left out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.deployed.account import MiniStack
from tests.deployed.stack import Deployed, deployed


@pytest.fixture(scope="session")
def ministack() -> MiniStack:
    """The account, running already."""
    path = os.environ.get("MODELKEEP_TEST_TARGET")
    said = json.loads(Path(path).read_text()) if path else {}
    if "deployment" not in said:
        pytest.skip("there is no deployment: make test-deployed")
    account = MiniStack(Path(said["deployment"]["folder"]))
    account.port = said["deployment"]["port"]
    return account


@pytest.fixture(scope="session")
def stack(ministack: MiniStack) -> Deployed:
    """What was deployed into it."""
    return deployed(ministack)
