"""The whole registry on this machine: servers, functions, events, schedule and API, started and stopped together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from local.bridge import Bridge
from local.events import EventSource
from local.gateway import Gateway
from local.http_server import HttpServer
from local.invoke_api import create_invoke_api
from local.invoking import InProcess
from local.minio import MinIO, event_of
from local.ports import LOOPBACK, Ports
from local.seaweedfs import SeaweedFS
from local.servers import REGION, Stack, apply_environment

_SWEEP_SECONDS = 20
# A web page whose name is made to point to 127.0.0.1 comes with its own name in Host: it gets a 400.
_ALLOWED_HOSTS = ["localhost", "127.0.0.1", "host.docker.internal"]

START_EVENT = {"source": "modelkeep.start", "detail": {"all": True}}
SCHEDULED_EVENT: dict[str, Any] = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}


class KnownHosts:
    """Refuses requests that name another host."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 400."""
        hosts = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"host"]
        if scope["type"] == "http" and not any(host.rsplit(":", 1)[0] in _ALLOWED_HOSTS for host in hosts):
            detail = f"This host is unknown here: use one of {', '.join(_ALLOWED_HOSTS)}"
            await JSONResponse({"detail": detail, "code": "unknown_host"}, 400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class Schedule:
    """Invokes `sweep_uploads` at once with the start event, then every 20 s; never two at a time."""

    def __init__(self, bridge: Bridge, *, seconds: float = _SWEEP_SECONDS) -> None:
        self._bridge = bridge
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedule", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End; a sweep that runs is the bridge's."""
        self._stopping.set()
        self._thread.join(1)

    def _run(self) -> None:
        last = self._bridge.invoke_async("sweep_uploads", START_EVENT)
        while not self._stopping.wait(self._seconds):
            if last.finished.is_set():
                last = self._bridge.invoke_async("sweep_uploads", SCHEDULED_EVENT)


class Service:
    """Everything that `make run` starts. Sets this process's environment: one at a time in a process.

    `with Service(folder, ports=Ports.free()) as service:` serves the API on `service.url`.
    """

    def __init__(
        self,
        data: Path,
        *,
        ports: Ports | None = None,
        host: str = LOOPBACK,
        store: str = SeaweedFS.name,
        create_app: Callable[[], Any] | None = None,
        authentication: Mapping[str, str] | None = None,
    ) -> None:
        self.stack = Stack(data, ports, store=store)
        self.url = f"http://localhost:{self.stack.ports.api}"
        self._host = host
        self.authentication = dict(authentication or {})  # the issuer's variables; empty: authentication is off
        self._create_app = create_app
        self._cleanup = ExitStack()
        self.bridge: Bridge | None = None
        self.findings: list[str] = []  # what the store can do and what it lacks

    def start(self) -> None:
        """Start everything; on any failure, whatever had started is stopped."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        stack = self.stack
        self._cleanup.callback(stack.stop)
        stack.launch()
        apply_environment({**stack.environment(), **self.authentication})
        if self._create_app is None:  # imported while the servers start: both take about a second
            from local.app import create_app, find_routers

            find_routers()
            self._create_app = create_app
        stack.wait()
        self.bridge = bridge = Bridge(stack.data.path / "dead-letters", InProcess())
        self._cleanup.callback(bridge.close)
        ours = stack.data.credentials()
        api = create_invoke_api(
            bridge,
            access_key=ours.access_key,
            events_token=ours.secret_key,
            receive=lambda body: self._receive(event_of(body, region=REGION)),
        )
        self._serve(api, stack.ports.lambda_api, LOOPBACK)
        app = self._create_app()
        app = KnownHosts(Gateway(app) if self.authentication else app)
        self.findings = _probe()
        if not isinstance(stack.store, MinIO):  # which posts its events itself
            self._begin(EventSource(stack, self._receive))
        self._begin(Schedule(bridge))
        self._serve(app, stack.ports.api, self._host)

    def stop(self) -> None:
        """Stop everything, in reverse order, within five seconds."""
        self._cleanup.close()

    def _receive(self, event: dict[str, Any]) -> None:
        assert self.bridge is not None
        self.bridge.invoke_async("receive_upload", event)

    def _begin(self, part: EventSource | Schedule) -> None:
        part.start()
        self._cleanup.callback(part.close)

    def _serve(self, app: Any, port: int, host: str) -> None:
        server = HttpServer(app, host=host, port=port)
        self._cleanup.callback(server.close)
        server.start()

    def __enter__(self) -> Service:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


def _probe() -> list[str]:
    from registry.storage import probing  # not before the environment is set

    return probing.probe()
