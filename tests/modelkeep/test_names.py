from __future__ import annotations

import pytest
from modelkeep.errors import UsageError
from modelkeep.names import Ref, parse_ref


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("alice/bert", Ref("alice", "bert")),
        ("alice/bert:v2", Ref("alice", "bert", "v2")),
        ("alice/bert:latest", Ref("alice", "bert")),
        ("auth0|a+b@c/bert.1_x-y:2024.1", Ref("auth0|a+b@c", "bert.1_x-y", "2024.1")),
        ("modelkeep://alice/bert:v2", Ref("alice", "bert", "v2")),
    ],
)
def test_a_version_is_named(text: str, ref: Ref) -> None:
    assert parse_ref(text) == ref
    assert parse_ref(ref) is ref
    assert parse_ref(str(ref)) == ref


def test_a_file_is_named_by_all_that_follows() -> None:
    ref = parse_ref("alice/bert:v2/weights/a b:c.pth", file=True)
    assert ref == Ref("alice", "bert", "v2", "weights/a b:c.pth")
    assert parse_ref("alice/bert/config.json", file=True) == Ref("alice", "bert", None, "config.json")
    assert parse_ref(str(ref), file=True) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bert",
        "alice/",
        "/bert",
        "alice/bert:",
        "alice/bert:a b",
        "alice/bert:..",
        "../bert",
        "alice/..",
        "a b/c",
        "alice/bert/config.json",
        "alice/bert:v1/",
        "alice/" + "a" * 129,
        "http://host/alice/bert",
    ],
)
def test_what_is_no_name_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_ref(text)
    assert caught.value.code.startswith("bad_")


@pytest.mark.parametrize("text", ["alice/bert", "alice/bert:v1", "alice/bert:v1/"])
def test_where_a_file_is_wanted_a_version_will_not_do(text: str) -> None:
    with pytest.raises(UsageError, match="PATH"):
        parse_ref(text, file=True)


def test_a_route_is_escaped() -> None:
    assert Ref("a|b+c", "m").route == "/ai-models/a%7Cb%2Bc/m"
