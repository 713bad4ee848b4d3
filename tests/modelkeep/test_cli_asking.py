"""Each command: what it asks of the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelkeep import errors

from tests.modelkeep.cli_fakes import FakeClient, faked, run, version_of


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with faked(monkeypatch, tmp_path):
        yield


def test_filters_and_own_user(monkeypatch: pytest.MonkeyPatch) -> None:
    run("ls", "alice", "--framework", "pytorch", "--tag", "a", "--tag", "b", "--production", "--latest")
    (call,) = FakeClient.calls
    filters = {"framework": "pytorch", "tags": ("a", "b"), "is_production_ready": True, "latest": True}
    assert call == ("models", "alice", filters)
    monkeypatch.setenv("MODELKEEP_TOKEN", "e30.eyJzdWIiOiAiYm9iIn0.x")  # {"sub": "bob"}
    FakeClient.calls.clear()
    run("ls")
    run("uploads")
    assert [call[:2] for call in FakeClient.calls] == [("models", "bob"), ("uploads", "bob")]


def test_all_lists_active_and_inactive_ones_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def models(self: Any, user_id: str, *, is_active: bool | None, **filters: Any) -> Iterator[Any]:
        for day in (9, 5, 1) if is_active is None else (8, 2):
            yield version_of(f"v{day}", created_at=f"2026-11-0{day}T10:00:00Z", is_active=is_active is None)

    monkeypatch.setattr(FakeClient, "models", models)
    names = [json.loads(line)["version"] for line in run("ls", "alice", "--all", "--json").stdout.splitlines()]
    assert names == ["v9", "v8", "v5", "v2", "v1"]
    assert run("ls", "alice", "--inactive").stdout.count("(inactive)") == 2


def test_push_says_what_was_given(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text("name: From the file\n")
    options = ["--name", "N", "--tag", "a", "--tag", "b", "--training-loss", "-0.5", "--input-shape", "[1, 3]"]
    options += ["--custom", "lr=0.1", "--custom", "team=nlp", "--set", "algorithm=CNN", "--production"]
    options += ["--dependency", "torch==2.4", "--hardware", "one GPU", "--num-parameters", "7"]
    options += [
        "--metadata",
        str(tmp_path / "card.yaml"),
        "--primary",
        "a.pt",
        "--ignore",
        "*.log",
        "--restart",
        "--follow-links",
    ]
    done = run("push", "model", "alice/bert:v7", *options, "--no-unpack")
    assert done.exit_code == 0, done.output
    ((_, path, ref, said),) = FakeClient.calls
    assert (path, ref) == ("model", "alice/bert:v7")
    assert said == {
        "metadata": {
            "name": "N",
            "tags": ["a", "b"],
            "training_loss": -0.5,
            "input_shape": [1, 3],
            "custom_metadata": {"lr": 0.1, "team": "nlp"},
            "algorithm": "CNN",
            "is_production_ready": True,
            "dependencies": ["torch==2.4"],
            "hardware_requirements": "one GPU",
            "num_parameters": 7,
        },
        "metadata_file": tmp_path / "card.yaml",
        "primary": "a.pt",
        "ignore": ("*.log",),
        "follow_links": True,
        "unpack": False,
        "restart": True,
    }


def test_an_upload_is_gone_on_with_by_the_options_of_its_push() -> None:
    assert run("uploads", "resume", "01UPLOAD", "model", "--ignore", "*.log", "--follow-links").exit_code == 0
    assert FakeClient.calls == [("resume", "01UPLOAD", "model", {"ignore": ("*.log",), "follow_links": True})]


def test_push_says_where_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_UP_TO_DATE", "1")
    done = run("push", "model", "alice/bert:v2")
    assert done.exit_code == 0
    assert done.stdout == "Nothing to do: alice/bert:v2 (1 file, 1.5 MB) has exactly these files.\n"
    assert json.loads(run("push", "model", "alice/bert:v2", "--json").stdout)["version"] == "v2"


def test_push_without_a_terminal_says_a_line_at_begin_and_end() -> None:
    done = run("push", "model", "alice/bert")
    assert done.stdout == "Pushed alice/bert:v2 (1 file, 1.5 MB).\n"
    lines = done.stderr.splitlines()
    assert lines[0] == "Reading 3.0 MB"
    assert lines[1].startswith("Read 3.0 MB in")
    assert lines[2] == "Sending 3.0 MB"
    assert lines[3].startswith("Sent 3.0 MB, of which 1.0 MB were there already, in")
    assert len(lines) == 4
    assert "\x1b" not in done.output


def test_ctrl_c_says_how_to_go_on_and_how_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["modelkeep", "push", "my model", "alice/bert"])
    FakeClient.error = KeyboardInterrupt()
    done = run("push", "model", "alice/bert")
    assert (done.exit_code, done.stdout) == (130, "")
    assert "modelkeep push 'my model' alice/bert" in done.stderr
    assert "modelkeep uploads abort 01UPLOAD" in done.stderr
    monkeypatch.setattr("sys.argv", ["modelkeep", "pull", "alice/bert"])
    done = run("pull", "alice/bert")
    assert done.exit_code == 130
    assert "modelkeep pull alice/bert" in done.stderr
    assert run("info", "alice/bert").exit_code == 130


def test_update_merges_custom_and_writes_only_over_what_it_read(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text("name: From the file\nalgorithm: CNN\n")
    card = ["--metadata", str(tmp_path / "card.yaml")]
    done = run("update", "alice/bert", "--custom", "team=nlp", "--name", "N", "--unset", "description", *card)
    assert done.exit_code == 0, done.output
    fields: dict[str, Any] = {
        "name": "N",
        "algorithm": "CNN",
        "description": None,
        "custom_metadata": {"lr": 0.1, "team": "nlp"},
    }
    assert FakeClient.calls == [("get", "alice/bert"), ("update", "alice/bert:v2", '"e1"', fields)]
    FakeClient.calls.clear()
    run("update", "alice/bert:v1", "--no-active", "--primary", "a.pt", "--if-match", '"x"')
    fields = {"is_active": False, "primary_file_path": "a.pt"}
    assert FakeClient.calls == [("update", "alice/bert:v1", '"x"', fields)]


def test_tag_keeps_other_tags_and_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [["a"], ["a", "Theirs"], ["a", "Theirs"]]
    refused = errors.ConflictError("moved on", status=412)
    written: list[tuple[str, dict[str, Any]]] = []

    def get(self: Any, ref: Any) -> Any:
        return version_of("v1", tags=states[min(len(written), 2)])

    def update(self: Any, ref: Any, *, if_match: str | None, **fields: Any) -> Any:
        assert if_match == '"e1"'
        written.append((str(ref), fields))
        if len(written) < 3:
            raise refused
        return version_of("v1", **fields)

    monkeypatch.setattr(FakeClient, "get", get)
    monkeypatch.setattr(FakeClient, "update", update)
    done = run("tag", "alice/bert", "+b", "c", "--remove", "A")
    assert done.exit_code == 0, done.output
    assert written == [
        ("alice/bert:v1", {"tags": ["b", "c"]}),
        ("alice/bert:v1", {"tags": ["Theirs", "b", "c"]}),
        ("alice/bert:v1", {"tags": ["Theirs", "b", "c"]}),
    ]
    assert done.stdout == "alice/bert:v1 has the tags: Theirs, b, c\n"


def test_tag_writes_nothing_where_nothing_changes() -> None:
    assert run("tag", "alice/bert", "A", "--remove", "z").exit_code == 0
    assert [call[0] for call in FakeClient.calls] == ["get"]


def test_rm_names_versions_where_it_must_know_which() -> None:
    done = run("rm", "alice/bert", "--yes")
    assert done.exit_code == 2
    assert "v2, v1" in done.stderr
    assert [call[0] for call in FakeClient.calls] == ["versions"]
    run("rm", "alice/bert", "--all", "--purge", "--yes")
    assert FakeClient.calls[-1] == ("delete", "alice/bert", True, True)


def test_rm_without_version_takes_just_the_one_that_it_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeClient, "found", [version_of("v5")])
    run("rm", "alice/bert", "--yes")
    assert FakeClient.calls[-1] == ("delete", "alice/bert:v5", False, False)


def test_verify_and_diff_exit_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("diff", "alice/bert:v1", "alice/bert:v2").exit_code == 0
    assert run("diff", "alice/bert:v1", "alice/bert:v2", "--exit-code").exit_code == 1
    assert run("diff", "alice/bert:v1", "alice/bert:v1", "--exit-code").exit_code == 0
    monkeypatch.setenv("FAKE_DAMAGED", "1")
    done = run("verify", "model", "--json")
    assert done.exit_code == 6
    assert json.loads(done.stdout)["damaged"] == ["b.bin"]
    assert json.loads(done.stderr)["error"]["code"] == "damaged"
    done = run("verify", "model")
    assert done.exit_code == 6
    assert "damaged\tb.bin" in done.stdout
    assert "modelkeep pull alice/bert:v2 -o model --force" in done.stderr


def test_completion_scripts_are_printed() -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_MODELKEEP_COMPLETE" in run("completion", shell).stdout
    done = run("completion", "bash", "--json")
    assert json.loads(done.stdout)["shell"] == "bash"
