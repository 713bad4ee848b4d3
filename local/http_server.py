"""An ASGI app on a loopback port, in a thread."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import uvicorn

_START_SECONDS = 60
_STOP_SECONDS = 2  # what a request in flight gets to finish


class HttpServer:
    """Serves `app` until closed. The port is bound in the constructor, so that a taken one raises OSError there."""

    def __init__(self, app: Any, *, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # The protocol is named: asyncio switches Nagle's delay (40 ms on every kept connection) off only where it is.
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        configuration = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=_STOP_SECONDS
        )
        self._server = uvicorn.Server(configuration)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name=f"http-{port}", daemon=True
        )

    def start(self) -> None:
        """Return once connections are accepted."""
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the HTTP server did not start")
            time.sleep(0.01)

    def close(self) -> None:
        """Stop accepting, let requests finish for a moment, free the port."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS + 1)
        self._socket.close()
