"""Numbers and words for people."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelkeep.cli import text


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "1.0 MB"),
        (1_500_000, "1.5 MB"),
        (2_000_000_000, "2.0 GB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_sizes(number: int, shown: str) -> None:
    assert text.size(number) == shown


def test_no_presigned_url_and_no_bearer_is_left() -> None:
    said = text.scrub("GET 'https://s3/b/k?X-Amz-Signature=abc&x=1' Authorization: Bearer ey.a-b.c, then")
    assert said == "GET 'https://s3/b/k?…' Authorization: Bearer …, then"


@given(st.text(st.characters(exclude_categories=())))
def test_a_line_stays_one_line_that_no_terminal_obeys(said: str) -> None:
    line = text.clean(said)
    assert not [each for each in line if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert text.clean(line) == line
    if said.isprintable():
        assert line == said
