"""After all that the other tests did: what the functions logged, as CloudWatch has it."""

from __future__ import annotations

import pytest

from tests.deployed.account import MiniStack
from tests.deployed.stack import STACK, Deployed
from tests.leaks import find_secrets


@pytest.fixture(scope="module")
def messages(ministack: MiniStack, stack: Deployed) -> list[str]:
    """Every line of every log group of the stack."""
    assert stack.api_id
    logs = ministack.client("logs")
    groups = [
        group["logGroupName"]
        for page in logs.get_paginator("describe_log_groups").paginate()
        for group in page["logGroups"]
        if STACK in group["logGroupName"]
    ]
    pages = logs.get_paginator("filter_log_events")
    return [
        event["message"] for name in groups for page in pages.paginate(logGroupName=name) for event in page["events"]
    ]


def test_functions_log_to_their_groups(messages: list[str]) -> None:
    assert any('"service"' in each for each in messages)


def test_no_log_has_a_token_or_a_presigned_url(messages: list[str]) -> None:
    assert [each[:300] for each in messages if find_secrets(each)] == []


def test_no_policy_was_too_narrow_for_what_the_tests_did(messages: list[str]) -> None:
    assert [each[:600] for each in messages if "AccessDenied" in each] == []
