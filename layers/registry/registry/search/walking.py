"""Finding versions: postings read in chunks, and intersected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from registry.records import PostingRow
from registry.schemas.words import Fields
from registry.search.terms import ALL, LATEST, beginning_term, posting_pk, split_sk, version_terms, version_words

MAX_POSTINGS = 5_000  # read for one page; then a cursor
_FIRST_CHUNK, _LARGEST_CHUNK = 64, 256  # 28 postings are a read unit


@dataclass(frozen=True, slots=True)
class Query:
    """What a list or search asks for; `words` are case-folded and each must begin some word of the version. `seen`:
    which models it may find, None all of them."""

    user_id: str
    model_id: str | None = None
    framework: str | None = None
    model_type: str | None = None
    tags: tuple[str, ...] = ()
    ready: bool | None = None
    active: bool = True
    latest: bool = False
    words: tuple[str, ...] = ()
    seen: Callable[[str], bool] | None = None

    def terms(self) -> list[str]:
        """What a version that is found has for certain; its words are checked beyond that."""
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
        return terms + [term for word in self.words if (term := beginning_term(word)) is not None]

    def matches(self, model_id: str, fields: Fields) -> bool:
        """Whether a version is what is asked for, by itself (not by its siblings)."""
        terms = version_terms(model_id, fields)
        if not all(term in terms for term in self.terms() if term != LATEST):
            return False
        words = version_words(model_id, fields) if self.words else set()
        return all(any(word.startswith(wanted) for word in words) for wanted in self.words)


class Budget:
    """How many postings may still be read."""

    def __init__(self, postings: int) -> None:
        self.left = postings


class TermPostings:
    """The postings of one term, newest first, read in growing chunks from `before` down."""

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


def open_postings(query: Query, *, before: str | None, budget: Budget, expected: int) -> list[TermPostings]:
    """The postings whose intersection holds every answer, and what its words alone can leave out."""
    terms = dict.fromkeys(query.terms() or [ALL])
    # One list is read in one go; opening many must not use up what there is to read.
    chunk = min(expected + 1, _LARGEST_CHUNK)
    if len(terms) > 1:
        chunk = max(1, min(chunk, _FIRST_CHUNK, budget.left // (4 * len(terms))))
    return [TermPostings(posting_pk(query.user_id, term, active=query.active), before, budget, chunk) for term in terms]


class Intersection:
    """What all of some postings have, newest first. Each list leaps to the oldest head of the others, so that the
    rarest sets the pace. Ends when one of them is at its end, or the budget is. Models that are not to be `seen` are
    passed over."""

    def __init__(self, postings: list[TermPostings], budget: Budget, seen: Callable[[str], bool] | None = None) -> None:
        self._postings, self._budget, self._seen = postings, budget, seen
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
                if self._seen is None or self._seen(split_sk(oldest)[1]):
                    return found
                continue
            for each in self._postings:
                each.skip_to(oldest)
        raise StopIteration

    @property
    def cut_off(self) -> str | None:
        """Where to go on if the budget ended it; None if it came to its end, or was not walked so far."""
        if self._ended or self._budget.left > 0 or self._reached is None:
            return None
        # A cursor can be read: of a model that is not to be seen it says when, not which. That moment is read again.
        return self._reached if self._seen is None else f"{self._reached.split('#')[0]}#~"
