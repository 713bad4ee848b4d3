"""`modelkeep doctor` against what can be wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.modelkeep.cli_fakes import run
from tests.modelkeep.cli_registry import TOKEN, Registry, Ring, at_home, serving, token_of


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def ring(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Ring]:
    with at_home(home, monkeypatch) as ring:
        yield ring


def checks(*arguments: str, code: int) -> dict[str, dict[str, Any]]:
    done = run("doctor", *arguments, "--json")
    assert done.exit_code == code, done.output
    assert TOKEN not in done.output
    said = json.loads(done.stdout)
    assert said["ok"] is (code == 0)
    return {check["name"]: check for check in said["checks"]}


def test_doctor_of_what_is_well(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELKEEP_TOKEN", TOKEN)
    found = checks("--url", registry.url, code=0)
    names = ["versions", "configuration", "state", "cache", "proxy", "registry", "clock", "token", "store"]
    assert list(found) == names
    assert [found[name]["status"] for name in names] == ["ok"] * 8 + ["warn"]  # alice has no file to try it by
    done = run("doctor", "--url", registry.url)
    assert len(done.stdout.splitlines()) == 10


@pytest.mark.parametrize(("ahead", "status"), [(3600, "warn"), (-3600, "warn"), (20, "ok"), (-250, "ok")])
def test_doctor_sees_a_wrong_clock(ahead: float, status: str, registry: Registry) -> None:
    registry.token = None
    registry.ahead = ahead
    clock = checks("--url", registry.url, code=0)["clock"]
    assert clock["status"] == status
    if status == "warn":
        assert ("60 min slow" if ahead > 0 else "60 min fast") in clock["detail"]


def test_doctor_sees_tokens_that_are_no_good(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    found = checks("--url", registry.url, code=7)["token"]
    assert (found["status"], "wants one" in found["detail"]) == ("fail", True)
    registry.token = "another"
    monkeypatch.setenv("MODELKEEP_TOKEN", TOKEN)
    assert checks("--url", registry.url, code=7)["token"]["detail"] == "not accepted (from: MODELKEEP_TOKEN)"
    # Expired by the registry's clock, whatever ours says.
    monkeypatch.setenv("MODELKEEP_TOKEN", token_of(exp=time.time() + 1800))
    registry.ahead = 3600
    assert "expired 30 min ago" in checks("--url", registry.url, code=7)["token"]["detail"]


def test_doctor_where_nobody_answers_and_where_no_registry_does(registry: Registry) -> None:
    registry.page = True
    assert "not as a registry does" in checks("--url", registry.url, code=7)["registry"]["detail"]
    registry.shutdown()
    registry.server_close()
    found = checks("--url", registry.url, code=7)
    assert found["registry"]["status"] == "fail"
    assert "nobody answers there" in found["registry"]["detail"]
    assert "MODELKEEP_URL" in found["registry"]["hint"]


def test_doctor_sees_folders_that_cannot_be_written(
    registry: Registry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.token = None

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    found = checks("--url", registry.url, code=7)
    assert [name for name, check in found.items() if check["status"] == "fail"] == ["configuration", "state", "cache"]
    assert "MODELKEEP_HOME" in found["cache"]["hint"]


def test_doctor_names_a_proxy_without_its_password(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.token = None
    monkeypatch.setenv("http_proxy", f"http://me:hush@127.0.0.1:{registry.server_port}")
    monkeypatch.setenv("no_proxy", "")
    said = json.loads(run("doctor", "--url", registry.url, "--json").stdout)
    proxy = next(check for check in said["checks"] if check["name"] == "proxy")
    assert proxy["detail"] == f"through 127.0.0.1:{registry.server_port}"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert "not for this registry" in checks("--url", registry.url, code=0)["proxy"]["detail"]
