"""Logs: one JSON line an event, with ids and counts; never a token, never a presigned URL."""

from __future__ import annotations

from functools import cache

from aws_lambda_powertools import Logger


@cache
def get_logger() -> Logger:
    """The process's logger."""
    return Logger(service="modelkeep", use_rfc3339=True)
