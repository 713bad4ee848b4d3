"""What a push takes of a folder, what it leaves out, and what it refuses before anything is sent."""

from __future__ import annotations

import os
import socket
import subprocess
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkeep.errors import LocalFileError, UsageError
from modelkeep.pushing import paths, scanning
from registry import archives
from registry.errors import InvalidError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def scanned(folder: Path, *ignore: str) -> set[str]:
    return {entry.path for entry in scanning.scan(folder, ignore=ignore).entries}


def test_caches_editors_files_and_what_pulls_leave_are_no_part_of_a_model(tmp_path: Path) -> None:
    kept = {"a.bin", ".gitattributes", "git", "sub/.config.json", "x.swap", "modelkeep.txt", ".cache/mine"}
    left = {
        ".git/config",
        "sub/.git/config",
        "__pycache__/a.pyc",
        "a.pyc",
        ".ipynb_checkpoints/a-checkpoint.ipynb",
        ".DS_Store",
        "sub/Thumbs.db",
        "a.py~",
        ".a.py.swp",
        ".#a.py",
        "#a.py#",
        ".modelkeep.json",
        ".modelkeepignore",
        ".cache/huggingface/download/a.metadata",
        "__MACOSX/a",
    }
    make(tmp_path, *kept, *(left - {".modelkeepignore"}))
    (tmp_path / ".modelkeepignore").write_text("# nothing\n")
    assert scanned(tmp_path) == kept


def test_the_folders_own_metadata_is_said_and_not_pushed(tmp_path: Path) -> None:
    make(tmp_path, "a", "modelkeep.yaml", "sub/modelkeep.yaml")
    assert scanned(tmp_path) == {"a", "sub/modelkeep.yaml"}
    assert scanning.scan(tmp_path).metadata == tmp_path / "modelkeep.yaml"


def test_patterns_count_from_where_they_stand_and_the_last_that_matches_decides(tmp_path: Path) -> None:
    make(
        tmp_path,
        "a.log",
        "keep.log",
        "sub/a.log",
        "sub/deep/b.tmp",
        "sub/deep/c.tmp",
        "build/x",
        ".vscode/settings.json",
    )
    (tmp_path / ".modelkeepignore").write_text("*.log\n!keep.log\n/build/\n!.vscode/\n")
    (tmp_path / "sub/.modelkeepignore").write_text("!a.log\n/deep/b.tmp\n")
    assert scanned(tmp_path) == {"keep.log", "sub/a.log", "sub/deep/c.tmp", ".vscode/settings.json"}
    assert scanned(tmp_path, "keep.log", "sub/") == {".vscode/settings.json"}


IGNORES = st.lists(
    st.sampled_from(
        ["*.a", "!b.a", "/x", "x/", "!x/y/", "**/c.a", "x/*", "!x/b.a", "y", "", "# z", "[bc].a", "x/**/y"]
    ),
    max_size=5,
)


