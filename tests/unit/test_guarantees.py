"""docs/guarantees.md: each case is carried by a test or says why it does not apply, and what it links to is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests import guarantees
from tests.guarantees import CASES, NO, OTHERS, PAGE, ROOT, MarkerError, carriers, carriers_in

TEXT = PAGE.read_text()
DOCUMENTS = [PAGE, ROOT / "SECURITY.md"]
_LINK = re.compile(r"\[([^]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


@pytest.mark.parametrize("case", CASES)
def test_a_case_is_tested_or_says_why_it_does_not_apply(case: str) -> None:
    last = guarantees.table(TEXT)[case]
    tested = [each for each in carriers() if each.case == case]
    if last.startswith(NO):
        assert len(last) > len(NO) + 20, "why not?"
        assert tested == [], "it does apply, as it is tested"
    else:
        assert tested, "no test carries it, and nothing says why"


def test_no_test_carries_a_case_that_there_is_not() -> None:
    assert {each.case for each in carriers()} <= {*CASES, *OTHERS}


def test_the_table_has_each_case_once_and_in_order() -> None:
    assert [case for case, _, _ in guarantees._ROW.findall(TEXT)] == CASES


def test_the_table_names_the_tests_that_there_are() -> None:
    assert guarantees.written(TEXT).splitlines() == TEXT.splitlines(), (
        "python -m tests.guarantees --write docs/guarantees.md"
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_linked_to_is_there(document: Path) -> None:
    links = [found for found in _LINK.findall(document.read_text()) if "://" not in found[1]]
    assert links
    for words, target, _ in links:
        path = (document.parent / target).resolve()
        assert path.exists(), target
        if words.strip("`").startswith("test_") and not words.endswith(".py"):
            names = {each.name for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.FunctionDef)}
            assert words.strip("`") in names, f"{words} in {target}"


SAMPLE = """
import pytest
pytestmark = pytest.mark.case("U1")
TABLE = [pytest.param(1, marks=pytest.mark.case("U2")), pytest.param(2)]
LOST = [pytest.param(1, marks=[pytest.mark.long, pytest.mark.case("U3")])]

@pytest.mark.case("U4", *("U5",))
@pytest.mark.parametrize("n", TABLE)
def test_a(n): ...

@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.case("U6"))])
def test_b(n): ...

class TestC:
    @pytest.mark.case("U7")
    def test_d(self): ...
"""


def test_cases_are_found_wherever_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarantees, "ROOT", tmp_path)
    (tmp_path / "test_x.py").write_text(SAMPLE)
    assert sorted((each.case, each.name) for each in carriers_in(tmp_path / "test_x.py")) == [
        ("U1", ""),
        ("U2", "test_a"),
        ("U3", ""),
        ("U4", "test_a"),
        ("U5", "test_a"),
        ("U6", "test_b"),
        ("U7", "TestC"),
    ]
    (tmp_path / "test_y.py").write_text("import pytest\nNAME = 'U1'\npytestmark = pytest.mark.case(NAME)\n")
    with pytest.raises(MarkerError, match=r"test_y\.py:3"):
        list(carriers_in(tmp_path / "test_y.py"))
