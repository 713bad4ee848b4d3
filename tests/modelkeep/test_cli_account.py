"""login, whoami, logout, open at a registry that wants a token; the token is printed nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from modelkeep.config import Config

from tests.modelkeep.cli_fakes import environment, run
from tests.modelkeep.cli_registry import CLAIMS, TOKEN, Broken, Registry, Ring, at_home, serving, token_of
from tests.modelkeep.terminals import Terminal


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


def stored(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_login_keeps_the_token_in_the_keyring(registry: Registry, ring: Ring, home: Path) -> None:
    done = run("login", "--url", registry.url, "--token-stdin", stdin=f"{TOKEN}\n")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"Registry: {registry.url}\nToken: in the system's keyring\n"
    assert ring.kept == {("modelkeep", registry.url): TOKEN}
    assert stored(home) == ["config.json"]
    who = run("whoami")
    assert who.exit_code == 0
    assert who.stdout.splitlines() == [
        f"Registry: {registry.url}",
        "Token: keyring",
        "The token says: sub alice",
        "The token says: iss https://issuer",
        "The token says: aud modelkeep",
        "The token says: exp 2096-10-02 07:06:40 UTC",
        "Accepted: yes",
    ]
    said = json.loads(run("whoami", "--json").stdout)
    assert said == {"url": registry.url, "token": "keyring", "claims": CLAIMS, "accepted": True}
    out = run("logout")
    assert "Forgot the token" in out.stdout
    assert ring.kept == {}
    assert json.loads(run("logout", "--json").stdout) == {"url": registry.url, "forgotten": False}
    for each in (done, who, out):
        assert TOKEN not in each.output


def test_login_without_a_keyring_keeps_it_in_a_private_file(registry: Registry, home: Path) -> None:
    keyring.set_keyring(Broken())
    done = run("login", "--url", registry.url, "--token-stdin", "--json", stdin=TOKEN)
    assert json.loads(done.stdout) == {"url": registry.url, "token": "file"}
    assert (home / "tokens.json").stat().st_mode & 0o777 == 0o600
    assert Config().token(registry.url) == (TOKEN, "file")
    assert run("whoami").exit_code == 0
    run("logout")
    assert TOKEN not in (home / "tokens.json").read_text()
    assert TOKEN not in done.output


@pytest.mark.parametrize("given", ["wrong.token.here", token_of(exp=1_000_000_000)])
def test_login_stores_nothing_that_is_not_accepted(given: str, registry: Registry, ring: Ring, home: Path) -> None:
    done = run("login", "--url", registry.url, "--token-stdin", stdin=given)
    assert (done.exit_code, done.stdout) == (4, "")
    assert "nothing was stored" in done.stderr
    assert given not in done.output
    assert (ring.kept, stored(home)) == ({}, [])
    if given.count("e") > 10:
        assert "2001-09-09 01:46:40 UTC (passed" in done.stderr


@pytest.mark.parametrize("given", ["", "\n", "two words", "tök.e.n"])
def test_login_takes_no_nonsense_as_a_token(given: str, registry: Registry, ring: Ring, home: Path) -> None:
    done = run("login", "--url", registry.url, "--token-stdin", stdin=given)
    assert (done.exit_code, registry.asked) == (2, [])
    assert (ring.kept, stored(home)) == ({}, [])


def test_login_asks_for_nothing_where_no_token_is_wanted(registry: Registry, home: Path) -> None:
    registry.token = None
    done = run("login", "--url", registry.url)
    assert done.stdout == f"Registry: {registry.url}\nToken: nowhere: none is needed\n"
    assert Config().url() == registry.url


def test_login_without_a_terminal_says_how_a_token_is_given(registry: Registry, home: Path) -> None:
    done = run("login", "--url", registry.url)
    assert done.exit_code == 2
    assert "--token-stdin" in done.stderr
    assert stored(home) == []


def test_login_refuses_what_is_no_registry(registry: Registry, home: Path) -> None:
    registry.page = True
    done = run("login", "--url", registry.url, "--token-stdin", stdin=TOKEN)
    assert done.exit_code == 7
    assert "not as a registry does" in done.stderr
    assert stored(home) == []


def test_login_on_a_terminal_asks_and_hides(registry: Registry, home: Path) -> None:
    env = environment(home, PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring")
    python = [sys.executable, "-m", "modelkeep"]
    terminal = Terminal([*python, "login"], env)
    terminal.wait_for("Registry [http://localhost:8000]")
    terminal.type(f"{registry.url}\n")
    terminal.wait_for("Token:")
    terminal.type(f"{TOKEN}\n")
    assert terminal.end() == 0, terminal.shown
    assert "in a file that only you can read" in terminal.plain
    assert TOKEN not in terminal.shown
    done = subprocess.run([*python, "whoami", "--json"], env=env, capture_output=True, text=True)
    assert json.loads(done.stdout)["token"] == "file"
    assert TOKEN not in done.stdout + done.stderr


def test_whoami_of_a_token_that_is_not_accepted(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELKEEP_URL", registry.url)
    assert run("whoami").exit_code == 4
    other = token_of(sub="\x1b[31mmallory")
    monkeypatch.setenv("MODELKEEP_TOKEN", other)
    done = run("whoami")
    assert done.exit_code == 4
    assert "Token: MODELKEEP_TOKEN" in done.stdout
    assert "\x1b" not in done.output
    assert other not in done.output
    assert json.loads(run("whoami", "--json").stdout)["accepted"] is False


def test_a_token_of_the_registrys_own_is_used_like_any_other(
    registry: Registry, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.token = own = "mk_" + "Aa0_-" * 8 + "xyz"
    done = run("login", "--url", registry.url, "--token-stdin", stdin=f"{own}\n")
    assert (done.exit_code, ring.kept) == (0, {("modelkeep", registry.url): own})
    who = run("whoami")
    assert who.exit_code == 0
    assert who.stdout.splitlines()[1:] == [
        "Token: keyring",
        "The token says nothing: it is the registry's own",
        "Accepted: yes",
    ]
    said = json.loads(run("whoami", "--json").stdout)
    assert said == {"url": registry.url, "token": "keyring", "claims": None, "accepted": True}
    nobody = run("ls")
    assert (nobody.exit_code, nobody.stdout) == (2, "")
    assert "Name the user" in nobody.stderr
    doctor = json.loads(run("doctor", "--json").stdout)
    assert [each["status"] for each in doctor["checks"] if each["name"] == "token"] == ["ok"]
    monkeypatch.setenv("MODELKEEP_TOKEN", revoked := own[:-1] + "w")
    refused = run("whoami")
    assert refused.exit_code == 4
    assert "revoked" in refused.stderr
    for each in (done, who, nobody, refused):
        assert own not in each.output and revoked not in each.output


def test_open(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr("webbrowser.open", browse)
    done = run("open", "--url", registry.url, "--json")
    assert json.loads(done.stdout) == {"url": f"{registry.url}/docs", "opened": True}
    assert opened == [f"{registry.url}/docs"]
