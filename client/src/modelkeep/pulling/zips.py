"""A version as one ZIP: fetched by ranges, and looked through, member by member, before it gets its name."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from modelkeep.api import TRANSFER_PATIENCE, Answer
from modelkeep.connections import patiently
from modelkeep.errors import IntegrityError, LocalFileError, UnavailableError, UnreachableError
from modelkeep.names import Ref
from modelkeep.progress import Meter, OnProgress
from modelkeep.pulling.crew import Crew, Task
from modelkeep.pulling.disks import disk_full, explained, free_bytes, lock_of, locked, sync
from modelkeep.pulling.fetching import Fetcher
from modelkeep.pulling.listing import Item, check_items
from modelkeep.pulling.partials import Partial
from modelkeep.pulling.paths import show
from modelkeep.store import ExpiredError

if TYPE_CHECKING:
    from modelkeep.client import Client

_WORKERS = 8  # ranges at once
_WAITS = 30  # redirects of the registry to itself, each after up to 20 s, until the ZIP is made
_CHUNK = 1024 * 1024  # bytes
# What zipfile raises for bytes that are no ZIP: a name that is not UTF-8, an offset before the file, and so on.
_NO_ZIP = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, IndexError, struct.error,
)  # fmt: skip


def pull_zip(client: Client, ref: Ref, path: Path | None, *, on_progress: OnProgress | None) -> Path:
    """Fetch the ZIP and check each member's digest against the registry's. One that is there already and holds just
    that is left; another file of that name is not replaced: LocalFileError `in_the_way`."""
    version = client.get(ref)
    ref = ref.at(version.version)
    name = f"{ref.model_id}-{ref.version}.zip"
    target = (path or Path(name)).absolute()
    if target.is_dir():
        target = target / name
    items = {item.path: item for item in check_items(client.files(ref), ref)}
    with explained(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock_of(client.config.home.state, target)):
            if os.path.lexists(target):
                if not target.is_file() or _fault(target, items, on_progress) is not None:
                    raise LocalFileError(
                        f"{target} is there already, and is not the ZIP of {ref}",
                        code="in_the_way",
                        hint="Move it away, or name another file by -o.",
                    )
                return target
            links = _Links(client, ref)
            # Twice: what was kept of an earlier attempt may have been damaged on our side.
            if _fetch(client, links, target, items, on_progress) is not None:
                fault = _fetch(client, links, target, items, on_progress)
                if fault is not None:
                    raise IntegrityError(
                        f"the ZIP of {ref} is damaged, fetched twice: {fault}",
                        code="damaged",
                        hint=f"Nothing was written. `modelkeep pull {ref}` fetches the files themselves.",
                    )
    return target


def _fetch(
    client: Client, links: _Links, target: Path, items: dict[str, Item], on_progress: OnProgress | None
) -> str | None:
    """Have it at its name, or say what is wrong with it."""
    size, etag = links.open()
    # Another build of the ZIP is another file: its ranges must not be mixed.
    build = hashlib.sha256(f"{links.ref} {size} {etag}".encode()).hexdigest()[:16]
    whole = Partial(target.with_name(f".{target.name}.modelkeep-{build}"), size)
    there = whole.open()
    if size - there > free_bytes(target.parent):
        raise disk_full(target.parent, needed=size - there)
    meter = Meter(on_progress, "fetch", size)
    meter.add(there, skipped=True)
    crew = Crew(_WORKERS)
    fetcher = Fetcher(client.store, links, crew)

    def fetch_range(start: int, length: int) -> None:
        def write(chunk: bytes) -> None:
            writer.write(chunk)
            meter.add(len(chunk))

        with whole.writer(start) as writer:
            fetcher.fetch(target.name, start, length, write)

    def tasks() -> Iterator[Task]:
        return (partial(fetch_range, start, length) for start, length in list(whole.missing()))

    try:
        crew.run(tasks())
        meter.finish()
        fault = _fault(whole.path, items, on_progress)
    except (IntegrityError, _OtherBuildError) as error:
        fault = str(error)
    if fault is not None:
        whole.discard()
        return fault
    sync(whole.path)
    whole.path.replace(target)
    whole.forget()
    if os.name == "posix":
        sync(target.parent)
    return None


def _fault(path: Path, items: dict[str, Item], on_progress: OnProgress | None) -> str | None:
    """What in a ZIP is not as the registry says of the version's files; None: it holds just them, all of them. Nothing
    is unpacked."""
    meter = Meter(on_progress, "check", sum(item.size for item in items.values()))
    seen: set[str] = set()
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                item = items.get(member.filename)
                if item is None or member.filename in seen:
                    return f"{show(member.filename)} is not in the version, or twice in the ZIP"
                seen.add(member.filename)
                # Others are unpacked without a bound: a few bytes of them fill any memory.
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    return f"{show(member.filename)} is packed in a way that no registry does"
                if stat.S_ISLNK(member.external_attr >> 16):
                    return f"{show(member.filename)} is a symbolic link"
                digest, left = hashlib.sha256(), item.size
                with archive.open(member) as file:
                    while chunk := file.read(_CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            break
                        digest.update(chunk)
                        meter.add(len(chunk))
                if left or digest.hexdigest() != item.sha256:
                    return f"{show(member.filename)} has other bytes than its digest says"
    except _NO_ZIP as error:
        return f"it can't be read: {error}"
    except OSError as error:
        if error.errno != errno.EINVAL:  # from seek: an offset that can't be one
            raise
        return f"it can't be read: {error.strerror}"
    meter.finish()
    missing = sorted(items.keys() - seen)
    return f"{show(missing[0])} is not in it" if missing else None


class _OtherBuildError(Exception):
    """The ZIP was made anew while we fetched it."""


class _Links:
    """Presigned URLs of one version's ZIP, which the registry may have to make first."""

    def __init__(self, client: Client, ref: Ref) -> None:
        self.ref = ref
        self._client = client
        self._url = ""
        self._build: tuple[int, str] | None = None

    def open(self) -> tuple[int, str]:
        """Have the ZIP made, if it is not; its bytes, and a tag that other bytes would not have."""
        for _ in range(3):
            self._url = self._ask()
            try:
                self._build = patiently(lambda: self._client.store.probe(self._url), seconds=TRANSFER_PATIENCE)
                return self._build
            except ExpiredError as error:
                last = error
        raise UnavailableError(f"the store does not give the ZIP: {last.detail}", code="store_refuses") from last

    def url(self, path: str) -> str:
        """The URL as it is now."""
        return self._url

    def renew(self, path: str, dead: str) -> str:
        """A fresh one, of the same bytes."""
        if self._url == dead:
            before = self._build
            if self.open() != before:
                raise _OtherBuildError("it was made anew meanwhile")
        return self._url

    def _ask(self) -> str:
        route = f"{self.ref.route}/download"
        path, query = route, {**self.ref.query, "redirect": True}
        for _ in range(_WAITS):
            answer = patiently(partial(self._call, path, query), seconds=TRANSFER_PATIENCE, retry=_is_being_made)
            location = answer.headers.get("location")
            if answer.status != 307 or not location:
                raise UnavailableError(f"the registry gives no URL of the ZIP of {self.ref}", code="no_url")
            # Not made within one request: the registry sends us to itself once more.
            if not unquote(urlsplit(location).path).endswith(unquote(route)):
                return location
            path, query = location, {}
        raise UnavailableError(
            f"the ZIP of {self.ref} is not made yet", code="archive_building", hint="Try again in some minutes."
        )

    def _call(self, path: str, query: dict[str, Any]) -> Answer:
        return self._client.api.call("GET", path, query=query, redirect=True)


def _is_being_made(error: BaseException) -> bool:
    """Whether patience helps: the registry says so, or takes longer than a connection lives."""
    return getattr(error, "code", None) == "archive_building" or (isinstance(error, UnreachableError) and error.sent)
