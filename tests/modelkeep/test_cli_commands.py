"""Each command: what it prints for people and for programs, how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from modelkeep import errors
from modelkeep.results import Version

from tests.modelkeep.cli_fakes import FILE, FakeClient, faked, run, version_of


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with faked(monkeypatch, tmp_path):
        yield


VERSION_JSON = {**version_of("v2").raw, "etag": '"e1"'}
UPLOAD_KEYS = (
    "upload_id user_id model_id version status created_at expires_at code detail file_count bytes_total bytes_stored"
)
# Every command, with the form of its JSON: one object, or an object a line.
COMMANDS = {
    "push": (["push", "model", "alice/bert"], VERSION_JSON),
    "pull": (
        ["pull", "alice/bert"],
        {
            "user_id": "alice",
            "model_id": "bert",
            "version": "v2",
            "directory": "bert",
            "paths": ["weights/model.pt"],
            "bytes_total": 1_500_000,
            "bytes_fetched": 1_000_000,
            "bytes_present": 500_000,
        },
    ),
    "pull --zip": (["pull", "alice/bert", "--zip"], {"ref": "alice/bert", "path": "bert-v1.zip"}),
    "verify": (
        ["verify", "model"],
        {
            "user_id": "alice",
            "model_id": "bert",
            "version": "v2",
            "directory": "model",
            "ok": True,
            "intact": ["a.bin"],
            "damaged": [],
            "missing": [],
            "unknown": ["mine.txt"],
        },
    ),
    "ls": (["ls", "alice"], [VERSION_JSON, {**VERSION_JSON, "version": "v1"}]),
    "ls model": (["ls", "alice/bert"], [VERSION_JSON, {**VERSION_JSON, "version": "v1"}]),
    "ls version": (["ls", "alice/bert:v1"], [FILE]),
    "search": (["search", "alice", "bert", "pt"], [VERSION_JSON, {**VERSION_JSON, "version": "v1"}]),
    "info": (["info", "alice/bert"], VERSION_JSON),
    "files": (["files", "alice/bert"], [FILE]),
    "versions": (["versions", "alice/bert"], [VERSION_JSON, {**VERSION_JSON, "version": "v1"}]),
    "diff": (
        ["diff", "alice/bert:v1", "alice/bert:v2"],
        {
            "a": "alice/bert:v1",
            "b": "alice/bert:v2",
            "equal": False,
            "only_a": [{**FILE, "filename": "old.txt"}],
            "only_b": [{**FILE, "filename": "new.txt"}],
            "changed": [{"path": FILE["filename"], "a": FILE, "b": {**FILE, "file_hash": "cd" * 32}}],
            "same": 4,
            "metadata": {"name": {"a": "Old", "b": "BERT"}},
        },
    ),
    "update": (["update", "alice/bert", "--name", "New"], VERSION_JSON),
    "tag": (["tag", "alice/bert", "+b"], VERSION_JSON),
    "rm": (
        ["rm", "alice/bert:v1", "--yes"],
        {"user_id": "alice", "model_id": "bert", "versions": ["v1"], "status": "deleted"},
    ),
    "uploads": (["uploads", "alice"], [None]),
    "uploads list": (["uploads", "list", "alice"], [None]),
    "uploads resume": (["uploads", "resume", "01UPLOAD", "model"], VERSION_JSON),
    "uploads abort": (["uploads", "abort", "01UPLOAD", "--yes"], None),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_json_is_one_object_or_an_object_a_line_and_nothing_else(name: str) -> None:
    arguments, expected = COMMANDS[name]
    for words in (["--json", *arguments], [*arguments, "--json"]):
        done = run(*words)
        assert done.exit_code == 0, done.output
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        found = lines if isinstance(expected, list) else lines[0]
        assert len(lines) == (len(expected) if isinstance(expected, list) else 1)
        if name.startswith("uploads") and "resume" not in name:
            assert list(lines[0]) == UPLOAD_KEYS.split()  # its files' URLs are secrets
        else:
            assert found == expected
        assert done.stdout.isascii()


@pytest.mark.parametrize("name", COMMANDS)
def test_people_get_words_and_quiet_gets_nothing(name: str) -> None:
    arguments, _ = COMMANDS[name]
    said = run(*arguments)
    assert said.exit_code == 0, said.output
    assert "alice" in said.stdout or "weights/model.pt" in said.stdout
    assert "X-Amz" not in said.output
    for words in (["-q", *arguments], [*arguments, "--quiet"]):
        quiet = run(*words)
        assert (quiet.exit_code, quiet.output) == (0, "")
    both = run(*arguments, "--quiet", "--json")
    assert both.exit_code == 0
    assert both.stdout
    assert both.stderr == ""


ERRORS: list[tuple[type[errors.ModelkeepError], int]] = [
    (errors.ModelkeepError, 1),
    (errors.UsageError, 2),
    (errors.NotFoundError, 3),
    (errors.DeniedError, 4),
    (errors.ConflictError, 5),
    (errors.IntegrityError, 6),
    (errors.UnavailableError, 7),
    (errors.UnreachableError, 7),
    (errors.LocalFileError, 8),
    (errors.InvalidError, 9),
    (errors.UploadFailedError, 10),
]


@pytest.mark.parametrize(("kind", "code"), ERRORS)
def test_every_error_has_its_exit_code_and_its_words(kind: type[errors.ModelkeepError], code: int) -> None:
    FakeClient.error = kind("It went wrong", hint="Do this.", status=499, extra={"versions": ["v1"]})
    done = run("info", "alice/bert")
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr == "error: It went wrong\nhint: Do this.\n"
    done = run("info", "alice/bert", "--json")
    assert (done.exit_code, done.stdout) == (code, "")
    assert json.loads(done.stderr) == {
        "error": {
            "code": kind.code,
            "detail": "It went wrong",
            "hint": "Do this.",
            "status": 499,
            "exit_code": code,
            "extra": {"versions": ["v1"]},
        }
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["info"],
        ["info", "alice"],
        ["info", "alice/bert", "--nonsense"],
        ["ls", "alice/bert", "--latest"],
        ["ls", "alice", "--all", "--inactive"],
        ["ls"],
        ["uploads"],
        ["versions", "alice/bert:v1"],
        ["pull", "alice/bert", "--zip", "--file", "*"],
        ["push", "absent", "alice/bert"],
        ["push", "model", "alice/bert", "--set", "nonsense=1"],
        ["push", "model", "alice/bert", "--training-loss", "nan"],
        ["update", "alice/bert"],
        ["update", "alice/bert", "--set", "tags=[1"],
        ["update", "alice/bert", "--name", "x", "--unset", "name"],
        ["update", "alice/bert", "--unset", "nonsense"],
        ["tag", "alice/bert"],
        ["tag", "alice/bert", "a,b"],
        ["rm", "alice/bert:v1", "--all", "--yes"],
        ["rm", "alice/bert", "--yes"],
        ["rm", "alice/bert:v1"],
        ["uploads", "abort", "01UPLOAD"],
        ["uploads", "nonsense", "x"],
        ["--url", "nonsense", "info", "alice/bert"],
    ],
)
def test_what_makes_no_sense_is_exit_2_and_changes_nothing(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert not [call for call in FakeClient.calls if call[0] in ("push", "pull", "update", "delete", "abort")]
    done = run("--json", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert json.loads(done.stderr)["error"]["exit_code"] == 2


def test_without_a_command_the_help_is_shown_and_exit_is_2() -> None:
    done = run()
    assert done.exit_code == 2
    assert "A day's work:" in done.output
    done = run("--help")
    assert done.exit_code == 0
    assert all(word in done.stdout for word in ("push", "MODELKEEP_TOKEN", "Exit codes", "there is no --token"))


@pytest.mark.parametrize("arguments", [["info", "alice/bert"], ["ls", "alice"], ["push", "model", "alice/bert"]])
def test_a_fault_of_ours_is_named_as_one(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    FakeClient.error = ZeroDivisionError("at http://store/k?X-Amz-Signature=secret&x=1 with Bearer ey.secret.y")
    done = run(*arguments)
    assert done.exit_code == 1
    assert done.stdout == "" or arguments[0] == "push"
    assert "This is a fault of modelkeep: ZeroDivisionError" in done.stderr
    assert "MODELKEEP_DEBUG=1" in done.stderr
    assert "Traceback" not in done.stderr
    monkeypatch.setenv("MODELKEEP_DEBUG", "1")
    loud = run(*arguments)
    assert loud.exit_code == 1
    assert "Traceback" in loud.stderr
    assert "cli_fakes.py" in loud.stderr
    assert "secret" not in done.output + loud.output


@pytest.mark.parametrize("command", ["ls", "versions"])
def test_a_model_without_versions_is_not_found(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeClient, "found", [])
    done = run(command, "alice/absent")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "alice/absent has no versions" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["rm", "alice/bert", "--all", "--purge"], "modelkeep rm alice/bert --all --purge --yes --url http://r:1"),
        (["uploads", "abort", "01U"], "modelkeep uploads abort 01U --yes --url http://r:1"),
    ],
)
def test_a_command_to_say_next_is_whole(arguments: list[str], hint: str) -> None:
    assert f"`{hint}`" in run(*arguments, "--url", "http://r:1").stderr


def test_who_pushes_to_somebody_else_is_told_why_it_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def push(*_: object, **__: object) -> None:
        raise errors.NotFoundError("Model 'm' of user 'bob' not found", status=404)

    monkeypatch.setattr(FakeClient, "push", push)
    done = run("push", "model", "bob/m")
    assert done.exit_code == 3
    assert "hint: To push to bob you have to be bob" in done.stderr


def test_a_disk_that_is_full_is_a_local_fault() -> None:
    FakeClient.error = OSError(28, "No space left on device", "/data/x")
    done = run("pull", "alice/bert")
    assert done.exit_code == 8
    assert done.stderr == "error: No space left on device: /data/x\n"


HOSTILE = "[red]x[/red] \x1b[31mevil\x1b]0;title\x07 \x9b2J \u202egnp.exe\r\nnext\u2028\ud800"


@pytest.mark.parametrize("arguments", [["ls", "alice"], ["info", "alice/bert"], ["search", "alice", "x"]])
def test_no_terminal_obeys_what_a_registry_says(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = version_of(name=HOSTILE, tags=[HOSTILE], description=HOSTILE, custom_metadata={HOSTILE: HOSTILE})
    monkeypatch.setattr(FakeClient, "found", [hostile])
    _assert_harmless(run(*arguments).output, expected="[red]x[/red]")
    assert json.loads(run(*arguments, "--json").stdout)["tags"] == [HOSTILE]


def test_no_terminal_obeys_an_error() -> None:
    FakeClient.error = errors.NotFoundError(HOSTILE, hint=HOSTILE)
    done = run("info", "alice/bert")
    _assert_harmless(done.output, expected="[red]x[/red]")
    assert done.stderr.count("\n") == 2


def _assert_harmless(text: str, *, expected: str) -> None:
    assert expected in text
    for each in "\x1b\x07\x9b\u202e\r\u2028\ud800":
        assert each not in text


def test_a_list_that_breaks_off_has_printed_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    def models(self: FakeClient, user_id: str, **filters: object) -> Iterator[Version]:
        yield version_of("v2")
        raise errors.UnavailableError("gone")

    monkeypatch.setattr(FakeClient, "models", models)
    done = run("ls", "alice", "--json")
    assert (done.exit_code, [json.loads(line)["version"] for line in done.stdout.splitlines()]) == (7, ["v2"])
    assert json.loads(done.stderr)["error"]["detail"] == "gone"
