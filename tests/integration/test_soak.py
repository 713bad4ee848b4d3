"""A function that lives long needs no more memory than one that has just begun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.servers import Stack

PROJECT = Path(__file__).parents[2]
MAX_GROWTH_BYTES = 5_000_000


@pytest.mark.case("S1")
@pytest.mark.parametrize(("warm", "count"), [(1_000, 2_000), pytest.param(2_000, 20_000, marks=pytest.mark.long)])
def test_requests_leave_memory_flat(stack: Stack, memory_dynamodb: str, user_id: str, warm: int, count: int) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "AWS_"))},
        **stack.environment(),
        "AWS_ENDPOINT_URL_DYNAMODB": memory_dynamodb,
        "REGISTRY_TABLE": f"table-{user_id}",
        "REGISTRY_INSTALLATION": "tests",
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "layers/registry")]),
        "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    }
    command = [sys.executable, "-m", "tests.integration.soaking", user_id, str(warm), str(count)]
    ran = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-4000:]
    said = json.loads(ran.stdout.splitlines()[-1])
    print(f"\n{count} requests: {said}")  # for `pytest -s`
    assert said["grown_bytes"] < MAX_GROWTH_BYTES, said
