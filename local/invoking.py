"""Calling functions by name, and what came of it: in this process, as `make run` does."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

logger = logging.getLogger("modelkeep.invoking")


class FunctionNotFoundError(Exception):
    """There is no such function."""


@dataclass(frozen=True)
class LambdaContext:
    """What a handler is told about its invocation, as far as ours and Powertools look."""

    function_name: str
    aws_request_id: str
    timeout_seconds: float
    started: float = field(default_factory=time.monotonic)
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 1024

    @property
    def invoked_function_arn(self) -> str:
        """The name in AWS's long form."""
        return function_arn(self.function_name)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda would end the function; here nothing ends it, it is expected to look."""
        return max(0, round((self.timeout_seconds - (time.monotonic() - self.started)) * 1000))


@dataclass(frozen=True)
class Result:
    """How a synchronous invocation ended: `error` is None, or Lambda's errorMessage, errorType and stackTrace."""

    payload: Any = None
    error: dict[str, Any] | None = None


def function_arn(name: str) -> str:
    """The ARN of a function that runs here."""
    return f"arn:aws:lambda:us-east-1:000000000000:function:{name}"


class Invoker(Protocol):
    """One way to call functions."""

    def require(self, function_name: str) -> None:
        """Raise FunctionNotFoundError unless there is such a function."""

    def invoke(self, function_name: str, event: Any, *, request_id: str) -> Result:
        """Call it and wait; a raise becomes `error`. FunctionNotFoundError."""


class InProcess:
    """Calls {package}/{function_name}/app.py in the calling thread."""

    def __init__(self, *, package: str = "functions", timeout_seconds: float = 900.0) -> None:
        self._package = package
        self._timeout_seconds = timeout_seconds

    def require(self, function_name: str) -> None:
        """Raise FunctionNotFoundError unless {package}/{function_name}/app.py is there."""
        try:
            found = importlib.util.find_spec(f"{self._package}.{function_name}.app") is not None
        except ModuleNotFoundError:
            found = False
        if not function_name.isidentifier() or not found:
            raise FunctionNotFoundError(f"there is no function {function_name!r}")

    def invoke(self, function_name: str, event: Any, *, request_id: str) -> Result:
        """Call the handler in this thread; a raise becomes `error`."""
        self.require(function_name)
        context = LambdaContext(function_name, request_id, self._timeout_seconds)
        try:
            # Through JSON both ways, as on Lambda: what would not survive there must not work here.
            handler = importlib.import_module(f"{self._package}.{function_name}.app").lambda_handler
            return Result(payload=json.loads(json.dumps(handler(json.loads(json.dumps(event)), context))))
        except Exception as exc:  # the handler's own error is what is reported
            logger.exception("%s raised (request %s)", function_name, context.aws_request_id)
            return Result(error={"errorMessage": str(exc), "errorType": type(exc).__name__, "stackTrace": []})
