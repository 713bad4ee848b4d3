"""The command in a process of its own: with a terminal, without one, with a reader that goes away."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.modelkeep.cli_fakes import PROJECT, command, environment
from tests.modelkeep.terminals import Terminal

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def popen(arguments: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        env=env,
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_terminal_gets_bars_with_rate_and_a_table(home: Path, tmp_path: Path) -> None:
    terminal = Terminal(command("push", str(tmp_path), "alice/bert"), environment(home))
    assert terminal.end() == 0
    assert "Sending" in terminal.plain
    assert "MB/s" in terminal.plain
    assert "1.0 MB there already" in terminal.plain
    assert "Pushed alice/bert:v2 (1 file, 1.5 MB)." in terminal.plain
    terminal = Terminal(command("ls", "alice"), environment(home))
    assert terminal.end() == 0
    assert terminal.plain.splitlines()[0].split()[:2] == ["MODEL", "NAME"]


@pytest.mark.parametrize(
    "arguments", [["ls", "alice"], ["info", "alice/bert"], ["diff", "alice/bert:v1", "alice/bert:v2"]]
)
def test_no_terminal_obeys_what_a_registry_says(arguments: list[str], home: Path) -> None:
    env = environment(home, FAKE_NAME="\x1b]0;title\x07[red]x[/red]\x1b[31m")
    terminal = Terminal(command(*arguments), env)
    assert terminal.end() == 0
    assert "\x1b]0" not in terminal.shown
    assert "\x1b[31m" not in terminal.shown
    assert "[red]x[/red]" in terminal.plain


def test_no_color_is_honoured(home: Path) -> None:
    coloured = Terminal(command("ls", "alice"), environment(home))
    assert coloured.end() == 0
    assert "\x1b[1m" in coloured.shown  # bold
    plain = Terminal(command("push", "docs", "alice/bert"), environment(home, NO_COLOR="1"))
    assert plain.end() == 0
    assert not [code for code in ("\x1b[3", "\x1b[38", "\x1b[9") if code in plain.shown.replace("\x1b[3J", "")]


def test_quiet_shows_nothing_on_a_terminal(home: Path) -> None:
    terminal = Terminal(command("push", "docs", "alice/bert", "--quiet"), environment(home))
    assert terminal.end() == 0
    assert terminal.shown == ""


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\x04", 130)])
def test_rm_asks_by_naming_what_goes(answer: str, code: int, home: Path) -> None:
    terminal = Terminal(command("rm", "alice/bert:v2"), environment(home))
    terminal.wait_for("Delete?")
    assert "alice/bert:v2 (1 file, 1.5 MB)  BERT" in terminal.shown
    terminal.type(answer)
    assert terminal.end() == code
    assert ("is deleted" in terminal.shown) is (code == 0)


def test_ctrl_c_at_a_question(home: Path) -> None:
    terminal = Terminal(command("rm", "alice/bert:v2"), environment(home))
    terminal.wait_for("[y/N]")
    # One that comes just before Python begins to read is seen only after the reading; so a person presses again.
    while terminal.process.poll() is None:
        terminal.type("\x03")
        with contextlib.suppress(subprocess.TimeoutExpired):
            terminal.process.wait(1)
    assert terminal.end() == 130
    assert "is deleted" not in terminal.shown


def test_abort_asks(home: Path) -> None:
    terminal = Terminal(command("uploads", "abort", "01UPLOAD"), environment(home))
    terminal.wait_for("Give it up?")
    assert "alice/bert:v1, of which 1.0 MB were sent" in terminal.shown
    terminal.type("y\n")
    assert terminal.end() == 0


def test_ctrl_c_in_a_push(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    terminal = Terminal(command("push", str(folder), "alice/bert"), environment(home, FAKE_WAITS="1"))
    terminal.wait_for("Sending")
    os.kill(terminal.process.pid, signal.SIGINT)
    assert terminal.end() == 130
    assert f"modelkeep push '{folder}' alice/bert" in terminal.plain
    assert "modelkeep uploads abort 01UPLOAD" in terminal.plain
    assert "Traceback" not in terminal.shown


def test_ctrl_c_in_a_push_without_a_terminal(home: Path, tmp_path: Path) -> None:
    process = popen(command("push", str(tmp_path), "alice/bert", "--json"), environment(home, FAKE_WAITS="1"))
    assert process.stderr is not None
    while "Sending" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert f"modelkeep push {tmp_path} alice/bert --json" in err


@pytest.mark.parametrize("arguments", [["ls", "alice"], ["ls", "alice", "--json"], ["--help"], ["info", "alice/bert"]])
def test_a_reader_that_goes_away_is_no_fault(arguments: list[str], home: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command(*arguments), env=environment(home), cwd=PROJECT, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_streams_that_the_parent_closed(closed: int, home: Path) -> None:
    shell = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *command("ls", "alice")]
    done = subprocess.run(shell, env=environment(home), cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("alice/bert:v2" in done.stdout) is (closed != 1)


def test_a_locale_that_has_no_such_letters(home: Path) -> None:
    env = environment(home, PYTHONIOENCODING="latin-1", FAKE_NAME="模型")
    done = subprocess.run(command("ls", "alice"), env=env, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "\\u6a21\\u578b" in done.stdout


def test_nothing_is_asked_without_a_terminal(home: Path) -> None:
    for arguments in (["rm", "alice/bert:v1"], ["uploads", "abort", "01UPLOAD"]):
        process = popen(command(*arguments, "--json"), environment(home))
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (2, "")
        assert json.loads(err)["error"]["code"] == "no_terminal"


def test_help_and_completion_need_no_http(home: Path) -> None:
    code = (
        "import sys\nfrom modelkeep.cli.program import app\n"
        "try: app.main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'urllib3', 'rich', 'yaml', 'keyring', 'tenacity', 'http.client'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    for arguments in (["--version"], ["--help"], ["push", "--help"]):
        done = subprocess.run(
            [*command()[:2], code, *arguments], env=environment(home), cwd=PROJECT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    completing = environment(home, _MODELKEEP_COMPLETE="bash_complete", COMP_WORDS="modelkeep pu", COMP_CWORD="1")
    done = subprocess.run([*command()[:2], code], env=completing, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["plain,push", "plain,pull"]
