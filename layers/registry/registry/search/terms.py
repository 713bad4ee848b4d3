"""What a version is found by: its terms, and the keys of their postings."""

from __future__ import annotations

import re
import unicodedata

from registry.schemas.words import Fields

MAX_WORD = 64  # characters of a word that count
BEGINNINGS = (2, 3, 5, 8)  # lengths at which the beginning of a word is a term
ALL, LATEST = "*", "l"
_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> set[str]:
    """Runs of letters and digits, case-folded; compatibility forms as their plain ones."""
    return {word[:MAX_WORD] for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold())}


def version_words(model_id: str, fields: Fields) -> set[str]:
    """The words by which a version is found."""
    texts = [model_id, fields.name, fields.description, fields.algorithm, *(fields.tags or [])]
    return words_of(" ".join(text for text in texts if text))


def version_terms(model_id: str, fields: Fields) -> set[str]:
    """All terms of a version but `LATEST`, which depends on its siblings."""
    terms = {ALL, f"m:{model_id}", f"f:{fields.framework}", f"y:{fields.model_type}"}
    terms.add(f"r:{int(bool(fields.is_production_ready))}")
    terms |= {f"t:{tag.casefold()}" for tag in fields.tags or []}
    words = version_words(model_id, fields)
    return terms | {f"w:{word[:length]}" for word in words for length in BEGINNINGS if len(word) >= length}


def beginning_term(word: str) -> str | None:
    """The term that all versions have of which some word begins with `word`, and the fewer others the better: that of
    its longest beginning. None for a single letter."""
    length = max((each for each in BEGINNINGS if each <= len(word)), default=None)
    return f"w:{word[:length]}" if length is not None else None


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
