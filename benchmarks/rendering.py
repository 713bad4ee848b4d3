"""`RESULTS.md` and the charts, from what the benchmarks wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import OURS, show

_INK, _OURS, _THEIRS, _PAPER = "#1f2328", "#0969da", "#aeb6bf", "#ffffff"


def render(results: Sequence[Mapping[str, Any]], *, facts: Sequence[str], left_out: Sequence[str]) -> str:
    """The page. `facts` say when and on what it was measured; `left_out` what was not."""
    met = sum(goal["met"] for result in results for goal in result["goals"])
    count = sum(len(result["goals"]) for result in results)
    lines = ["# Results", "", "Written by `make bench`; do not edit.", "", *(f"- {fact}" for fact in facts)]
    lines += [f"- Left out: {each}" for each in left_out]
    lines += ["", "## Goals", "", f"{met} of {count} are met.", ""]
    goals = [
        [result["title"], goal["goal"], goal["reached"], "yes" if goal["met"] else "**no**"]
        for result in results
        for goal in result["goals"]
    ]
    lines += _table(["", "goal", "reached", "met"], goals)
    for result in results:
        lines += ["", f"## {result['title']}", ""]
        for note in result["notes"]:
            lines += [note, ""]
        for chart in result["charts"]:
            lines += [f"![{chart['title']}, {chart['unit']}](charts/{chart['name']}.png)"]
        for table in result["tables"]:
            lines += ["", f"**{table['title']}**", "", *_table(table["columns"], table["rows"])]
    lines += ["", "## Versions", ""]
    versions = {name: version for result in results for name, version in result["versions"].items()}
    lines += _table(["", ""], [[name, version] for name, version in sorted(versions.items(), key=_by_name)])
    return "\n".join(lines) + "\n"


def _by_name(entry: tuple[str, str]) -> str:
    return entry[0].lower()


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """As Markdown; numbers to the right."""
    numbers = [all(_is_number(row[index]) for row in rows) for index in range(len(columns))]
    head = [f"| {' | '.join(columns)} |", f"| {' | '.join('--:' if right else ':--' for right in numbers)} |"]
    return head + [f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


def _is_number(cell: object) -> bool:
    return str(cell)[:1] in set("0123456789-<≤") or cell == ""


def draw(chart: Mapping[str, Any], folder: Path) -> Path:
    """One chart as PNG: horizontal bars on paper of its own, so that it can be read on light and dark."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels, values = list(chart["bars"]), list(chart["bars"].values())
    figure = Figure(figsize=(6.4, 0.7 + 0.34 * len(labels)), dpi=120, facecolor=_PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{chart['title']}\n{chart['unit']}", x=0.01, ha="left", fontsize=9.5, color=_INK)
    axes = figure.add_subplot(facecolor=_PAPER)
    colours = [_OURS if label.lower().startswith(OURS.lower()) else _THEIRS for label in labels]
    bars = axes.barh(labels, values, color=colours, height=0.66)
    axes.bar_label(bars, [show(float(value)) for value in values], padding=4, color=_INK, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0, labelcolor=_INK, labelsize=9)
    axes.spines[:].set_visible(False)
    path = folder / f"{chart['name']}.png"
    figure.savefig(path, metadata={"Software": None})
    return path
