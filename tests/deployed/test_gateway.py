"""What the gateway answers by itself, in the contract's JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import requests

from tests.deployed.stack import Deployed
from tests.end_to_end.targets import Target, read_target, resolve_localhost


@pytest.fixture(scope="module")
def target(stack: Deployed) -> Target:
    """The deployment, as clients reach it."""
    assert stack.api_id
    resolve_localhost()
    found = read_target(os.environ["MODELKEEP_TEST_TARGET"])
    assert found is not None
    return found


def documented(answer: requests.Response, *statuses: int) -> None:
    """An error as the contract has it."""
    assert answer.status_code in statuses, answer.text
    assert {"detail", "code"} <= json.loads(answer.text).keys()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}])
def test_nobody_gets_in_without_a_token(target: Target, headers: dict[str, str]) -> None:
    documented(requests.get(f"{target.url}/ai-models/alice", headers=headers, timeout=60), 401, 403, 404)


def test_a_token_is_good_for_its_own_user_alone(target: Target) -> None:
    headers = {"Authorization": f"Bearer {target.token('newcomer')}"}
    assert requests.get(f"{target.url}/ai-models/newcomer", headers=headers, timeout=60).json() == []
    documented(requests.get(f"{target.url}/ai-models/bob/m", headers=headers, timeout=60), 404)
    answer = requests.post(
        f"{target.url}/ai-models/upload/direct",
        headers=headers,
        json={"user_id": "bob", "model_id": "m", "files": [{"path": "f", "size": 1}]},
        timeout=60,
    )
    documented(answer, 403, 404)


@pytest.mark.parametrize(("method", "path"), [("GET", "nonsense"), ("PATCH", "ai-models/alice/m"), ("GET", "")])
def test_what_has_no_route_is_a_404(target: Target, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {target.token('alice')}"}
    documented(requests.request(method, f"{target.url}/{path}", headers=headers, timeout=60), 404)


def test_the_bucket_lets_no_stranger_in(stack: Deployed) -> None:
    path = json.loads(Path(os.environ["MODELKEEP_TEST_TARGET"]).read_text())["s3"]["endpoint"]
    assert requests.get(f"{path}/{stack.bucket}?list-type=2", timeout=60).status_code == 403
    assert requests.put(f"{path}/{stack.bucket}/models/alice/x", data=b"x", timeout=60).status_code == 403
