"""Writing an object over several lives: what one function has stored of it, the next one goes on from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from registry.storage import multiparts
from registry.storage.multiparts import StoredPart
from registry.storage.writing import ObjectWriter

_AT_ONCE = 4  # as far as the writer lets so many be on their way
_CRC_CHARACTERS = 8  # of 4 bytes, base64


class ResumableWriter(ObjectWriter):
    """An ObjectWriter whose multipart stays when it is left without `finish`: whoever has `multipart` and `crcs` goes on.
    For more bytes than a part has."""

    def __init__(self, key: str, size: int, *, multipart: str | None = None, crcs: str = "") -> None:
        """Begins, or goes on after the parts that `crcs` tells of. MultipartMissingError: all is lost."""
        super().__init__(key, size)
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        if multipart is None:
            self._multipart = multiparts.create_multipart(key, checksum="CRC32")
        else:
            self._multipart = multipart
            self._parts = self._stored_before(size, crcs)
            self._number = len(self._parts)

    @property
    def multipart(self) -> str:
        """S3's id of it."""
        assert self._multipart is not None
        return self._multipart

    @property
    def stored(self) -> int:
        """Bytes that the store has for certain, from the first one on."""
        return len(self._parts) * self._part_bytes

    @property
    def crcs(self) -> str:
        """What to keep beside `multipart`: the checksums of these parts, as not every store tells them."""
        return "".join(part.checksums["ChecksumCRC32"] for part in self._parts)

    def settle(self) -> None:
        """Waits for the parts that are on their way."""
        self._collect(0)

    def _stored_before(self, size: int, crcs: str) -> list[StoredPart]:
        texts = [crcs[start : start + _CRC_CHARACTERS] for start in range(0, len(crcs), _CRC_CHARACTERS)]
        # Never the last one, which `finish` sends whatever is there.
        last = multiparts.PartPlan(size, self._part_bytes).count
        found: list[StoredPart] = []
        for part in multiparts.list_parts(self._key, self.multipart):
            number = len(found) + 1
            if number > len(texts) or number >= last or (part.number, part.size) != (number, self._part_bytes):
                break
            found.append(StoredPart(number, part.size, part.etag, {"ChecksumCRC32": texts[number - 1]}))
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._pool is not None
        self._pool.shutdown(cancel_futures=not self._finished)
