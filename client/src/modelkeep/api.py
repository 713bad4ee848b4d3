"""The registry's HTTP API: requests with the caller's token, answers as JSON or as exceptions, pages by their Links."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from modelkeep.connections import Connections, patiently, read_whole
from modelkeep.errors import UnavailableError, UnreachableError, from_answer
from modelkeep.tokens import check_token
from modelkeep.version import __version__

_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
PATIENCE = 10.0  # seconds that a call goes on trying
_MAX_ANSWER = 64 * 1024 * 1024  # bytes; a page of 1,000 files with URLs has about three
TRANSFER_PATIENCE = 300.0  # seconds that a transfer goes on trying without any success


def user_agent() -> str:
    """How we introduce ourselves."""
    return f"modelkeep/{__version__} Python/{platform.python_version()}"


@dataclass(frozen=True)
class Answer:
    """A good answer (2xx, or 307 with its Location)."""

    status: int
    headers: Mapping[str, str]  # by lower-case name
    body: Any  # JSON

    @property
    def following(self) -> str | None:
        """The URL of the next page."""
        found = _NEXT.search(self.headers.get("link", ""))
        return found[1] if found else None

    @property
    def rows(self) -> list[Any]:
        """A list's rows; UnavailableError where the answer is none."""
        if not isinstance(self.body, list):
            raise UnavailableError("the registry's answer makes no sense: no list", code="bad_answer")
        return self.body


class Api:
    """One registry, as one caller."""

    def __init__(
        self, url: str, token: str | None, *, connections: Connections | None = None, patience: float = PATIENCE
    ) -> None:
        self.url = url
        self.connections = connections or Connections()
        self._token = check_token(token, "the token") if token else None
        self._patience = patience
        self._agent = user_agent()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        patience: float | None = None,
        repeatable: bool = True,
        redirect: bool = False,
    ) -> Answer:
        """Ask, again while there is no answer (`repeatable` false: only where the request can't have arrived), and
        raise what an error answer stands for. `path` begins with a slash, or is a whole URL of this registry.
        `redirect`: a 307 is an answer too; nobody else's are followed."""

        def again(error: BaseException) -> bool:
            if isinstance(error, UnreachableError) and error.sent and not repeatable:
                return False
            # A redirect, or a path that is not known there, is no registry's now and won't be in a moment.
            wrong_url = isinstance(error, UnavailableError) and error.code == "not_a_registry" and error.status
            return isinstance(error, UnavailableError) and not wrong_url

        seconds = self._patience if patience is None else patience
        return patiently(lambda: self._ask(method, path, query, body, headers, redirect), seconds=seconds, retry=again)

    def pages(
        self, path: str, *, query: Mapping[str, Any] | None = None, patience: float | None = None
    ) -> Iterator[Answer]:
        """An answer and all that follow it, each asked for when it is wanted."""
        answer = self.call("GET", path, query=query, patience=patience)
        yield answer
        while answer.following:
            answer = self.call("GET", answer.following, patience=patience)
            yield answer

    def rows(self, path: str, *, query: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """The rows of a list, page after page."""
        for answer in self.pages(path, query=query):
            yield from answer.rows

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Any,
        headers: Mapping[str, str] | None,
        redirect: bool,
    ) -> Answer:
        url = self._absolute(path)
        if query := {name: _text(value) for name, value in (query or {}).items() if value is not None}:
            url += f"?{urlencode(query)}"
        sent = {"User-Agent": self._agent, "Accept": "application/json", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = json.dumps(body, ensure_ascii=False).encode()
        elif method in ("POST", "PUT"):
            sent["Content-Length"] = "0"
        answer = self.connections.open(method, url, headers=sent, body=data)
        raw = read_whole(answer, url, at_most=_MAX_ANSWER)
        got = {name.lower(): value for name, value in answer.headers.items()}
        said, is_json = None, True
        try:
            said = json.loads(raw) if raw else None
        except (ValueError, RecursionError):
            is_json = False
        if redirect and answer.status == 307 and "location" in got:
            return Answer(answer.status, got, None)
        if answer.status >= 300 or not is_json:
            raise self._error(answer.status, said, got)
        return Answer(answer.status, got, said)

    def _error(self, status: int, said: Any, headers: Mapping[str, str]) -> Exception:
        code = said.get("code") if isinstance(said, dict) else None
        # Each 404 of a registry has a code; and no other redirect of its is followed: the token is for nobody else.
        if status < 400 or (status in (404, 405) and code in (None, "no_such_route")):
            return UnavailableError(
                f"{urlsplit(self.url).netloc} answers{f' {status}' if status >= 300 else ''}, "
                f"and not as a registry does{_elsewhere(headers.get('location', ''))}",
                code="not_a_registry",
                hint="Check MODELKEEP_URL (https? a stage at its end?); is a proxy or sign-in page before it?",
                status=status if status >= 300 else None,
            )
        error = from_answer(status, said, request_id=headers.get("x-request-id") or headers.get("x-amzn-requestid"))
        if status == 401 and self._token:
            error.hint = (
                "The token is not accepted; `modelkeep whoami` says which it is and if it has expired. "
                "Then `modelkeep login`, or set MODELKEEP_TOKEN to a new one."
            )
        if isinstance(error, UnavailableError):
            after = headers.get("retry-after", "")
            error.retry_after = float(after) if after.isascii() and after.isdigit() else None
        return error

    def _absolute(self, path: str) -> str:
        """A whole URL goes to this registry's own host, whatever it says: Links may be made behind a proxy, and the
        token is for nobody else."""
        if path.startswith("/"):
            return self.url + path
        here, there = urlsplit(self.url), urlsplit(path)
        return f"{here.scheme}://{here.netloc}{there.path}" + (f"?{there.query}" if there.query else "")


def _elsewhere(location: str) -> str:
    """Where a redirect leads, without what may be secret."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return ""
    return f": it sends callers to {parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
