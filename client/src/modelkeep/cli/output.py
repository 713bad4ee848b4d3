"""What the command prints. Results go to stdout: tables on a terminal, lines with tabs in a pipe, JSON if that is asked
for. All else (progress, notes, errors) goes to stderr."""

from __future__ import annotations

import itertools
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from modelkeep.cli.text import clean, scrub
from modelkeep.errors import ModelkeepError

_BLOCK = 200  # rows a table: lists have no end, memory has
_T = TypeVar("_T")


class Output:
    """Where results, notes and errors go. `as_json`: results and errors are JSON. `quiet`: only errors, and
    the JSON that was asked for."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet

    @property
    def for_people(self) -> bool:
        """Results are wanted, and not as JSON."""
        return not self.as_json and not self.quiet

    def result(self, document: Any, *lines: str) -> None:
        """One thing: its JSON, or lines for people (which are cleaned here)."""
        if self.as_json:
            self._json(document)
        for line in lines:
            self.text(clean(line))

    def text(self, text: str) -> None:
        """Lines for people, which are clean already."""
        if self.for_people:
            click.echo(text)

    def rows(
        self,
        columns: Sequence[str],
        things: Iterable[_T],
        *,
        document: Callable[[_T], Any],
        cells: Callable[[_T], Sequence[Any]],
    ) -> int:
        """A list, as it comes: an object a line, a table on a terminal, else cells with tabs between. How many."""
        count = 0
        iterator = iter(things)
        while block := list(itertools.islice(iterator, _BLOCK if sys.stdout.isatty() else 1)):
            count += len(block)
            if self.as_json:
                for each in block:
                    self._json(document(each))
            elif not self.quiet:
                self.table(columns, [cells(each) for each in block])
        return count

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A few rows for people."""
        if not self.for_people:
            return
        texts = [[clean("" if cell is None else cell) for cell in row] for row in rows]
        if not sys.stdout.isatty():
            for row in texts:
                click.echo("\t".join(row).rstrip("\t"))
            return
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
        for name in columns:
            right = name in ("SIZE", "FILES", "SENT")
            table.add_column(Text(clean(name)), justify="right" if right else "left", no_wrap=right, overflow="fold")
        for row in texts:
            table.add_row(*(Text(cell) for cell in row))  # Text: brackets in it are brackets, not markup
        Console(file=sys.stdout, highlight=False).print(table)

    def note(self, text: str) -> None:
        """A line on stderr, for people who watch."""
        if not self.quiet:
            click.echo(clean(text), err=True)

    def error(self, error: ModelkeepError) -> None:
        """What went wrong and what to do next, on stderr."""
        if self.as_json:
            said = {
                "code": error.code,
                "detail": error.detail,
                "hint": error.hint,
                "status": error.status,
                "exit_code": error.exit_code,
                "extra": error.extra,
            }
            click.echo(scrub(json.dumps({"error": said}, default=str)), err=True)
            return
        click.echo(scrub(clean(f"error: {error.detail}")), err=True)
        if error.hint:
            click.echo(scrub(clean(f"hint: {error.hint}")), err=True)

    def trace(self, error: BaseException) -> None:
        """Where a fault of ours happened."""
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        click.echo(scrub("\n".join(clean(line) for line in text.splitlines())), err=True)

    def _json(self, document: Any) -> None:
        # ASCII: in any locale, for any terminal, whatever the registry said.
        click.echo(json.dumps(document))
