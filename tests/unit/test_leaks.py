"""That secrets in logs are found: planted ones are, and what looks a little like them is not."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from registry.observability import get_logger

from tests import leaks
from tests.leaks import LogWatch

PROJECT = Path(__file__).parents[2]
JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
SECRETS = [
    "http://127.0.0.1:8001/modelkeep/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0a1b2c",
    "x-amz-credential=AKIA%2F20261126",
    "k?X-Amz-Security-Token=FwoGZXIvYXdz",
    "AWS4-HMAC-SHA256 Credential=AKIA/20261126, SignedHeaders=host, Signature=0a1b",
    "Authorization: Bearer 0123456789abcdef",
    JWT,
    "mk_" + "aB3-_" * 8 + "xyz",
    "wJalrXUtnFEMI/K7MDENG",
]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[LogWatch]:
    """Another than the session's, which does not look meanwhile."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS[-1])
    root, watch = logging.getLogger(), LogWatch()
    others = [handler for handler in root.handlers if isinstance(handler, LogWatch)]
    for handler in others:
        root.removeHandler(handler)
    root.addHandler(watch)
    yield watch
    root.removeHandler(watch)
    for handler in others:
        root.addHandler(handler)


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:12])
def test_a_secret_is_found_in_messages_fields_and_tracebacks(watch: LogWatch, secret: str) -> None:
    get_logger().info(f"sent {secret}")
    get_logger().warning("refused", headers={"x": [secret]})
    try:
        raise ValueError(f"bad: {secret}")
    except ValueError:
        get_logger().exception("failed")
    assert watch.seen == 3
    assert len({line.split(",")[0] for line in watch.found}) == 3
    assert not any(secret in line for line in watch.found), "and is not told again"


def test_what_is_no_secret_is_not_found(watch: LogWatch) -> None:
    for text in (
        "Bearer",
        "WWW-Authenticate: Bearer",
        "Bearer $TOKEN",
        "mk_short",
        "eyJ",
        "wrong_signature",
        "X-Amz-Date",
    ):
        get_logger().info(text, path="/ai-models/alice/mk_models")
    assert watch.seen and not watch.found


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that this session's own watch does not search."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_a_session_whose_log_has_a_secret_fails(elsewhere: Path) -> None:
    """In a session of its own: once a record, once a file that a server left."""
    for name, line in {
        "record": f"logging.getLogger('x').warning({SECRETS[0]!r})",
        "file": f"(tmp_path / 'server.log').write_text({JWT!r})",
        "nothing": "logging.getLogger('x').warning('hello')",
    }.items():
        test = elsewhere / f"test_{name}.py"
        test.write_text(
            "import logging\nfrom tests.leaks import no_secret_in_any_log\n"
            f"def test_leak(tmp_path):\n    {line}\ndef test_innocent():\n    pass\n"
        )
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(test)]
        command += [f"--basetemp={elsewhere / name}", f"--rootdir={elsewhere}"]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        ran = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert (ran.returncode == 0) is (name == "nothing"), ran.stdout
        assert ("secrets in logs" in ran.stdout) is (name != "nothing"), ran.stdout


def test_the_whole_suite_is_watched(no_secret_in_any_log: LogWatch) -> None:
    before = no_secret_in_any_log.seen
    get_logger().info("hello")
    assert no_secret_in_any_log.seen == before + 1
    assert leaks.find_secrets("") == []
