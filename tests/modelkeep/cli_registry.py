"""A registry that answers one question, to who has the token; keyrings in memory."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import keyring
import keyring.backend
import keyring.errors
import pytest

CLAIMS = {"sub": "alice", "iss": "https://issuer", "aud": "modelkeep", "exp": 4_000_000_000}


def token_of(**claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps({**CLAIMS, **claims}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{body}.c2lnbmF0dXJl"


TOKEN = token_of()


class Registry(http.server.ThreadingHTTPServer):
    """Answers one question, to who has the token (None: to anybody)."""

    token: str | None = TOKEN
    ahead = 0.0  # seconds that its clock is ahead
    page = False  # as a proxy's sign-in page

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        given = self.headers.get("Authorization")
        self.server.asked.append((self.path, given))
        if self.server.page:
            self._answer(200, b"<html>Sign in")
        elif self.path == "/docs":
            self._answer(200, b"<html>")
        elif self.server.token is None or given == f"Bearer {self.server.token}":
            self._answer(200, b"[]")
        else:
            self._answer(401, b'{"detail": "Who are you?", "code": "unauthenticated"}')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Date", formatdate(time.time() + self.server.ahead, usegmt=True))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class Broken(Ring):
    """A machine without one."""

    def set_password(self, service: str, username: str, password: str) -> None:
        raise keyring.errors.NoKeyringError("none here")


@contextmanager
def serving() -> Iterator[Registry]:
    """One that runs meanwhile."""
    server = Registry()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ring]:
    """Nothing of this machine's own: no environment, a home and a keyring for the time being."""
    for name in ("MODELKEEP_URL", "MODELKEEP_TOKEN", "MODELKEEP_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELKEEP_HOME", str(home))
    before, ring = keyring.get_keyring(), Ring()
    keyring.set_keyring(ring)
    try:
        yield ring
    finally:
        keyring.set_keyring(before)
