"""Nothing that lets somebody in is in any log: all that a session logs is searched, line by line and at its end file by
file, and the session fails where a token, a signature or a presigned URL is found."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SECRET = re.compile(
    r"X-Amz-(?:Signature|Credential|Security-Token)|\bSignature=[\w%+/]"  # a presigned URL, a signed request
    r"|\bBearer +(?!None\b|\$)[\w.~+/-]{12,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\."  # a JWT
    r"|\bmk_[A-Za-z0-9_-]{43}",  # a registry token
    re.IGNORECASE,
)
CREDENTIALS = "credentials.json"  # of the servers of a data folder
_SHORTEST_KEY = 16  # of a real server; shorter ones ("testing") are none
_STANDARD = frozenset(vars(logging.makeLogRecord({})))


def find_secrets(text: str, *keys: str) -> list[str]:
    """What is secret in a text, cut off where it begins to be of use: by its look, or by being one of the keys."""
    found = [match[0][:20] for match in SECRET.finditer(text)]
    return found + [f"{key[:4]}… (a secret key)" for key in keys if len(key) >= _SHORTEST_KEY and key in text]


class LogWatch(logging.Handler):
    """Looks at every record, its extra fields and its traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.seen = 0

    def addFilter(self, filter: Any) -> None:  # noqa: N802
        """None: Powertools has the root's handlers pass over what its own logger says."""

    def emit(self, record: logging.LogRecord) -> None:
        self.seen += 1
        text = record.getMessage() + repr([v for k, v in vars(record).items() if k not in _STANDARD])
        if record.exc_info:
            text += logging.Formatter().formatException(record.exc_info)
        test = os.environ.get("PYTEST_CURRENT_TEST", "no test")
        for secret in find_secrets(text, os.environ.get("AWS_SECRET_ACCESS_KEY", "")):
            self.found.append(f"{record.name} ({record.filename}:{record.lineno}), during {test}: {secret}")


def search_files(folder: Path) -> list[str]:
    """What is secret in the log files below a folder: those of servers that tests start in processes of their own."""
    logs, keys = [], []
    for place, _, names in os.walk(folder):
        logs += [Path(place) / name for name in names if name.endswith(".log")]
        keys += [json.loads((Path(place) / name).read_text())["secret_key"] for name in names if name == CREDENTIALS]
    found = []
    for path in logs:
        with path.open(errors="replace") as lines:
            found += [f"{path}: {secret}" for line in lines for secret in find_secrets(line, *keys)]
    return found


@pytest.fixture(scope="session", autouse=True)
def no_secret_in_any_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogWatch]:
    """Fails the session's last test; says during which test it was."""
    watch = LogWatch()
    logging.getLogger().addHandler(watch)
    yield watch
    logging.getLogger().removeHandler(watch)
    found = watch.found + search_files(tmp_path_factory.getbasetemp())
    assert not found, "secrets in logs:\n" + "\n".join(found[:20])
