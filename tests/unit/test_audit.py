"""`make audit` fails on a known vulnerability, and says it where it heard of none because nobody answered."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import audit

GOOD = {"name": "good", "version": "1.0", "vulns": []}
BAD = {
    "name": "bad",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"], "description": "…"}],
}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]] | None]:
    """What pip-audit writes for each lock; None: it gets no answer, and writes nothing."""
    said: dict[str, list[dict[str, Any]] | None] = {}

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        listed = said[command[command.index("--requirement") + 1]]
        if listed is not None:
            target = Path(command[command.index("--output") + 1])
            target.write_text(json.dumps({"dependencies": listed, "fixes": []}))
        return subprocess.CompletedProcess(command, 1, "", "ERROR:pip_audit._cli:no route to host")

    monkeypatch.setattr(subprocess, "run", run)
    return said


def test_a_known_vulnerability_fails_unless_it_is_waived(
    answers: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers |= {"layer.txt": [GOOD, UNKNOWN], "dev.txt": [GOOD, BAD]}
    assert audit.main(["layer.txt"]) == 0
    assert "1 packages audited, 0 known vulnerabilities; of 1 packages nobody would say." in capsys.readouterr().out
    assert audit.main(["layer.txt", "dev.txt"]) == 1
    assert "dev.txt: bad 1.0 has PYSEC-2026-1 CVE-2026-1, fixed in 1.1" in capsys.readouterr().out
    monkeypatch.setitem(audit.WAIVED, "CVE-2026-1", "not called")
    assert audit.main(["layer.txt", "dev.txt"]) == 0
    assert "waived: not called" in capsys.readouterr().out


@pytest.mark.parametrize("silence", [None, [UNKNOWN]])
def test_no_answer_passes_and_is_said(
    answers: dict[str, Any], capsys: pytest.CaptureFixture[str], silence: Any
) -> None:
    answers |= {"layer.txt": silence, "dev.txt": [BAD]}
    assert audit.main(["layer.txt", "dev.txt"]) == 0
    assert "NOT AUDITED: layer.txt, dev.txt." in capsys.readouterr().out


def test_every_advisory_that_is_waived_has_its_reason() -> None:
    assert [name for name, reason in audit.WAIVED.items() if len(reason) < 20] == []
