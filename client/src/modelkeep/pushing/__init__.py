"""Push: from a path here to a version there, through any number of crashes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelkeep.errors import ConflictError, IntegrityError, NotFoundError, UploadFailedError, UsageError
from modelkeep.names import Ref
from modelkeep.progress import Meter, OnProgress
from modelkeep.pushing import scanning
from modelkeep.pushing.beginning import Beginning
from modelkeep.pushing.contents import Content, read_fields
from modelkeep.pushing.existing import Existing
from modelkeep.pushing.hashing import Hashes, check_content, hash_files
from modelkeep.pushing.journal import Journal, is_begun, open_journal
from modelkeep.pushing.scanning import Source
from modelkeep.pushing.sending import DAMAGED_HINT, Sender
from modelkeep.pushing.uploading import OPEN, RemoteUpload
from modelkeep.results import Upload, Version

if TYPE_CHECKING:
    from modelkeep.client import Client

_ROUNDS = 50  # of sending what is missing; each but the first comes of faults that are bounded where they happen
_FRESH = 5.0  # seconds for which a version that was found counts as being there
_REFUSALS = 3  # of one file by its digest


def push(
    client: Client,
    path: Path,
    ref: Ref,
    *,
    metadata: Mapping[str, Any],
    metadata_file: Path | None,
    primary: str | None,
    ignore: Sequence[str],
    follow_links: bool,
    unpack: bool,
    restart: bool,
    on_progress: OnProgress | None,
    on_upload: Callable[[Upload], None] | None,
) -> Version:
    """See `Client.push`."""
    source = scanning.scan(path, ignore=ignore, unpack=unpack, follow_links=follow_links)
    fields = read_fields(source, metadata, metadata_file, primary)
    if (existing := _find_existing(client, ref, source)) is not None:
        existing.check_sizes(source.entries)
        asked = time.monotonic()
        with _hashing(client) as (hashes, stop):
            content = _hash(source, fields, hashes, stop, on_progress)
        if time.monotonic() - asked > _FRESH:
            existing = Existing.find(client, ref)
        if existing is not None:
            return existing.check(content)
    with _preparing(client, ref, source) as (journal, hashes, stop):
        content = _hash(source, fields, hashes, stop, on_progress)
        beginning = Beginning(client, ref, content, journal, restart=restart)
        upload = beginning.begin()
        if isinstance(upload, Version):
            return upload
        if on_upload is not None:
            on_upload(upload.now)
        work = _Push(client, content, journal, hashes, stop, on_progress, beginning.late_fields)
        return work.finish(upload)


def resume(
    client: Client,
    upload_id: str,
    path: Path,
    *,
    ignore: Sequence[str],
    follow_links: bool,
    on_progress: OnProgress | None,
) -> Version:
    """See `Client.resume`."""
    upload = RemoteUpload.find(client.api, upload_id)
    source = scanning.scan(path, ignore=ignore, unpack=None in upload.files, follow_links=follow_links)
    if source.archive != (None in upload.files):
        raise UsageError(
            f"upload {upload_id} was begun with {'a folder or file' if source.archive else 'a ZIP'}, unlike {path}",
            code="other_content",
        )
    ref = Ref(upload.now.user_id, upload.now.model_id, upload.now.version)
    with _preparing(client, ref, source) as (journal, hashes, stop):
        content = _hash(source, {}, hashes, stop, on_progress)
        Beginning(client, ref, content, journal).adopt(upload)
        return _Push(client, content, journal, hashes, stop, on_progress).finish(upload)


def _find_existing(client: Client, ref: Ref, source: Source) -> Existing | None:
    """The version of that name, if nothing is known of a push that would make it. It costs a new version one call, and
    spares a push that has nothing to do, or no chance, its reservation, its journal and the reading of large files."""
    if ref.version is None or source.archive or is_begun(client.config.home, client.url, ref, source.root):
        return None
    return Existing.find(client, ref)


@contextmanager
def _preparing(client: Client, ref: Ref, source: Source) -> Iterator[tuple[Journal, Hashes, threading.Event]]:
    """What a push needs of this machine."""
    with (
        open_journal(client.config.home, client.url, ref, source.root) as journal,
        _hashing(client) as (hashes, stop),
    ):
        yield journal, hashes, stop


@contextmanager
def _hashing(client: Client) -> Iterator[tuple[Hashes, threading.Event]]:
    """The digests that are known. The event stops a push's threads, and is set when it ends, however it does."""
    stop = threading.Event()
    hashes = Hashes(client.config.home.cache)
    try:
        yield hashes, stop
    finally:
        stop.set()
        hashes.close()


