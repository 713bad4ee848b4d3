"""Hostile archives on the embedded servers: one of each kind, and bombs, whose refusal is measured by what it reads, by
what it writes and by the memory of a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from registry.records import UploadRow

from tests.integration.harness import MIB, World
from tests.unit import hostile

_PROJECT = Path(__file__).parent.parent.parent
GIB = 1024 * MIB
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells peaks, others do not")


def ended(world: World, upload: Any) -> tuple[str, str]:
    row = UploadRow.find(upload.pk)
    assert row is not None
    return row.status, row.code


@pytest.mark.case(
    *("Z1", "Z2", "Z3", "Z4", "Z5", "Z6", "Z7", "Z8", "Z9", "Z10", "Z12", "Z13", "Z14", "Z15", "Z16", "Z17", "Z18"),
    *("Z19", "Z20", "Z21", "Z22", "Z23"),
)
def test_one_of_each_kind_is_refused_in_one_run_and_leaves_nothing(world: World) -> None:
    for kind in {kind.case: kind for kind in hostile.kinds()}.values():
        upload = world.start(kind.case, archive={"size": len(kind.beyond)})
        world.receive(world.put_archive(upload, kind.beyond))
        assert ended(world, upload) == ("failed", f"archive_{kind.fault}"), kind
        assert world.objects() == [], kind
        assert world.started == [], kind
        assert world.get(kind.case) is None
    assert world.list() == []
    world.end()
    world.check_clean()


# What Lambda does: a process of its own takes the event. It says what it asked of the store, and its peak of memory.
RUN = """
import json, re, sys, time
from functions.receive_upload.app import lambda_handler
from botocore.client import BaseClient
made, read, original = {}, [0], BaseClient._make_api_call

def call(client, operation, given):
    answer = original(client, operation, given)
    made[operation] = made.get(operation, 0) + 1
    if operation == "GetObject":
        read[0] += answer["ContentLength"]
    return answer

BaseClient._make_api_call = call
ready, worked = time.perf_counter(), time.process_time()
lambda_handler(json.load(sys.stdin), None)
took, worked = time.perf_counter() - ready, time.process_time() - worked
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps({"made": made, "read": read[0], "peak": peak, "seconds": took, "processor_seconds": worked}))
"""


def run_alone(event: dict[str, Any]) -> dict[str, Any]:
    """Has `receive_upload` take the event in a process of its own, on the same servers."""
    paths = os.pathsep.join([str(_PROJECT), str(_PROJECT / "layers" / "registry")])
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(event),
        env={**os.environ, "PYTHONPATH": paths},
        cwd=_PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@needs_proc
@pytest.mark.case("Z9", "Z10", "Z14", "S4")
@pytest.mark.parametrize("kind", ["flat", "in members", "on one stream", "declares little"])
def test_a_bomb_of_64_gib_is_refused_at_next_to_no_cost(world: World, kind: str) -> None:
    code = "archive_bomb"
    if kind == "flat":
        data = hostile.bomb(64 * GIB)
    elif kind == "in members":
        data = hostile.bomb(64 * GIB, members=1_024)
    elif kind == "on one stream":
        data = hostile.overlapping(1_024, hostile.bomb_member(64 * MIB))
    else:
        data, code = hostile.bomb(64 * GIB, declared=MIB), "archive_size_mismatch"
    upload = world.start("bomb", archive={"size": len(data)})
    said = run_alone(world.put_archive(upload, data))
    print(f"\n{kind}: {len(data) / MIB:.1f} MiB, {said}")
    assert ended(world, upload) == ("failed", code)
    assert world.objects() == []
    assert world.multiparts() == []
    assert world.get("bomb") is None
    assert said["peak"] < 256
    # Nothing is inflated where the directory tells; where only inflating does, it ends after the MiB that is declared.
    if kind != "declares little":
        assert said["read"] <= 1.1 * MIB
        assert said["made"].get("CreateMultipartUpload", 0) == said["made"].get("PutObject", 0) == 0
