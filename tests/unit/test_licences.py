"""What is shipped of others' is listed, and may be shipped."""

from __future__ import annotations

import pytest

from tests import licences


def test_what_is_shipped_has_a_licence_that_may_be_shipped() -> None:
    found = {name: licences.licence_of(name) for name in licences.shipped()}
    assert len(found) > 40
    assert {name: licence for name, licence in found.items() if not licences.may_be_shipped(licence)} == {}


def test_the_page_lists_it() -> None:
    text = licences.PAGE.read_text()
    assert licences.written(text).splitlines() == text.splitlines(), "python -m tests.licences --write docs/licences.md"


@pytest.mark.parametrize(
    ("licence", "may"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("(MIT AND BSD-3-Clause) OR GPL-2.0-only", True),
        ("MIT AND GPL-3.0-or-later", False),
        ("AGPL-3.0-only", False),
        ("SSPL-1.0", False),
        ("unknown", False),
        ("Proprietary", False),
    ],
)
def test_copyleft_beyond_lgpl_and_what_nobody_knows_may_not(licence: str, may: bool) -> None:
    assert licences.may_be_shipped(licence) is may