def _hash(
    source: Source, fields: dict[str, Any], hashes: Hashes, stop: threading.Event, on_progress: OnProgress | None
) -> Content:
    meter = Meter(on_progress, "hash", sum(entry.stamp.size for entry in source.entries))
    return Content(source.root, source.archive, hash_files(source.entries, hashes, meter, stop), fields)


@dataclass
class _Push:
    """One push whose upload is known: its bytes are sent until its version is ready."""

    client: Client
    content: Content
    journal: Journal
    hashes: Hashes
    stop: threading.Event
    on_progress: OnProgress | None
    late_fields: dict[str, Any] = field(default_factory=dict)
    refusals: dict[str | None, int] = field(default_factory=dict)

    def finish(self, upload: RemoteUpload) -> Version:
        """Send what is missing until the version is ready."""
        client = self.client
        sender = Sender(client.api, client.store, upload.now.upload_id, self.content.by_path, self.hashes, self.stop)
        for _ in range(_ROUNDS):
            if upload.now.status in OPEN:
                self._send(upload, sender)
                sender.sent.difference_update(self._complete(upload))
            if upload.now.status == "ready":
                return self._done(upload)
            upload.look()
        raise IntegrityError(
            f"upload {upload.now.upload_id} does not get whole", code="upload_incomplete", hint="Push again to go on."
        )

    def _send(self, upload: RemoteUpload, sender: Sender) -> None:
        missing = []
        meter = Meter(self.on_progress, "send", sum(file.size for file in self.content.files))
        for path, file in upload.files.items():
            if file.status == "failed":
                self._refused(path, file.code)
                sender.sent.discard(path)
            if file.status in ("pending", "failed") and path not in sender.sent:
                missing.append(file)
            else:
                meter.add(file.size, skipped=True)
        if missing:
            try:
                sender.send(missing, meter)
            except ConflictError as error:
                if error.code != "upload_ended":  # how it did, the registry says when it is asked to complete it
                    raise
        meter.finish()

    def _refused(self, path: str | None, code: str | None) -> None:
        """The registry did not find in a file what was announced: has it changed here, or was it damaged there?"""
        check_content(self.content.by_path[path], self.hashes, self.stop)
        self.refusals[path] = self.refusals.get(path, 0) + 1
        if self.refusals[path] > _REFUSALS:
            raise IntegrityError(
                f"the registry refused {path!r} {_REFUSALS} times: {code}", code=code, hint=DAMAGED_HINT
            )

    def _complete(self, upload: RemoteUpload) -> list[str | None]:
        try:
            return upload.finish(Meter(self.on_progress, "process", upload.now.bytes_total))
        except UploadFailedError:
            self.journal.forget()
            if self.content.archive:  # its digest, perhaps: next time it is read again
                self.hashes.forget(self.content.files[0].source)
            raise

    def _done(self, upload: RemoteUpload) -> Version:
        ref = Ref(upload.now.user_id, upload.now.model_id, upload.now.version)
        try:
            if len(self.content.requests) > 1:
                self._check_first(upload)
            if self.late_fields:
                self.client.update(ref, **self.late_fields)
            version = self.client.get(ref)
        except NotFoundError as error:
            self.journal.forget()
            error.detail = f"{ref} was published, and has been deleted since"
            error.hint = "Push again to make it anew."
            raise
        self.journal.forget()
        return version

    def _check_first(self, upload: RemoteUpload) -> None:
        """The one file that was announced without its digest: is it there as it is here?"""
        first = self.content.files[0]
        found = upload.first_file()
        if found is not None and found.path == first.path and found.sha256 not in (None, first.sha256):
            ref = f"{upload.now.user_id}/{upload.now.model_id}:{upload.now.version}"
            self.journal.forget()
            raise IntegrityError(
                f"{first.path!r} was damaged on the way to {ref}",
                code="damaged_on_the_way",
                hint=f"Delete that version (`modelkeep rm {ref}`) and push again.",
            )
