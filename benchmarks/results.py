"""What a benchmark finds, as it hands it to `python -m benchmarks`: tables, charts and goals, in one JSON file."""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SIZES = ("tiny", "small", "full")
OURS = "Modelkeep"  # a bar whose label begins so is ours


class InsaneError(Exception):
    """A figure that no run can have given: the benchmark is broken."""


@dataclass
class Result:
    """One benchmark, run once. The names are those of the JSON."""

    title: str
    notes: list[str] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    charts: list[dict[str, Any]] = field(default_factory=list)
    goals: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table; numbers are shown with two or three digits that count."""
        shown = [[each if isinstance(each, str) else show(each) for each in row] for row in rows]
        self.tables.append({"title": title, "columns": list(columns), "rows": shown})

    def chart(self, name: str, title: str, unit: str, bars: dict[str, float]) -> None:
        """A bar chart; `name` is its file's."""
        self.charts.append({"name": name, "title": title, "unit": unit, "bars": bars})

    def goal(self, goal: str, value: float, limit: float, unit: str = "", *, at_least: bool = False) -> None:
        """A goal, what was reached, and by how much it was missed."""
        met = value >= limit if at_least else value <= limit
        reached = f"{show(value)}{unit}"
        if not met:
            reached += f" (missed by {abs(value / limit - 1):.0%})" if limit else " (missed)"
        self.goals.append({"goal": goal, "reached": reached, "met": met})

    def write(self, path: Path) -> None:
        """As JSON, if its figures are sane."""
        check(asdict(self))
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def show(value: object) -> str:
    """A number as people read it."""
    if not isinstance(value, int | float):
        return "" if value is None else str(value)
    if value == 0 or isinstance(value, int):
        return str(value)
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 4)}f}"


def check(result: dict[str, Any]) -> None:
    """InsaneError for a result without figures, a table whose rows do not fit, a bar that is no positive number."""
    title = result["title"]
    if not result["tables"]:
        raise InsaneError(f"{title}: there is no table")
    for table in result["tables"]:
        if not table["rows"] or any(len(row) != len(table["columns"]) for row in table["rows"]):
            raise InsaneError(f"{title}: the table {table['title']!r} has no rows, or rows of another length")
        if any(str(cell) in ("nan", "inf", "-inf") for row in table["rows"] for cell in row):
            raise InsaneError(f"{title}: the table {table['title']!r} has a cell that is no number")
    for chart in result["charts"]:
        if not chart["bars"] or not all(math.isfinite(bar) and bar > 0 for bar in chart["bars"].values()):
            raise InsaneError(f"{title}: the chart {chart['name']!r} has a bar that is no positive number")
    for goal in result["goals"]:
        if not goal["goal"] or not goal["reached"] or not isinstance(goal["met"], bool):
            raise InsaneError(f"{title}: a goal says nothing: {goal}")


def median_ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """How many times as much theirs is: the median of the ratios of one round each, so that a slow minute of the
    machine, which falls on a round, does not count."""
    return statistics.median(their / our for their, our in zip(theirs, ours, strict=True))


def notes_of(docstring: str | None) -> list[str]:
    """What a benchmark says of itself below its first line."""
    return [" ".join(each.split()) for each in (docstring or "").split("\n\n")[1:]]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every benchmark takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=SIZES, default="full", help="how much is moved (%(default)s)")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the result goes")
    return parser


def megabytes(text: str) -> int:
    """`3GB`, `500MB` or a number of MB, in bytes."""
    upper = text.upper().removesuffix("B")
    factor = {"G": 1_000_000_000, "M": 1_000_000}.get(upper[-1:], 1_000_000)
    return int(float(upper.rstrip("GM")) * factor)
