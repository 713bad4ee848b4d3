"""From a member's bytes in the archive to its content, in bounded memory, checked while it passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from isal import isal_zlib

from registry.archives.blocks import RAW_DEFLATE, InflateError, Inflater
from registry.archives.faults import Fault, refusal, show
from registry.archives.limits import KIB
from registry.archives.records import DEFLATED
from registry.archives.structure import Member
from registry.hashing import ResumableHash

# 256 KiB in and 512 KiB out were the fastest (docs/archives.md): the output is still in the cache for the hashes.
_INPUT_BYTES = 256 * KIB
PIECE_BYTES = 512 * KIB

_INFLATE_ERRORS = (cast("type[Exception]", isal_zlib.error), InflateError)  # isal's stub calls its own an instance


class MemberDecoder:
    """Decodes one member: `feed` its compressed bytes in order, consume what that yields, then `finish`."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._inflater: Inflater | None = isal_zlib.decompressobj(RAW_DEFLATE) if member.method == DEFLATED else None
        self._hash = ResumableHash()
        self._fed = 0

    @property
    def crc32(self) -> int:
        """The CRC-32 of the content so far; after `finish`, the member's."""
        return self._hash.crc32

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """The content that `chunk` gives, in pieces of at most 512 KiB.

        ArchiveError as soon as the data is wrong or the content passes the declared size; that piece is not yielded.
        """
        view = memoryview(chunk)
        self._fed += len(view)
        for start in range(0, len(view), _INPUT_BYTES):
            part = view[start : start + _INPUT_BYTES]
            for piece in (bytes(part),) if self._inflater is None else self._inflate(part):
                self._account(piece)
                yield piece

    def finish(self) -> str:
        """The SHA-256 of the content in hex; ArchiveError unless data, size and CRC-32 are those declared."""
        member, shown = self._member, show(self._member.path)
        if self._fed != member.compressed_size:
            raise refusal(Fault.TRUNCATED, f"The data of {shown} has {self._fed} of {member.compressed_size} bytes.")
        if self._inflater is not None and not self._inflater.eof:
            raise refusal(Fault.BAD_DEFLATE, f"The DEFLATE stream of {shown} does not end where its data ends.")
        if self._hash.size != member.size:
            raise refusal(Fault.SIZE_MISMATCH, f"{shown} declares {member.size} bytes and has {self._hash.size}.")
        if self._hash.crc32 != member.crc32:
            raise refusal(
                Fault.BAD_CRC,
                f"{shown} declares CRC-32 {member.crc32:08x} and has {self._hash.crc32:08x}: the archive is damaged.",
            )
        return self._hash.sha256

    def _inflate(self, part: memoryview) -> Iterator[bytes]:
        assert self._inflater is not None
        waiting: bytes | memoryview = part
        while True:
            if self._inflater.eof:
                raise refusal(
                    Fault.BAD_DEFLATE, f"There are bytes after the DEFLATE stream of {show(self._member.path)}."
                )
            try:
                piece = self._inflater.decompress(waiting, PIECE_BYTES)
            except _INFLATE_ERRORS:
                raise refusal(
                    Fault.BAD_DEFLATE, f"The data of {show(self._member.path)} is no valid DEFLATE stream."
                ) from None
            waiting = self._inflater.unconsumed_tail
            if piece:
                yield piece
            # A full piece can leave output inside the inflater although it has taken all the input.
            if not waiting and not self._inflater.unused_data and (self._inflater.eof or len(piece) < PIECE_BYTES):
                return

    def _account(self, piece: bytes) -> None:
        if self._hash.size + len(piece) > self._member.size:
            raise refusal(
                Fault.SIZE_MISMATCH,
                f"{show(self._member.path)} declares {self._member.size} bytes and has more.",
            )
        self._hash.update(piece)
