"""Listing and search by postings: what a page costs follows from what it returns, not from what is stored.

Every published version has a posting for each of its terms (all, model, framework, type, tag, readiness, beginnings of
words), sorted by creation. A list is a walk down one of them, a search the intersection of several, newest first,
merged lazily.
Postings are hints: written before the version changes, checked against it when read, removed after; so a crash leaves
at most hints that lead nowhere, and a reader that meets one removes it.
"""

from registry.search.terms import (
    ALL,
    BEGINNINGS,
    LATEST,
    MAX_WORD,
    beginning_term,
    posting_pk,
    posting_sk,
    split_sk,
    version_terms,
    version_words,
    words_of,
)
from registry.search.walking import (
    MAX_POSTINGS,
    Budget,
    Intersection,
    Query,
    TermPostings,
    open_postings,
)
from registry.search.writing import (
    add,
    add_first,
    make_postings,
    remove,
)

__all__ = [
    "ALL",
    "BEGINNINGS",
    "LATEST",
    "MAX_POSTINGS",
    "MAX_WORD",
    "Budget",
    "Intersection",
    "Query",
    "TermPostings",
    "add",
    "add_first",
    "beginning_term",
    "make_postings",
    "open_postings",
    "posting_pk",
    "posting_sk",
    "remove",
    "split_sk",
    "version_terms",
    "version_words",
    "words_of",
]
