"""A bad network between the functions and their servers: whatever is asked fails the first time, in one way or another,
and botocore tries again."""

from __future__ import annotations

import threading
import types
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

Trouble = Literal["busy", "reset", "lost"]
_XML = "<Error><Code>{}</Code><Message>later</Message></Error>"
_JSON = '{{"__type":"com.amazonaws.dynamodb.v20120810#{}","message":"later"}}'


class _Body:
    def __init__(self, text: str) -> None:
        self._text = text

    def stream(self) -> Iterator[bytes]:
        yield self._text.encode()


class Network:
    """`busy`: S3 says 503 SlowDown, the table that it is throttled, and every other time both say 500; `reset`: the
    connection breaks before the server has read the request; `lost`: after it has done what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import botocore.endpoint
        from botocore.httpsession import URLLib3Session

        self.struck: Counter[str] = Counter()
        self._trouble: Trouble | None = None
        self._seen: set[Any] = set()
        self._lock = threading.Lock()
        send = URLLib3Session.send

        def passing(session: Any, request: Any) -> Any:
            trouble = self._trouble
            if trouble is None or self._knows(request):
                return send(session, request)
            if trouble == "lost":
                send(session, request)
            if trouble in ("lost", "reset"):
                raise ConnectionClosedError(endpoint_url=request.url)
            return _refuse(request, throttled=sum(self.struck.values()) % 2 == 0)

        monkeypatch.setattr(URLLib3Session, "send", passing)
        # It waits before it tries again, which proves nothing.
        monkeypatch.setattr(botocore.endpoint, "time", types.SimpleNamespace(sleep=lambda seconds: None))

    def _knows(self, request: Any) -> bool:
        """Whether this call was tried before."""
        call = request.headers["amz-sdk-invocation-id"]
        with self._lock:
            if call in self._seen:
                return True
            self._seen.add(call)
            self.struck["table" if "X-Amz-Target" in request.headers else "store"] += 1
            return False

    @contextmanager
    def failing_first(self, trouble: Trouble) -> Iterator[None]:
        """The first try of every call comes to grief."""
        self._trouble = trouble
        try:
            yield
        finally:
            self._trouble = None


def _refuse(request: Any, *, throttled: bool) -> AWSResponse:
    if "X-Amz-Target" in request.headers:
        status, code = (400, "ThrottlingException") if throttled else (500, "InternalServerError")
        body, kind = _JSON.format(code), "application/x-amz-json-1.0"
    else:
        status, code = (503, "SlowDown") if throttled else (500, "InternalError")
        body, kind = _XML.format(code), "application/xml"
    return AWSResponse(request.url, status, {"Content-Type": kind, "Content-Length": str(len(body))}, _Body(body))
