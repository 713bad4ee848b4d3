"""What others do to make one ZIP on S3 of files on S3: the measured work of `archive.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_CHUNK = 1024 * 1024


def zipstream_ng(bucket: str, prefix: str, paths: list[str], key: str) -> Callable[[], object]:
    """Each file is got, zipstream-ng makes a stored ZIP of them, `upload_fileobj` sends it in parts."""
    import boto3
    from zipstream import ZipStream

    s3 = boto3.client("s3")
    s3.head_bucket(Bucket=bucket)

    def read(path: str) -> Iterator[bytes]:
        yield from s3.get_object(Bucket=bucket, Key=prefix + path)["Body"].iter_chunks(_CHUNK)

    def work() -> None:
        archive = ZipStream()
        for path in paths:
            archive.add(read(path), arcname=path)
        s3.upload_fileobj(_Reader(iter(archive)), bucket, key)  # type: ignore[arg-type]

    return work


class _Reader:
    """An iterator as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = bytearray()

    def read(self, size: int) -> Any:
        while len(self._rest) < size and (chunk := next(self._chunks, None)) is not None:
            self._rest += chunk
        taken = bytes(memoryview(self._rest)[:size])
        del self._rest[:size]
        return taken
