"""A member whose decoding outlasts a function: what it takes to go on elsewhere, as a text for a row of the table."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterator
from dataclasses import astuple, dataclass

from registry import hashing
from registry.archives import blocks
from registry.archives.blocks import WINDOW_BYTES, BlockInflater
from registry.archives.inflating import MemberDecoder
from registry.archives.limits import MIB
from registry.archives.records import DEFLATED
from registry.archives.structure import Member
from registry.hashing import ResumableHash, StateError

_VERSION = "1"
# Content between two states, unless a member needs larger parts than this: then as much as one of 10,000 parts.
_EVERY_BYTES = 16 * MIB
_MOST_PARTS = 10_000
_KEPT = 8  # states, 33 KiB each: those that what is stored has not reached yet


@dataclass(frozen=True, slots=True)
class State:
    """Where decoding can begin again: at byte `consumed` of the member's data and byte `produced` of its content."""

    member: str
    consumed: int
    produced: int
    hash: str
    deflate: str

    @property
    def text(self) -> str:
        """All of it, at most 45 KB of ASCII."""
        return " ".join([_VERSION, *map(str, astuple(self))])

    @classmethod
    def parse(cls, text: str) -> State:
        """The inverse of `text`; StateError."""
        try:
            version, member, consumed, produced, digest, deflate = text.split(" ")
            state = cls(member, int(consumed), int(produced), digest, deflate)
        except ValueError as error:
            raise StateError("no state of a member") from error
        if version != _VERSION:
            raise StateError("a state of another version")
        return state


class ResumableDecoder(MemberDecoder):
    """A MemberDecoder that can go on in another process: slower for deflated members, as zlib inflates them."""

    def __init__(self, member: Member, *, every: int = 0) -> None:
        super().__init__(member)
        self._every = every or max(_EVERY_BYTES, -(-member.size // _MOST_PARTS))
        self._next = self._every
        self._skipped = 0
        self._states: deque[State] = deque(maxlen=_KEPT)
        if member.method == DEFLATED and can_resume(member):
            self._inflater = BlockInflater()

    @classmethod
    def resume(cls, member: Member, state: State, *, stored: int, every: int = 0) -> ResumableDecoder:
        """One that is fed from byte `state.consumed` of the member's data on, and yields its content from byte `stored`
        on, which may not be before `state.produced`. StateError: begin anew."""
        if state.member != _identify(member) or not can_resume(member):
            raise StateError("a state of another member, or none that can be used here")
        self = cls(member, every=every)
        self._hash = ResumableHash.resume(state.hash)
        if not self._hash.size == state.produced <= stored <= member.size:
            raise StateError("a state that goes beyond what is stored")
        if member.method == DEFLATED:
            self._inflater = _load(state)
        self._fed = state.consumed
        self._skipped = stored
        self._next = state.produced + self._every
        self._states.append(state)
        return self

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """As MemberDecoder's, less what is stored already."""
        for piece in super().feed(chunk):
            self._note()
            begin = self._hash.size - len(piece)
            if begin >= self._skipped:
                yield piece
            elif self._hash.size > self._skipped:
                yield piece[self._skipped - begin :]

    def checkpoint(self, stored: int) -> State | None:
        """The latest state from which nothing is missing if the content's first `stored` bytes are safe, to be saved
        beside what tells where they are; earlier ones are forgotten. None: there is none yet."""
        while len(self._states) > 1 and self._states[1].produced <= stored:
            self._states.popleft()
        return self._states[0] if self._states and self._states[0].produced <= stored else None

    def _note(self) -> None:
        """Keeps a state where one is due; in deflated data that is at the end of the block."""
        if self._hash.size < self._next:
            return
        consumed, deflate = self._hash.size, ""
        if self._member.method == DEFLATED:
            inflater = self._inflater
            if not isinstance(inflater, BlockInflater):
                return
            inflater.stopping = True
            if not inflater.between_blocks:
                return
            inflater.stopping = False
            consumed, deflate = inflater.consumed, _save(inflater)
        digest = self._hash.state()
        if digest is not None:
            self._states.append(State(_identify(self._member), consumed, self._hash.size, digest, deflate))
            self._next = self._hash.size + self._every


def can_resume(member: Member) -> bool:
    """Whether this process can save and resume a member of this kind; if not, `checkpoint` is always None."""
    return hashing.can_resume() and (member.method != DEFLATED or blocks.can_stop())


def _identify(member: Member) -> str:
    return f"{member.data_offset}-{member.compressed_size}-{member.size}-{member.crc32:08x}"


def _save(inflater: BlockInflater) -> str:
    window, bits, value = inflater.state()
    return b64encode(bytes([bits, value]) + window).decode()


def _load(state: State) -> BlockInflater:
    try:
        bits, value, *_ = raw = b64decode(state.deflate, validate=True)
    except (binascii.Error, ValueError) as error:
        raise StateError("no state of DEFLATE") from error
    if bits > 7 or len(raw) > WINDOW_BYTES + 2:
        raise StateError("no state of DEFLATE")
    return BlockInflater(state.consumed, window=raw[2:], bits=bits, value=value)
