"""Which tests carry which case, for docs/guarantees.md: `python -m tests.guarantees --write docs/guarantees.md` writes
them into its table. A test (tests/unit/test_guarantees.py) holds the page against the tests."""

from __future__ import annotations

import argparse
import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/guarantees.md"
# How many cases there are of a kind.
KINDS = {"U": 23, "Z": 24, "A": 16, "N": 16, "T": 10, "S": 5}
CASES = [f"{kind}{number}" for kind, count in KINDS.items() for number in range(1, count + 1)]
OTHERS = ["M12"]  # of models' content, of which the rest is nobody's here
NO = "Does not apply: "
_ROW = re.compile(r"^\| ([A-Z]\d+) \| (.+?) \| (.*) \|$", re.MULTILINE)
_SHOWN = 3  # tests of a file by name


class Carrier(NamedTuple):
    """What carries a case: a function, a class of tests, or (no name) all of a file."""

    path: str
    name: str
    case: str


class MarkerError(Exception):
    """A case that is no literal text."""


@cache
def carriers() -> list[Carrier]:
    """All of them, in the order of files and lines."""
    return [each for path in sorted((ROOT / "tests").rglob("*.py")) for each in carriers_in(path)]


def carriers_in(path: Path) -> Iterator[Carrier]:
    """Those of a file: by decorators and marks of its functions and classes, else by the file."""
    tree = ast.parse(path.read_text())
    where = path.relative_to(ROOT).as_posix()
    known = defaultdict(list)  # tables of parameters, which functions name in their decorators
    functions = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            functions.append(node)
        elif cases := _cases_in(node, where):
            known[_target(node)] += cases
    used = set()
    for node in functions:
        names = {each.id for mark in node.decorator_list for each in ast.walk(mark) if isinstance(each, ast.Name)}
        used |= names
        for case in [*_cases_in(node, where), *(case for name in names & known.keys() for case in known[name])]:
            yield Carrier(where, node.name, case)
    for name, cases in known.items():
        if name not in used:
            for case in cases:
                yield Carrier(where, "", case)


def _cases_in(node: ast.AST, where: str) -> list[str]:
    found = []
    for call in ast.walk(node):
        if not isinstance(call, ast.Call) or ast.unparse(call.func) != "pytest.mark.case":
            continue
        for given in call.args:
            each = given.value if isinstance(given, ast.Starred) else given
            for value in each.elts if isinstance(each, ast.Tuple | ast.List) else [each]:
                if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
                    raise MarkerError(f"{where}:{call.lineno}: {ast.unparse(given)} is no literal text")
                found.append(value.value)
    return found


def _target(node: ast.AST) -> str:
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0])
    return ast.unparse(node.target) if isinstance(node, ast.AnnAssign) else ""


def table(page: str) -> dict[str, str]:
    """What the page has in its last column, by case."""
    return {case: last for case, _, last in _ROW.findall(page)}


def written(page: str) -> str:
    """The page with the tests that there are now; what is said not to apply stays."""
    by_case = defaultdict(list)
    for each in carriers():
        by_case[each.case].append(each)

    def row(match: re.Match[str]) -> str:
        case, words, last = match.groups()
        if not last.startswith(NO):
            last = _links(by_case[case])
        return f"| {case} | {words} | {last} |"

    return _ROW.sub(row, page)


def _links(found: list[Carrier]) -> str:
    by_path: dict[str, list[str]] = defaultdict(list)
    for each in found:
        if each.name not in by_path[each.path]:
            by_path[each.path].append(each.name)
    shown = []
    for path, names in by_path.items():
        link = f"[{path.removeprefix('tests/')}](../{path})"
        if "" not in names:
            named = f": {', '.join(names)}" if len(names) <= _SHOWN else f": {len(names)} tests"
            link += named
        shown.append(link)
    return "; ".join(shown)


def main() -> None:
    """Write the page, or print what it would be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    path = parser.parse_args().write
    text = written((path or PAGE).read_text())
    if path:
        path.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
