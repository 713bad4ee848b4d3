"""Listing and search by postings: what a page costs follows from what it returns, not from what is stored.

Every published version has a posting for each of its terms (all, model, framework, type, tag, readiness, word), sorted
by creation. A list is a walk down one of them, a search the intersection of several, newest first, merged lazily.
Postings are hints: written before the version changes, checked against it when read, removed after; so a crash leaves
at most hints that lead nowhere, and a reader that meets one removes it.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from registry import records
from registry.records import PostingRow, VersionRow, WordRow
from registry.schemas import VersionFields

MAX_EXPANSION = 64  # words that a prefix may stand for before it no longer leads the search, only checks it
MAX_POSTINGS = 5_000  # read for one page; then a cursor
MAX_WORD = 64  # characters of a word that count
_FIRST_CHUNK, _LARGEST_CHUNK = 16, 256
_WORD = re.compile(r"[^\W_]+")
ALL, LATEST = "*", "l"


def words_of(text: str) -> set[str]:
    """Runs of letters and digits, case-folded; compatibility forms as their plain ones."""
    return {word[:MAX_WORD] for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold())}


def version_words(model_id: str, fields: VersionFields) -> set[str]:
    """The words by which a version is found."""
    texts = [model_id, fields.name, fields.description, fields.algorithm, *(fields.tags or [])]
    return words_of(" ".join(text for text in texts if text))


def version_terms(model_id: str, fields: VersionFields) -> set[str]:
    """All terms of a version but `LATEST`, which depends on its siblings."""
    terms = {ALL, f"m:{model_id}", f"f:{fields.framework}", f"y:{fields.model_type}"}
    terms.add(f"r:{int(bool(fields.is_production_ready))}")
    terms |= {f"t:{tag.casefold()}" for tag in fields.tags or []}
    return terms | {f"w:{word}" for word in version_words(model_id, fields)}


def posting_pk(user_id: str, term: str, *, active: bool = True) -> str:
    """The partition of a term's postings; inactive versions have their own, so that nobody pays for passing them."""
    return f"P#{user_id}#{'a' if active else 'i'}#{term}"


def posting_sk(created: str, model_id: str, version: str) -> str:
    """What postings are sorted by."""
    return f"{created}#{model_id}#{version}"


def split_sk(sk: str) -> tuple[str, str, str]:
    """The inverse of `posting_sk`."""
    created, model_id, version = sk.split("#")
    return created, model_id, version


def make_postings(row: VersionRow, terms: Iterable[str], *, rev: int, active: bool) -> list[PostingRow]:
    """The postings of a version that has its `created`."""
    sk = posting_sk(row.created or "", row.model_id, row.version)
    return [
        PostingRow(
            posting_pk(row.user_id, term, active=active),
            sk,
            upload_id=row.upload_id,
            rev=rev,
            token=secrets.token_hex(6),
        )
        for term in terms
    ]


def add_first(row: VersionRow, terms: Iterable[str], *, active: bool) -> None:
    """Before publication: nobody else writes these postings, so they go in bulk. Words after their postings."""
    listed = list(terms)
    records.save_all(make_postings(row, listed, rev=0, active=active))
    _add_words(row.user_id, listed)


def add(row: VersionRow, terms: Iterable[str], *, rev: int, active: bool) -> None:
    """Before an update to revision `rev`: a posting that a later revision wrote is left alone."""
    listed = list(terms)

    def put(posting: PostingRow) -> None:
        records.save_if(posting, PostingRow.rev.does_not_exist() | (PostingRow.rev < rev))

    records.side_by_side(put, make_postings(row, listed, rev=rev, active=active))
    _add_words(row.user_id, listed)


def remove(row: VersionRow, terms: Iterable[str], *, rev: int, active: bool) -> None:
    """After an update to revision `rev`: takes away what it, or an earlier one, wrote; then words nobody has left."""
    listed = list(terms)

    def take(posting: PostingRow) -> None:
        records.delete_if(posting, (PostingRow.upload_id == row.upload_id) & (PostingRow.rev <= rev))

    records.side_by_side(take, make_postings(row, listed, rev=rev, active=active))
    remove_words(row.user_id, {term[2:] for term in listed if term.startswith("w:")})


def _add_words(user_id: str, terms: Iterable[str]) -> None:
    words = [term[2:] for term in terms if term.startswith("w:")]
    records.save_all(WordRow(f"W#{user_id}", word, token=secrets.token_hex(6)) for word in words)


def remove_words(user_id: str, words: Iterable[str]) -> None:
    """Takes words out of the vocabulary that have no posting. Who adds one writes its posting first and its word, with
    a new token, second; so either the posting is seen here or the token differs."""

    def take(word: str) -> None:
        row = WordRow.find(f"W#{user_id}", word)
        if row is not None and not any(
            _newest_posting(posting_pk(user_id, f"w:{word}", active=active)) for active in (True, False)
        ):
            records.delete_if(row, WordRow.token == row.token)

    records.side_by_side(take, words)


def _newest_posting(pk: str) -> PostingRow | None:
    return next(iter(PostingRow.query(pk, scan_index_forward=False, limit=1, consistent_read=True)), None)


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

    def matches(self, model_id: str, fields: VersionFields) -> bool:
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
    chunk = min(expected + 1, _LARGEST_CHUNK) if len(leading) == 1 and len(leading[0]) == 1 else _FIRST_CHUNK
    return [
        of(terms[0], chunk) if len(terms) == 1 else AnyPostings([of(term, chunk) for term in terms])
        for terms in leading
    ]


def intersect(postings: list[Postings], budget: Budget) -> Iterator[list[PostingRow]]:
    """What all of them have, newest first: for each version one posting of each. Each list leaps to the oldest head of
    the others, so the rarest sets the pace. Ends when one is at its end or the budget is."""
    while postings and budget.left > 0:
        heads = [each.peek() for each in postings]
        found = [head for head in heads if head is not None]
        if len(found) < len(heads):
            return
        oldest = min(head.sk for head in found)
        if all(head.sk == oldest for head in found):
            yield found
            for each in postings:
                each.drop(oldest)
        else:
            for each in postings:
                each.skip_to(oldest)
