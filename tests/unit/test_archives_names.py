# ruff: noqa: E501 - the tables have one case a line
"""Which paths a version may hold, alone and together."""

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry.archives import Limits, check_path, check_path_set, collision_key
from registry.errors import ArchiveError, InvalidError

GOOD = [
    "a", "a/b/c.txt", ".gitignore", "a b/c d", "...a", "a..b", "日本語/ü.txt", "Iñtërnâtiônàlizætiøn☃💩.txt", "❤️.txt",
    "console", "com10", "com", "lpt.txt", "nul_", "x.nul", "~", "-", "__proto__", "'", "a'b", "#%&+,;=@[]{}!$^`",
    "cafe\u0301", "Screenshot 3.04.11\u202fPM.png", "a" * 255, "/".join(["d" * 99] * 9) + "d", "/".join("d" * 32), "C",
]  # fmt: skip

BAD = [
    ("..", "traversal"), ("../e", "traversal"), ("a/../../e", "traversal"), ("..\\e", "traversal"),
    ("a\\..\\e", "traversal"), ("a/..", "traversal"), ("/../a", "traversal"),
    ("/etc/x", "absolute_path"), ("//h/s", "absolute_path"), ("\\\\h\\s", "absolute_path"),
    ("C:\\x", "absolute_path"), ("C:x", "absolute_path"), ("a:b", "absolute_path"), ("c:/x", "absolute_path"), ("/", "absolute_path"),
    ("", "bad_name"), ("a//b", "bad_name"), ("a/", "bad_name"), ("./a", "bad_name"), ("a/./b", "bad_name"), (".", "bad_name"),
    ("a\\b", "bad_name"), ("a\0b", "bad_name"), ("a\x01", "bad_name"), ("a\x1f", "bad_name"), ("a\x7f", "bad_name"),
    ("a\x85", "bad_name"), ("a\nb", "bad_name"), ("a\u202eb", "bad_name"), ("a\u2066b", "bad_name"), ("a\u200bb", "bad_name"),
    ("a\ufeffb", "bad_name"), ("a\u2028b", "bad_name"), ("a\u00adb", "bad_name"), ("a\ud800b", "bad_name"),
    ("a\ue000b", "bad_name"), ("a\u0378b", "bad_name"), ("a\uffff", "bad_name"), ("a\u3164b", "bad_name"),
    ("a<b", "bad_name"), ("a>b", "bad_name"), ('a"b', "bad_name"), ("a|b", "bad_name"), ("a?b", "bad_name"),
    ("a*b", "bad_name"), ("ab:stream", "bad_name"),
    ("CON", "bad_name"), ("nul", "bad_name"), ("Aux.py", "bad_name"), ("a/prn/b", "bad_name"), ("COM1.tar.gz", "bad_name"),
    ("lpt9", "bad_name"), ("com¹", "bad_name"), ("nul .txt", "bad_name"), ("CONIN$", "bad_name"),
    ("a.", "bad_name"), ("a ", "bad_name"), ("a./b", "bad_name"), ("a /b", "bad_name"), (" ", "bad_name"), ("...", "bad_name"),
    ("a" * 256, "name_too_long"), ("é" * 128, "name_too_long"), ("/".join(["d" * 99] * 9) + "/d", "name_too_long"),
    ("/".join("d" * 33), "name_too_long"),
]  # fmt: skip


