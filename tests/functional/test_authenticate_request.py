"""authenticate_request: the authorizer, which knows nobody yet."""

from __future__ import annotations

import importlib

import pytest

HANDLER = importlib.import_module("functions.authenticate_request.app").lambda_handler
ARN = "arn:aws:execute-api:us-east-1:123456789012:api/prod/GET/ai-models/alice"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": "TOKEN", "methodArn": ARN, "authorizationToken": "Bearer mk_secret"},
        {"type": "TOKEN", "methodArn": ARN, "authorizationToken": "Bearer"},
        {"type": "TOKEN", "methodArn": ARN, "authorizationToken": "Bearer " + "x" * 9_000},
        {"type": "REQUEST", "methodArn": ARN, "headers": {"authorization": "Bearer x", "x-user-id": "alice"}},
        {"type": "REQUEST", "methodArn": ARN, "headers": None},
    ],
)
def test_everybody_is_refused_by_the_one_text_that_makes_api_gateway_answer_401(event):
    with pytest.raises(Exception) as raised:
        HANDLER(event, None)
    assert str(raised.value) == "Unauthorized"
