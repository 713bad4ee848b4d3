"""Finding versions: postings read in chunks, united, intersected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from registry import records
from registry.records import PostingRow, WordRow
from registry.schemas.words import Fields
from registry.search.terms import ALL, LATEST, posting_pk, version_terms

MAX_EXPANSION = 64  # words that a prefix may stand for before it no longer leads the search, only checks it
MAX_POSTINGS = 5_000  # read for one page; then a cursor
_FIRST_CHUNK, _LARGEST_CHUNK = 16, 256


@dataclass(frozen=True, slots=True)
class Query:
    """What a list or search asks for; `words` are case-folded and each must begin some word of the version."""

    user_id: str
    model_id: str | None = None
    framework: str | None = None
    model_type: str | None = None
    tags: tuple[str, ...] = ()
    ready: bool | None = None
    active: bool = True
    latest: bool = False
    words: tuple[str, ...] = ()

    def terms(self) -> list[str]:
        """The terms that lead the search, but for its words."""
        terms = [f"t:{tag}" for tag in self.tags]
        if self.model_id is not None:
            terms.append(f"m:{self.model_id}")
        if self.framework is not None:
            terms.append(f"f:{self.framework}")
        if self.model_type is not None:
            terms.append(f"y:{self.model_type}")
        if self.ready is not None:
            terms.append(f"r:{int(self.ready)}")
        if self.latest:
            terms.append(LATEST)
        return terms

    def matches(self, model_id: str, fields: Fields) -> bool:
        """Whether a version is what is asked for, by itself (not by its siblings)."""
        terms = version_terms(model_id, fields)
        if not all(term in terms for term in self.terms() if term != LATEST):
            return False
        words = {term[2:] for term in terms if term.startswith("w:")}
        return all(any(word.startswith(wanted) for word in words) for wanted in self.words)


class Budget:
    """How many postings may still be read."""

    def __init__(self, postings: int) -> None:
        self.left = postings


class Postings(Protocol):
    """Postings, newest first."""

    def peek(self) -> PostingRow | None:
        """The newest one left, or None at the end."""

    def skip_to(self, sk: str) -> None:
        """Leaves out all that are newer than `sk`."""

    def drop(self, sk: str) -> None:
        """Leaves out `sk` and all that are newer."""


class TermPostings:
    """The postings of one term, read in growing chunks from `before` down."""

    def __init__(self, pk: str, before: str | None, budget: Budget, chunk: int) -> None:
        self._pk, self._before, self._inclusive = pk, before, False
        self._budget, self._chunk = budget, chunk
        self._buffer: list[PostingRow] = []  # oldest first, so that the newest is popped from the end
        self._ended = False

    def peek(self) -> PostingRow | None:
        """The newest one left, or None at the end."""
        if not self._buffer and not self._ended:
            self._read()
        return self._buffer[-1] if self._buffer else None

    def skip_to(self, sk: str) -> None:
        """Leaves out all that are newer than `sk`; what is not yet read is never read."""
        while self._buffer and self._buffer[-1].sk > sk:
            self._buffer.pop()
        if not self._buffer and (self._before is None or sk < self._before):
            self._before, self._inclusive = sk, True

    def drop(self, sk: str) -> None:
        """Leaves out `sk` and all that are newer."""
        while self._buffer and self._buffer[-1].sk >= sk:
            self._buffer.pop()

    def _read(self) -> None:
        condition = None
        if self._before is not None:
            condition = PostingRow.sk <= self._before if self._inclusive else PostingRow.sk < self._before
        found = list(
            PostingRow.query(self._pk, condition, scan_index_forward=False, limit=self._chunk, consistent_read=True)
        )
        self._budget.left -= len(found)
        self._ended = len(found) < self._chunk
        if found:
            self._before, self._inclusive = found[-1].sk, False
        self._buffer = found[::-1]
        self._chunk = min(2 * self._chunk, _LARGEST_CHUNK)


class AnyPostings:
    """The union of several terms' postings: a prefix that several words begin with."""

    def __init__(self, terms: list[TermPostings]) -> None:
        self._terms = terms
        records.side_by_side(lambda term: term.peek(), terms)

    def peek(self) -> PostingRow | None:
        """The newest one left of any term."""
        return max((head for term in self._terms if (head := term.peek())), key=lambda head: head.sk, default=None)

    def skip_to(self, sk: str) -> None:
        """Leaves out all that are newer than `sk`."""
        for term in self._terms:
            term.skip_to(sk)

    def drop(self, sk: str) -> None:
        """Leaves out `sk` and all that are newer."""
        for term in self._terms:
            term.drop(sk)


def open_postings(query: Query, *, before: str | None, budget: Budget, expected: int) -> list[Postings]:
    """The postings whose intersection holds every answer; an empty list where there can be none."""

    def of(term: str, chunk: int) -> TermPostings:
        return TermPostings(posting_pk(query.user_id, term, active=query.active), before, budget, chunk)

    leading: list[list[str]] = [[term] for term in query.terms()]
    for word in query.words:
        # A prefix that begins a great many words says little: it then only checks what the other terms find.
        found = [
            row.sk
            for row in WordRow.query(
                f"W#{query.user_id}", WordRow.sk.startswith(word), limit=MAX_EXPANSION + 1, consistent_read=True
            )
        ]
        if not found:
            return []
        if len(found) <= MAX_EXPANSION:
            leading.append([f"w:{each}" for each in found])
    if not leading:
        leading = [[ALL]]
    lists = sum(map(len, leading))
    # One list is read in one go; opening many must not use up what there is to read.
    several = max(1, min(_FIRST_CHUNK, budget.left // (4 * lists)))
    chunk = min(expected + 1, _LARGEST_CHUNK) if lists == 1 else several
    return [
        of(terms[0], chunk) if len(terms) == 1 else AnyPostings([of(term, chunk) for term in terms])
        for terms in leading
    ]


class Intersection:
    """What all of some postings have, newest first. Each list leaps to the oldest head of the others, so that the
    rarest sets the pace. Ends when one of them is at its end, or the budget is."""

    def __init__(self, postings: list[Postings], budget: Budget) -> None:
        self._postings, self._budget = postings, budget
        self._ended = not postings
        self._reached: str | None = None

    def __iter__(self) -> Iterator[list[PostingRow]]:
        return self

    def __next__(self) -> list[PostingRow]:
        """For the next version one posting of each list."""
        while not self._ended and (self._budget.left > 0 or self._reached is None):  # one step at least
            heads = [each.peek() for each in self._postings]
            found = [head for head in heads if head is not None]
            if len(found) < len(heads):
                self._ended = True
                break
            oldest = min(head.sk for head in found)
            # Just above it, as the next page begins below its cursor.
            self._reached = f"{oldest}\0"
            if all(head.sk == oldest for head in found):
                for each in self._postings:
                    each.drop(oldest)
                self._reached = oldest
                return found
            for each in self._postings:
                each.skip_to(oldest)
        raise StopIteration

    @property
    def cut_off(self) -> str | None:
        """Where to go on if the budget ended it; None if it came to its end, or was not walked so far."""
        return None if self._ended or self._budget.left > 0 else self._reached
