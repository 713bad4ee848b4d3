"""Postings, as versions come, change and go."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from registry import records
from registry.records import PostingRow, VersionRow
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
    """Before publication: nobody else writes these postings, so they go in bulk."""
    records.save_all(make_postings(row, terms, rev=0, active=active))


def add(row: VersionRow, terms: Iterable[str], *, rev: int, active: bool) -> None:
    """Before an update to revision `rev`: a posting that a later revision wrote is left alone."""

    def put(posting: PostingRow) -> None:
        records.save_if(posting, PostingRow.rev.does_not_exist() | (PostingRow.rev < rev))

    records.side_by_side(put, make_postings(row, terms, rev=rev, active=active))


def remove(row: VersionRow, terms: Iterable[str], *, rev: int, active: bool) -> None:
    """After an update to revision `rev`: takes away what it, or an earlier one, wrote."""

    def take(posting: PostingRow) -> None:
        records.delete_if(posting, (PostingRow.upload_id == row.upload_id) & (PostingRow.rev <= rev))

    records.side_by_side(take, make_postings(row, terms, rev=rev, active=active))
