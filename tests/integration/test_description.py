"""The API's description is true: schemathesis, with all its checks, over the composed app behind its gateway."""

from __future__ import annotations

import importlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from local.app import create_app
from local.gateway import Gateway
from local.http_server import HttpServer
from local.ports import LOOPBACK, Ports
from local.servers import Stack
from tests.conftest import forget_everything, set_environment
from tests.functional.kit import form_body, make_zip
from tests.issuer import Issuer

PROJECT = Path(__file__).parents[2]
SECONDS = 60
FEW = 3
# All checks are on; a 412 or 413 is a rejection too.
CONFIG = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 422, 428, 429]
"""
# The long run covers every constraint of every operation, the short one leaves out those of which another has the same.
ONLY_FUZZED = """
[[operations]]
include-name = "{}"
phases.coverage.enabled = false
"""
OF_THE_SAME_FIELDS = [
    "POST /ai-models/upload/direct",
    "POST /ai-models/upload/folder",
    "GET /ai-models/search/{user_id}",
]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer(algorithm="EdDSA") as issuer:
        yield issuer


@pytest.fixture
def url(stack: Stack, memory_dynamodb: str, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The registry by HTTP: it wants tokens, and its functions run as soon as they are started."""
    environment = {
        **stack.environment(),
        "AWS_ENDPOINT_URL_DYNAMODB": memory_dynamodb,
        "REGISTRY_TABLE": f"table-{secrets.token_hex(6)}",
        "REGISTRY_INSTALLATION": "tests",
        "REGISTRY_WAIT_SECONDS": "1",
        **issuer.environment(),
    }
    set_environment(monkeypatch, environment)
    from registry import records, tasks

    def run(name: str, event: dict[str, Any]) -> None:
        importlib.import_module(f"functions.{name}.app").lambda_handler(event, None)

    monkeypatch.setattr(tasks, "start_function", run)
    port = Ports.free().api
    server = HttpServer(Gateway(create_app()), host=LOOPBACK, port=port)
    server.start()
    yield f"http://{LOOPBACK}:{port}"
    server.close()
    records.Row.delete_table()
    forget_everything()


def prepare(url: str, user_id: str, token: str) -> list[str]:
    """The user has three models, one of them in two versions, and open uploads; their ids."""

    def post(path: str, *, headers: dict[str, str] | None = None, **request: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}", **(headers or {})}
        answer = requests.post(f"{url}/ai-models/upload/{path}", headers=headers, timeout=SECONDS, **request)
        assert answer.status_code in (200, 201), answer.text
        return answer

    def fields(model_id: str, version: str = "v1") -> list[Any]:
        return [("user_id", user_id), ("model_id", model_id), ("version", version), ("name", "A model")]

    for model_id, version in (("m", "v1"), ("m", "v2"), ("n", "v1")):
        body, headers = form_body([*fields(model_id, version), ("file", "model.pkl", b"bytes")])
        post("single", data=body, headers=headers)
    archive = make_zip({f"{number}.bin": b"x" * number for number in range(9)})
    body, headers = form_body([*fields("many"), ("zip_file", "a.zip", archive)])
    post("folder", data=body, headers=headers)
    files = [{"path": "0", "size": 40 * 2**20}, {"path": "a", "size": 1}]
    wanted: list[dict[str, Any]] = [{"files": files}, {"files": files}, {"archive": {"size": 40 * 2**20}}]
    starts = [{"user_id": user_id, "model_id": f"open-{n}", **each} for n, each in enumerate(wanted)]
    return [post("direct", json=start).json()["upload_id"] for start in starts]


@pytest.mark.case("A16")
@pytest.mark.parametrize("examples", [FEW, pytest.param(50, marks=pytest.mark.long)])
def test_the_description_is_true(url: str, issuer: Issuer, user_id: str, tmp_path: Path, examples: int) -> None:
    users = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {issuer.token(name)}"}]}
        for name in (user_id, "mallory")
    ]
    (tmp_path / "users.json").write_text(json.dumps({"auth": users}))
    config = CONFIG if examples > FEW else CONFIG + "".join(map(ONLY_FUZZED.format, OF_THE_SAME_FIELDS))
    (tmp_path / "schemathesis.toml").write_text(config)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks=all", "--no-color"]
    command += ["--auth-wfc=users.json", f"--max-examples={examples}", "--generation-deterministic", "--warnings=off"]
    command += ["--max-redirects=0", "--request-timeout=60"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "layers/registry")]),
        "SCHEMATHESIS_HOOKS": "tests.integration.openapi_hooks",
        "OPENAPI_USER": user_id,
        "OPENAPI_UPLOADS": ",".join(prepare(url, user_id, issuer.token(user_id))),
    }
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    (tmp_path / "report.txt").write_text(ran.stdout)
    assert ran.returncode == 0, ran.stdout[-60_000:] + ran.stderr[-4_000:]
    assert re.search(r"Selected: (\d+)/\1\n.*Tested: \1\n", ran.stdout), ran.stdout
