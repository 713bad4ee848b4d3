"""Lambda's asynchronous invocation: a queue, two retries, then a dead letter."""

from __future__ import annotations

import heapq
import json
import logging
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.invoking import Invoker, Result, function_arn

logger = logging.getLogger("modelkeep.bridge")

_CLOSE_SECONDS = 1.5  # how long close() waits for running handlers; the sweep finishes what they leave


@dataclass(order=True)
class Invocation:
    """A queued event; `finished` is set once it succeeded or became a dead letter."""

    due: float
    number: int
    function_name: str = field(compare=False)
    event: Any = field(compare=False)
    request_id: str = field(compare=False, default_factory=lambda: str(uuid.uuid4()))
    failures: int = field(compare=False, default=0)
    finished: threading.Event = field(compare=False, default_factory=threading.Event)


class Bridge:
    """Invokes functions by name. Queued events live in memory only: after a kill, `sweep_uploads` makes up for them."""

    def __init__(
        self,
        dead_letters: Path,
        invoker: Invoker,
        *,
        concurrency: int = 8,  # functions mostly wait for the stores; a long one must not hold up the short ones
        retry_delays: tuple[float, ...] = (1.0, 2.0),  # seconds; Lambda waits one and two minutes
    ) -> None:
        self._dead_letters = dead_letters
        self._retry_delays = retry_delays
        self._invoker = invoker
        self._queue: list[Invocation] = []
        self._changed = threading.Condition()
        self._number = 0
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"bridge-{number}", daemon=True) for number in range(concurrency)
        ]
        for thread in self._threads:
            thread.start()

    def invoke_async(self, function_name: str, event: Any) -> Invocation:
        """Queue an event, as `InvocationType=Event` does; raises FunctionNotFoundError at once."""
        self._invoker.require(function_name)
        with self._changed:
            self._number += 1
            invocation = Invocation(time.monotonic(), self._number, function_name, event)
            heapq.heappush(self._queue, invocation)
            self._changed.notify()
        return invocation

    def invoke_sync(self, function_name: str, event: Any, *, request_id: str | None = None) -> Result:
        """Call the function and wait, as `InvocationType=RequestResponse` does; a raise becomes `error`."""
        return self._invoker.invoke(function_name, event, request_id=request_id or str(uuid.uuid4()))

    def close(self) -> None:
        """Take no more from the queue; wait a moment for handlers that run."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        deadline = time.monotonic() + _CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (invocation := self._next()) is not None:
            result = self.invoke_sync(invocation.function_name, invocation.event, request_id=invocation.request_id)
            if result.error is None:
                invocation.finished.set()
            else:
                self._failed(invocation, result.error)

    def _next(self) -> Invocation | None:
        """The next event that is due; waits for it; None once the bridge closes."""
        with self._changed:
            while not self._closing:
                wait = self._queue[0].due - time.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._queue)
                self._changed.wait(wait)
        return None

    def _failed(self, invocation: Invocation, error: dict[str, Any]) -> None:
        if self._closing:  # what it needs is being stopped, too: the sweep makes up for it
            return
        if invocation.failures < len(self._retry_delays):
            invocation.due = time.monotonic() + self._retry_delays[invocation.failures]
            invocation.failures += 1
            with self._changed:
                heapq.heappush(self._queue, invocation)
                self._changed.notify()
            return
        letter = self._write_dead_letter(invocation, error)
        logger.error(
            "%s failed %d times; its event is in %s", invocation.function_name, invocation.failures + 1, letter
        )
        invocation.finished.set()

    def _write_dead_letter(self, invocation: Invocation, error: dict[str, Any]) -> Path:
        """One file a letter, in the shape of Lambda's on-failure destination record."""
        now = datetime.now(UTC)
        record = {
            "version": "1.0",
            "timestamp": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z",
            "requestContext": {
                "requestId": invocation.request_id,
                "functionArn": function_arn(invocation.function_name),
                "condition": "RetriesExhausted",
                "approximateInvokeCount": invocation.failures + 1,
            },
            "requestPayload": invocation.event,
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "responsePayload": error,
        }
        self._dead_letters.mkdir(parents=True, exist_ok=True)
        path = self._dead_letters / f"{now:%Y%m%dT%H%M%S}-{invocation.function_name}-{invocation.request_id}.json"
        path.write_text(json.dumps(record, indent=2))
        return path
