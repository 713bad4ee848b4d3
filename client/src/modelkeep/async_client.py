"""The registry, from asyncio: `Client`, each method awaited. The work is done in threads; the loop never waits."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from modelkeep.api import PATIENCE
from modelkeep.client import Client
from modelkeep.config import Config
from modelkeep.names import Ref
from modelkeep.progress import OnProgress, Progress
from modelkeep.results import Deleted, Difference, File, Pulled, Upload, Verification, Version

if TYPE_CHECKING:
    import numpy

    from modelkeep.remote import RemoteFile
    from modelkeep.remote.tensors import TensorInfo

_ROWS = 100  # of a list that one thread fetches; a page of most lists
_T = TypeVar("_T")


class _Stopped(BaseException):
    """Whoever waited for this work has been cancelled. No Exception, so that no retry takes it for a fault."""


class AsyncClient:
    """`Client` for asyncio, with the same methods, options and errors. Lists are `async for`. Callbacks are called in
    other threads. Cancelling a push, resume, pull or verify ends its work at the next bytes that move; what was sent
    or fetched by then stays, and the same call goes on there."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        config: Config | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.client = Client(url, token, config=config, patience=patience)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that are kept open."""
        await asyncio.to_thread(self.client.close)

    # -- the catalog ---------------------------------------------------------------------------------------------------

    async def get(self, ref: str | Ref) -> Version:
        """As `Client.get`."""
        return await asyncio.to_thread(self.client.get, ref)

    def models(
        self,
        user_id: str,
        *,
        framework: str | None = None,
        model_type: str | None = None,
        tags: Iterable[str] = (),
        is_production_ready: bool | None = None,
        is_active: bool | None = None,
        latest: bool = False,
    ) -> AsyncIterator[Version]:
        """As `Client.models`."""
        return _rows(
            lambda: self.client.models(
                user_id,
                framework=framework,
                model_type=model_type,
                tags=tags,
                is_production_ready=is_production_ready,
                is_active=is_active,
                latest=latest,
            )
        )

    def search(
        self,
        user_id: str,
        query: str,
        *,
        framework: str | None = None,
        model_type: str | None = None,
        tags: Iterable[str] = (),
    ) -> AsyncIterator[Version]:
        """As `Client.search`."""
        return _rows(lambda: self.client.search(user_id, query, framework=framework, model_type=model_type, tags=tags))

    def files(self, ref: str | Ref, *, urls: bool = False) -> AsyncIterator[File]:
        """As `Client.files`."""
        return _rows(lambda: self.client.files(ref, urls=urls))

    def versions(self, ref: str | Ref) -> AsyncIterator[Version]:
        """As `Client.versions`."""
        return _rows(lambda: self.client.versions(ref))

    async def update(self, ref: str | Ref, *, if_match: str | None = None, **fields: Any) -> Version:
        """As `Client.update`."""
        return await asyncio.to_thread(self.client.update, ref, if_match=if_match, **fields)

    async def delete(self, ref: str | Ref, *, all_versions: bool = False, purge: bool = False) -> Deleted:
        """As `Client.delete`."""
        return await asyncio.to_thread(self.client.delete, ref, all_versions=all_versions, purge=purge)

    # -- uploads -------------------------------------------------------------------------------------------------------

    async def uploads(self, user_id: str) -> list[Upload]:
        """As `Client.uploads`."""
        return await asyncio.to_thread(self.client.uploads, user_id)

    async def upload(self, upload_id: str) -> Upload:
        """As `Client.upload`."""
        return await asyncio.to_thread(self.client.upload, upload_id)

    async def abort(self, upload_id: str) -> Upload:
        """As `Client.abort`."""
        return await asyncio.to_thread(self.client.abort, upload_id)

    # -- moving bytes --------------------------------------------------------------------------------------------------

    async def push(
        self,
        path: str | PathLike[str],
        ref: str | Ref,
        *,
        metadata: Mapping[str, Any] | None = None,
        metadata_file: str | PathLike[str] | None = None,
        primary: str | None = None,
        ignore: Sequence[str] = (),
        follow_links: bool = False,
        unpack: bool = True,
        restart: bool = False,
        on_progress: OnProgress | None = None,
        on_upload: Callable[[Upload], None] | None = None,
    ) -> Version:
        """As `Client.push`."""
        return await _stoppable(
            lambda tell: self.client.push(
                path,
                ref,
                metadata=metadata,
                metadata_file=metadata_file,
                primary=primary,
                ignore=ignore,
                follow_links=follow_links,
                unpack=unpack,
                restart=restart,
                on_progress=tell,
                on_upload=on_upload,
            ),
            on_progress,
        )

    async def resume(
        self,
        upload_id: str,
        path: str | PathLike[str],
        *,
        ignore: Sequence[str] = (),
        follow_links: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Version:
        """As `Client.resume`."""
        return await _stoppable(
            lambda tell: self.client.resume(
                upload_id, path, ignore=ignore, follow_links=follow_links, on_progress=tell
            ),
            on_progress,
        )

    async def pull(
        self,
        ref: str | Ref,
        directory: str | PathLike[str] | None = None,
        *,
        files: Sequence[str] = (),
        cache: bool = True,
        force: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Pulled:
        """As `Client.pull`."""
        return await _stoppable(
            lambda tell: self.client.pull(ref, directory, files=files, cache=cache, force=force, on_progress=tell),
            on_progress,
        )

    async def pull_zip(
        self, ref: str | Ref, path: str | PathLike[str] | None = None, *, on_progress: OnProgress | None = None
    ) -> Path:
        """As `Client.pull_zip`."""
        return await _stoppable(lambda tell: self.client.pull_zip(ref, path, on_progress=tell), on_progress)

    async def verify(
        self, directory: str | PathLike[str], ref: str | Ref | None = None, *, on_progress: OnProgress | None = None
    ) -> Verification:
        """As `Client.verify`."""
        return await _stoppable(lambda tell: self.client.verify(directory, ref, on_progress=tell), on_progress)

    async def diff(self, a: str | Ref, b: str | Ref) -> Difference:
        """As `Client.diff`."""
        return await asyncio.to_thread(self.client.diff, a, b)

    async def open(self, ref: str | Ref, *, block_size: int = 64 * 1024) -> RemoteFile:
        """As `Client.open`; the file's own methods wait: `await asyncio.to_thread(file.read, 100)`."""
        return await asyncio.to_thread(self.client.open, ref, block_size=block_size)

    async def tensors(self, ref: str | Ref) -> dict[str, TensorInfo]:
        """As `Client.tensors`."""
        return await asyncio.to_thread(self.client.tensors, ref)

    async def load_tensors(
        self, ref: str | Ref, names: Iterable[str] | None = None
    ) -> dict[str, numpy.ndarray[Any, Any]]:
        """As `Client.load_tensors`."""
        return await asyncio.to_thread(self.client.load_tensors, ref, names)


async def _rows(start: Callable[[], Iterator[_T]]) -> AsyncIterator[_T]:
    """The rows of a list, fetched in threads, some at a time and no earlier than they are wanted."""
    rows = await asyncio.to_thread(start)
    while batch := await asyncio.to_thread(lambda: list(itertools.islice(rows, _ROWS))):
        for row in batch:
            yield row


async def _stoppable(work: Callable[[OnProgress], _T], on_progress: OnProgress | None) -> _T:
    """Work in a thread, that stops at its next progress once this is cancelled: threads can't be."""
    cancelled = threading.Event()

    def tell(progress: Progress) -> None:
        if cancelled.is_set():
            raise _Stopped
        if on_progress is not None:
            on_progress(progress)

    try:
        return await asyncio.to_thread(work, tell)
    except asyncio.CancelledError:
        cancelled.set()
        raise
