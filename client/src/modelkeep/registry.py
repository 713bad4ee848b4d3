"""Whether a URL is a registry, and what it makes of a token: the cheapest question, asked once."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import urllib3

from modelkeep.api import user_agent
from modelkeep.connections import FAULTS, Connections, unreachable
from modelkeep.errors import UnavailableError, from_answer

# Anybody may ask for the versions of a user whom nobody is: an empty list, or 401 where the token is not accepted.
_QUESTION = "/ai-models/nobody?limit=1"
_TIMEOUT = urllib3.Timeout(connect=10, read=30)  # seconds; somebody waits, and a function may have to start first


@dataclass(frozen=True)
class Reply:
    """What the registry said: 200, or 401; how long it took (seconds), and by how much its clock is ahead of ours
    (seconds, to one or so; None where it has no Date)."""

    status: int
    seconds: float
    ahead: float | None


def ask(url: str, token: str | None, *, connections: Connections | None = None) -> Reply:
    """Ask the registry. UnreachableError: nobody answers; UnavailableError: it can't now, or it is none."""
    connections = connections or Connections()
    headers = {"Accept": "application/json", "User-Agent": user_agent()}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    began, clock = time.monotonic(), time.time()
    answer = connections.open("GET", url + _QUESTION, headers=headers, timeout=_TIMEOUT)
    try:
        seconds = time.monotonic() - began
        raw = answer.read(1024 * 1024)
    except FAULTS as error:
        raise unreachable(url, error) from error
    finally:
        answer.close()
    try:
        said = json.loads(raw)
    except ValueError:
        said = None
    if answer.status == 503 and isinstance(said, dict) and "code" in said:
        raise from_answer(answer.status, said)
    # A 401 of ours has a code, or API Gateway's own words; a page is some proxy's.
    known = (answer.status == 200 and isinstance(said, list)) or (answer.status == 401 and isinstance(said, dict))
    if not known:
        raise UnavailableError(
            f"{urlsplit(url).netloc} answers {answer.status}, and not as a registry does",
            code="not_a_registry",
            status=answer.status,
            hint="Check the URL (a stage at its end, as /Prod?), and a proxy or sign-in page before it.",
        )
    return Reply(answer.status, seconds, _ahead(answer.headers, clock + seconds / 2))


def has_page(url: str) -> bool:
    """There is a page for a browser."""
    answer = Connections().open("GET", url, headers={"Accept": "text/html", "User-Agent": user_agent()})
    answer.close()
    return answer.status < 400


def _ahead(headers: Mapping[str, str], clock: float) -> float | None:
    try:
        return parsedate_to_datetime(headers["date"]).timestamp() + 0.5 - clock
    except (KeyError, TypeError, ValueError):
        return None
