"""Which paths may become files: the registry is not believed."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelkeep.errors import LocalFileError
from modelkeep.pulling.paths import check_paths, is_ours, show


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a/b/c.bin",
        "é/単語 и.txt",
        ".hidden",
        "a b",
        "..a",
        "a..",
        "...",
        "con",
        "ab:c",
        "x" * 255,
        "-rf",
        "~",
        "a\u0301",
    ],
)
def test_sound_paths(path: str) -> None:
    check_paths([path], windows=False)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        "./a",
        "a/./b",
        "a\\b",
        "..\\a",
        "C:\\a",
        "C:a",
        "a\x00b",
        "a\nb",
        "a\x1b[2J",
        "x" * 256,
        "é" * 128,
        "/".join(["x" * 200] * 6),
        "a\ud800",
        "a\u2028b",
        "\x7f",
    ],
)
def test_paths_that_are_refused_everywhere(path: str) -> None:
    for windows in (False, True):
        with pytest.raises(LocalFileError) as error:
            check_paths(["sound", path], windows=windows)
        assert error.value.code == "unsafe_path"
        assert error.value.detail.isprintable()


@pytest.mark.parametrize("path", ["con", "NUL.txt", "a/com1", "LPT¹", "a.", "a ", "ab:c", "a?", "a|b", 'a"', "aux .x"])
def test_paths_that_windows_can_not_have(path: str) -> None:
    check_paths([path], windows=False)
    with pytest.raises(LocalFileError):
        check_paths([path], windows=True)


@pytest.mark.parametrize(
    "paths",
    [
        ["a", "A"],
        ["é", "e\u0301"],
        ["a", "a/b"],
        ["a/b", "A/c"],
        ["A", "a/b"],
        ["ß", "SS"],
        ["x/a/1", "x/b", "x/a"],
        ["a/b", "a/b"],
    ],
)
def test_paths_that_can_not_lie_side_by_side(paths: list[str]) -> None:
    with pytest.raises(LocalFileError):
        check_paths(paths)


def test_paths_that_lie_side_by_side() -> None:
    check_paths(["a/b/c", "a/b/d", "a/e", "ab", "b/a/c", "b/b"])


@given(st.lists(st.text(max_size=12) | st.from_regex(r"[./\\a:A]{1,8}", fullmatch=True), max_size=4))
def test_what_passes_stays_below_its_folder(paths: list[str]) -> None:
    try:
        check_paths(paths, windows=False)
    except LocalFileError as error:
        assert error.detail.isprintable()
        return
    for path in paths:
        for kind in (PurePosixPath, PureWindowsPath):
            assert not kind(path).is_absolute()
            assert ".." not in kind(path).parts
        assert Path("/root", path).as_posix() == f"/root/{path}"
    keys = [unicodedata.normalize("NFC", path).casefold() for path in paths]
    assert len(set(keys)) == len(keys)


@given(st.text(max_size=300))
def test_what_is_shown_is_no_command_to_a_terminal(path: str) -> None:
    assert show(path).isprintable()
    assert len(show(path)) <= 201


def test_what_is_ours() -> None:
    ours = [".modelkeep.json", ".modelkeep-partial", ".modelkeep-12.tmp"]
    assert [name for name in [*ours, ".modelkeepignore", "a.tmp"] if is_ours(name)] == ours
