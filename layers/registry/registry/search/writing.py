"""Postings and vocabulary, as versions come, change and go."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from registry import records
from registry.records import PostingRow, VersionRow, WordRow
from registry.search.terms import posting_pk, posting_sk


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