@pytest.mark.parametrize("path", GOOD)
def test_a_good_path_is_returned_unchanged(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.case("Z1", "Z2", "Z3", "Z18")
@pytest.mark.parametrize(("path", "fault"), BAD)
def test_a_bad_path_is_refused_with_its_class(path: str, fault: str) -> None:
    with pytest.raises(ArchiveError) as refused:
        check_path(path)
    assert refused.value.code == f"archive_{fault}"
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 300


def test_a_path_that_a_client_gave_is_refused_as_a_path_not_as_an_archive() -> None:
    with pytest.raises(InvalidError) as refused:
        check_path("../a", subject="path")
    assert refused.value.code == "path_traversal"
    assert not isinstance(refused.value, ArchiveError)
    with pytest.raises(InvalidError, match="twice") as refused:
        check_path_set(["a", "a"], subject="path")
    assert refused.value.code == "path_duplicate"


def test_the_limits_given_are_the_limits_used() -> None:
    limits = Limits(max_path_bytes=5, max_segment_bytes=3, max_depth=2)
    assert check_path("abc/d", limits=limits) == "abc/d"
    for path in ("abcd", "abc/de", "a/b/c"):
        with pytest.raises(ArchiveError) as refused:
            check_path(path, limits=limits)
        assert refused.value.code == "archive_name_too_long"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A", "a"),
        ("straße", "STRASSE"),
        ("caf\u00e9", "cafe\u0301"),
        ("ﬁ", "FI"),
        ("Σ", "ς"),
        ("\u0390", "\u03aa\u0301"),
    ],
)
def test_names_that_some_system_takes_for_one_have_one_key(one: str, other: str) -> None:
    assert collision_key(one) == collision_key(other)


def test_different_names_have_different_keys() -> None:
    assert len({collision_key(path) for path in GOOD}) == len(GOOD)


@pytest.mark.case("Z6", "Z7", "Z8")
@pytest.mark.parametrize(
    ("files", "directories", "fault"),
    [
        (["a", "b", "a"], [], "duplicate"),
        (["a"], ["d", "d"], "duplicate"),
        (["A", "a"], [], "collision"),
        (["x/straße", "x/STRASSE"], [], "collision"),
        (["caf\u00e9", "cafe\u0301"], [], "collision"),
        (["D/a", "d/b"], [], "collision"),
        (["d/a"], ["D"], "collision"),
        (["a/B/c", "a/b/d"], [], "collision"),
        ([], ["x/D", "x/d"], "collision"),
        (["a", "a/b"], [], "file_dir_conflict"),
        (["a/b/c", "a"], [], "file_dir_conflict"),
        (["A", "a/b"], [], "file_dir_conflict"),
        (["a"], ["a"], "file_dir_conflict"),
        (["a"], ["a/b/c"], "file_dir_conflict"),
    ],
)
def test_paths_that_cannot_live_together_are_refused(files: list[str], directories: list[str], fault: str) -> None:
    with pytest.raises(ArchiveError) as refused:
        check_path_set(files, directories)
    assert refused.value.code == f"archive_{fault}"
    assert re.search(r"'.+'", refused.value.detail)


def test_paths_that_can_live_together_are_left_alone() -> None:
    check_path_set(["a", "b/a", "b/c/a", "ab", "c/b"], ["b", "b/c", "empty"])
    check_path_set([])


names = st.sampled_from(["a", "A", "b", "é", "e\u0301", "ß", "ss", "0"])
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@given(files=st.lists(paths, max_size=6), directories=st.lists(paths, max_size=3))
def test_neighbours_show_what_a_comparison_of_all_shows(files: list[str], directories: list[str]) -> None:
    folders = set(directories)
    for path in [*files, *directories]:
        folders |= {path.rsplit("/", depth)[0] for depth in range(1, path.count("/") + 1)}
    keys = [{collision_key(path) for path in each} for each in (files, directories, folders)]
    clash = (
        len(keys[0]) < len(files) or len(keys[1]) < len(directories) or len(keys[2]) < len(folders) or keys[0] & keys[2]
    )
    if not clash:
        check_path_set(files, directories)
        return
    with pytest.raises(ArchiveError):
        check_path_set(files, directories)


@pytest.mark.case("Z17", "Z18")
def test_folders_take_no_memory_of_their_own() -> None:
    """Paths as deep and as long as they may be, with not a folder in common."""
    listed = ["/".join([f"{number:05d}{'d' * 22}"] * 32) for number in range(5_000)]
    assert len(listed[0]) == 895
    tracemalloc.start()
    check_path_set(listed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 5_000 * 895  # the keys, and little else; a set of all 155,000 folders would take 30 times as much
