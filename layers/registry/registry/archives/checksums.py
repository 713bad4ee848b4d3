"""CRC-32 of parts put together, without their bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from isal import isal_zlib

from registry.archives.layout import Entry, Segment

_POLYNOMIAL = 0xEDB88320  # of ZIP and of S3, bits reflected
Tables = list[list[int]]


def crc32_combine(first: int, second: int, length: int) -> int:
    """The CRC-32 of two stretches of bytes, one after the other, from that of each and the length of the second."""
    # The register is linear over GF(2): `length` zero bytes move the first as if the second's bytes had followed it.
    power = 0
    while length:
        if length & 1:
            first = _apply(_zeros(power), first)
        length >>= 1
        power += 1
    return first ^ second


def crc32_archive(segments: Sequence[Segment], entries: Sequence[Entry]) -> int:
    """The CRC-32 of a planned archive, as its files' own are known."""
    crc = 0
    for segment in segments:
        if segment.entry is None:
            crc = isal_zlib.crc32(segment.data or b"", crc)
        else:
            crc = crc32_combine(crc, entries[segment.entry].crc32, segment.length)
    return crc


@cache
def _zeros(power: int) -> Tables:
    """What 2^power zero bytes do to the register, by each of its four bytes."""
    if power == 0:
        return _tabulate(_zero_byte)
    half = _zeros(power - 1)
    return _tabulate(lambda register: _apply(half, _apply(half, register)))


def _zero_byte(register: int) -> int:
    for _ in range(8):
        register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
    return register


def _tabulate(change: Callable[[int], int]) -> Tables:
    tables: Tables = []
    for shift in (0, 8, 16, 24):
        table = [0]
        for bit in range(8):
            column = change(1 << shift + bit)
            table += [column ^ value for value in table]
        tables.append(table)
    return tables


def _apply(tables: Tables, register: int) -> int:
    low, second, third, high = tables
    return low[register & 255] ^ second[register >> 8 & 255] ^ third[register >> 16 & 255] ^ high[register >> 24]
