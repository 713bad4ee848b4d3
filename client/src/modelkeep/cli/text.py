"""Words and numbers for people. What the registry says is not trusted: it may hold a terminal's commands."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, direction-changing, lone surrogates, odd line ends
_PRESIGNED = re.compile(r"\?[^\s\"'<>)]*X-Amz-[^\s\"'<>)]*", re.IGNORECASE)
_BEARER = re.compile(r"Bearer\s+[^\s\"'\\,]+", re.IGNORECASE)


def clean(value: Any) -> str:
    """One line that no terminal obeys: white space is a blank, control and invisible characters are a �."""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    text = re.sub(r"[\t\r\n\v\f]+", " ", text)
    return "".join("\ufffd" if unicodedata.category(each) in _INVISIBLE else each for each in text)


def clean_lines(value: Any) -> str:
    """The same, with its line ends."""
    return "\n".join(clean(line) for line in str(value).splitlines())


def scrub(text: str) -> str:
    """Without the query of a presigned URL and without a bearer's token, wherever they slipped in."""
    return _BEARER.sub("Bearer …", _PRESIGNED.sub("?…", text))


def size(count: float) -> str:
    """Bytes in decimal units, as disks and networks count: `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def moment(time: str | None) -> str:
    """An RFC 3339 time in UTC to the second, shorter: `2026-11-26 10:00:05`."""
    return clean((time or "").replace("T", " ").removesuffix("Z")[:19])


def count(number: int, word: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")
