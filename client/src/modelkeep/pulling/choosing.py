"""Which files of a version are meant by patterns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pathspec

from modelkeep.errors import NotFoundError, UsageError
from modelkeep.names import Ref
from modelkeep.pulling.listing import Item
from modelkeep.pulling.paths import show


class Selection:
    """Files whose path matches one of the patterns, as in .gitignore (`*.json` at any depth, `weights/`, `!not/this`),
    or is one of them to the letter; no patterns: all."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._exact = frozenset(patterns)
        try:
            self._spec = pathspec.GitIgnoreSpec.from_lines(patterns) if patterns else None
        except ValueError as error:
            raise UsageError(f"a pattern can't be understood: {error}", code="bad_pattern") from error

    def __contains__(self, path: str) -> bool:
        return self._spec is None or path in self._exact or bool(self._spec.match_file(path))


def choose(items: Iterable[Item], patterns: Sequence[str], ref: Ref) -> list[Item]:
    """Those that the patterns mean; NotFoundError where that is none of them."""
    selection = Selection(patterns)
    chosen: list[Item] = []
    others: list[str] = []
    count = 0
    for item in items:
        count += 1
        if item.path in selection:
            chosen.append(item)
        elif len(others) < 5:
            others.append(show(item.path))
    if patterns and not chosen:
        there = (
            f"it has {', '.join(others)}{f' and {count - 5} more' if count > 5 else ''}" if others else "it has none"
        )
        raise NotFoundError(
            f"no file of {ref} matches {' or '.join(map(show, patterns))}: {there}",
            code="no_match",
            hint="`modelkeep files` lists them all; patterns are as in .gitignore: quote them for the shell.",
        )
    return chosen