@pytest.mark.skipif(subprocess.run(["which", "git"], capture_output=True).returncode != 0, reason="there is no git")
@settings(deadline=None)
@given(root=IGNORES, deep=IGNORES)
def test_patterns_mean_what_git_says(
    tmp_path_factory: pytest.TempPathFactory, root: list[str], deep: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("git")
    make(folder, "a.a", "b.a", "x/a.a", "x/b.a", "x/y/c.a", "x/y/d", "y/b.a", "z")
    for name in (".modelkeepignore", ".gitignore"):
        (folder / name).write_text("\n".join([*root, ".gitignore"]))
        (folder / "x" / name).write_text("\n".join(deep))
    subprocess.run(["git", "init", "-q", "."], cwd=folder, check=True)
    said = subprocess.run(
        ["git", "-c", "core.excludesFile=", "ls-files", "--others", "--exclude-standard", "-z"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    expected = {name for name in said.split("\0") if name and not name.endswith("ignore")}
    assert {path for path in scanned(folder) if not path.endswith("ignore")} == expected


def test_a_link_is_the_file_in_the_folder_that_it_leads_to_or_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", "a", "sub/b")
    make(tmp_path, "secret")
    (folder / "link").symlink_to("sub/b")
    assert scanned(folder) == {"a", "link", "sub/b"}
    for target, said in [
        ("../secret", "out of the folder"),
        (str(tmp_path / "secret"), "out of the folder"),
        ("sub", "leads to a folder"),
        ("..", "leads to a folder"),
        ("nothing", "leads to nothing"),
    ]:
        (folder / "bad").symlink_to(target)
        with pytest.raises(UsageError) as refused:
            scanning.scan(folder)
        assert refused.value.code == "bad_link"
        assert said in refused.value.detail
        assert "'bad'" in refused.value.detail
        assert scanned(folder, "bad") == {"a", "link", "sub/b"}
        (folder / "bad").unlink()


def test_links_are_followed_wherever_they_lead_if_that_is_asked_for(tmp_path: Path) -> None:
    """As a Hugging Face snapshot is made of them."""
    make(tmp_path, "hub/blobs/0123", "hub/blobs/4567", "elsewhere/sub/c", "elsewhere/.git/config", "elsewhere/d.log")
    snapshot = tmp_path / "hub/snapshots/main"
    (snapshot / "onnx").mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/0123")
    (snapshot / "onnx/model.onnx").symlink_to("../../../blobs/4567")
    (snapshot / "again.onnx").symlink_to("onnx/model.onnx")
    (snapshot / "more").symlink_to(tmp_path / "elsewhere")
    (snapshot / "twice").symlink_to(tmp_path / "elsewhere/sub")
    with pytest.raises(UsageError) as refused:
        scanning.scan(snapshot)
    assert "--follow-links" in (refused.value.hint or "")
    found = {entry.path: entry for entry in scanning.scan(snapshot, ignore=["*.log"], follow_links=True).entries}
    assert set(found) == {"config.json", "onnx/model.onnx", "again.onnx", "more/sub/c", "twice/c"}
    # Digests are remembered by the blob's own path, for the next snapshot.
    assert found["again.onnx"].source == found["onnx/model.onnx"].source == tmp_path / "hub/blobs/4567"
    assert found["more/sub/c"].source.read_text() == "elsewhere/sub/c"


def test_a_linked_metadata_file_is_said_and_not_pushed(tmp_path: Path) -> None:
    make(tmp_path, "model/a", "card.yaml")
    (tmp_path / "model/modelkeep.yaml").symlink_to("../card.yaml")
    source = scanning.scan(tmp_path / "model", follow_links=True)
    assert [entry.path for entry in source.entries] == ["a"]
    assert source.metadata == tmp_path / "model/modelkeep.yaml"


@pytest.mark.parametrize("target", [".", "..", "../..", "../sub", "../link"])
def test_links_that_lead_round_in_a_circle_are_refused(tmp_path: Path, target: str) -> None:
    folder = make(tmp_path / "model", "sub/a")
    (folder / "link").symlink_to("sub")
    (folder / "sub/round").symlink_to(target)
    with pytest.raises(UsageError) as refused:
        scanning.scan(folder, follow_links=True)
    assert refused.value.code == "bad_link"
    assert "leads back" in refused.value.detail
    paths = {entry.path for entry in scanning.scan(folder, ignore=["round"], follow_links=True).entries}
    assert paths == {"sub/a", "link/a"}


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("target", ["bad", "nothing"])
def test_a_link_to_nothing_or_to_itself_is_refused_unless_it_is_ignored(
    tmp_path: Path, target: str, follow: bool
) -> None:
    make(tmp_path, "a")
    (tmp_path / "bad").symlink_to(target)
    with pytest.raises(UsageError) as refused:
        scanning.scan(tmp_path, follow_links=follow)
    assert refused.value.detail == "the link 'bad' leads to nothing"
    assert "--follow-links" not in (refused.value.hint or "")
    assert [entry.path for entry in scanning.scan(tmp_path, ignore=["bad"], follow_links=follow).entries] == ["a"]


def test_a_path_that_is_a_link_is_followed_under_its_own_name(tmp_path: Path) -> None:
    make(tmp_path, "blobs/0123")
    (tmp_path / "model.bin").symlink_to("blobs/0123")
    (tmp_path / "folder").symlink_to("blobs")
    assert scanned(tmp_path / "model.bin") == {"model.bin"}
    assert scanned(tmp_path / "folder") == {"0123"}


def open_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


@pytest.mark.parametrize("special", [lambda path: os.mkfifo(path), open_socket])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, special: Callable[[Path], None]) -> None:
    make(tmp_path, "a")
    special(tmp_path / "odd")
    with pytest.raises(UsageError) as refused:
        scanning.scan(tmp_path)
    assert refused.value.code == "special_file"


@pytest.mark.parametrize("lines", [b"\xff\xfe", b"!\n"])
def test_patterns_that_are_none_are_refused_by_the_file_that_has_them(tmp_path: Path, lines: bytes) -> None:
    make(tmp_path, "a", "sub/b")
    (tmp_path / "sub/.modelkeepignore").write_bytes(lines)
    with pytest.raises(UsageError) as refused:
        scanning.scan(tmp_path)
    assert refused.value.code == "bad_pattern"
    assert "sub/.modelkeepignore" in refused.value.detail


def test_nothing_there_and_nothing_to_push(tmp_path: Path) -> None:
    with pytest.raises(LocalFileError) as missing:
        scanning.scan(tmp_path / "nothing")
    assert missing.value.code == "no_such_path"
    make(tmp_path, ".git/config")
    with pytest.raises(UsageError) as empty:
        scanning.scan(tmp_path)
    assert empty.value.code == "no_files"


def test_the_smallest_file_comes_first_and_the_order_is_always_the_same(tmp_path: Path) -> None:
    for name, size in (("c", 3), ("b", 3), ("a", 5), ("d", 0)):
        (tmp_path / name).write_bytes(b"x" * size)
    assert [entry.path for entry in scanning.scan(tmp_path).entries] == ["d", "b", "c", "a"]


def test_names_are_the_same_from_every_system(tmp_path: Path) -> None:
    make(tmp_path, unicodedata.normalize("NFD", "größe.bin"))
    assert scanned(tmp_path) == {unicodedata.normalize("NFC", "größe.bin")}
    make(tmp_path, unicodedata.normalize("NFC", "größe.bin"))
    with pytest.raises(UsageError) as refused:
        scanning.scan(tmp_path)
    assert refused.value.code == "bad_path"


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb", b"nul.txt", b"a:b", b"a ", "a\u202eb".encode(), b"back\\slash"])
def test_names_that_the_registry_refuses_are_refused_here(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "good").touch()
    (tmp_path / os.fsdecode(name)).touch()
    with pytest.raises(UsageError) as refused:
        scanning.scan(tmp_path)
    assert refused.value.code == "bad_path"
    refused.value.detail.encode()  # it can be printed


SEGMENTS = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        ["a", "A", "ß", "ss", "é", "e\u0301", "con", "COM1.txt", "..", ".", "", "a.", "b ", "a:", "\u3164", "x" * 256]
    ),
)


@settings(deadline=None)
@given(st.lists(st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join), min_size=1, max_size=5))
def test_the_rules_are_the_registrys(listed: list[str]) -> None:
    def refuses(check: Callable[[], object], error: type[Exception]) -> bool:
        try:
            check()
        except error:
            return True
        return False

    for path in listed:
        theirs = refuses(lambda path=path: archives.check_path(path, subject="path"), InvalidError)  # type: ignore[misc]
        ours = refuses(lambda path=path: paths.check_path(path), UsageError)  # type: ignore[misc]
        unassigned = any(unicodedata.category(character) == "Cn" for character in path)
        assert ours == theirs or (unassigned and theirs)
    if len(set(listed)) == len(listed):
        theirs = refuses(lambda: archives.check_path_set(listed, subject="path"), InvalidError)
        assert refuses(lambda: paths.check_together(listed), UsageError) == theirs
