"""Traces: X-Ray's SDK is imported where Lambda samples the invocation, and nowhere else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHILD = """
import sys
from registry.observability import trace
before = "aws_xray_sdk" in sys.modules
with trace("get_model"):
    pass
assert not before
print("aws_xray_sdk" in sys.modules)
"""
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled="
ON_LAMBDA = {"LAMBDA_TASK_ROOT": "/var/task", "AWS_LAMBDA_FUNCTION_NAME": "f", "_X_AMZN_TRACE_ID": TRACE + "1"}


def run(address: str, **environment: str) -> bool:
    """Traces something in a fresh interpreter; whether the SDK was imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "POWERTOOLS_", "_X"))}
    path = f"{ROOT}:{ROOT / 'layers/registry'}"
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**kept, "PYTHONPATH": path, "AWS_XRAY_DAEMON_ADDRESS": address, **environment},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return done.stdout.strip() == "True"


@pytest.fixture
def daemon():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(60)
        yield listener


def test_a_sampled_invocation_is_a_subsegment(daemon):
    assert run(f"127.0.0.1:{daemon.getsockname()[1]}", **ON_LAMBDA)
    header, _, body = daemon.recv(65_536).partition(b"\n")
    assert json.loads(header)["format"] == "json"
    segment = json.loads(body)
    assert (segment["name"], segment["type"]) == ("## get_model", "subsegment")
    assert (segment["trace_id"], segment["parent_id"]) == ("1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8")


@pytest.mark.parametrize(
    "off",
    [
        {"_X_AMZN_TRACE_ID": TRACE + "0"},
        {"_X_AMZN_TRACE_ID": ""},
        {"POWERTOOLS_TRACE_DISABLED": "true"},
        {"POWERTOOLS_TRACE_DISABLED": "1"},
    ],
)
def test_otherwise_nothing_is_imported_and_nothing_sent(daemon, off):
    assert not run(f"127.0.0.1:{daemon.getsockname()[1]}", **{**ON_LAMBDA, **off})
    daemon.setblocking(False)
    with pytest.raises(BlockingIOError):
        daemon.recv(65_536)
