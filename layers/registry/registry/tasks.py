"""Starts functions: asynchronously, by Lambda's own queue, which tries again when one dies."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from registry.settings import get_settings

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


@cache
def _lambda() -> LambdaClient:
    import boto3

    return boto3.client("lambda")


def start_function(name: str, event: dict[str, Any]) -> None:
    """Has a function called soon, at least once, with this event."""
    settings = get_settings()
    qualifier = {"Qualifier": settings.functions_qualifier} if settings.functions_qualifier else {}
    _lambda().invoke(
        FunctionName=settings.functions_prefix + name,
        InvocationType="Event",
        Payload=json.dumps(event).encode(),
        **qualifier,  # type: ignore[arg-type]
    )


def forget_client() -> None:
    """For tests that change servers."""
    _lambda.cache_clear()
