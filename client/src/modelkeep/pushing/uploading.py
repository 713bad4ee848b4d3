"""An upload as the registry has it: begun, its files announced, looked at, completed, waited for."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from modelkeep.api import TRANSFER_PATIENCE, Answer, Api
from modelkeep.errors import (
    ConflictError,
    InvalidError,
    UnavailableError,
    UploadFailedError,
    UsageError,
)
from modelkeep.progress import Meter
from modelkeep.pushing.contents import Content
from modelkeep.results import Upload, UploadFile

OPEN = ("uploading", "processing")
_UNANSWERED = 5  # times that `complete` may stay without an answer
_FIRST_PAUSE, _LAST_PAUSE = 0.2, 5.0  # seconds between two looks at an upload that is processed


def route(upload_id: str) -> str:
    """The upload's path in the API."""
    if not upload_id:
        raise UsageError("an upload's id can't be empty", code="bad_upload_id", hint="`modelkeep uploads` shows them.")
    return f"/ai-models/upload/{quote(upload_id, safe='')}"


class RemoteUpload:
    """One upload, looked at now and then; `now` is the last look's, `files` its files by path (None: the archive)."""

    def __init__(self, api: Api, answer: Answer) -> None:
        self._api = api
        self.now = Upload.from_json(answer.body)
        self.files: dict[str | None, UploadFile] = {}
        self._read(answer)

    @classmethod
    def find(cls, api: Api, upload_id: str) -> RemoteUpload:
        """By its id. NotFoundError."""
        return cls(api, api.call("GET", route(upload_id), patience=TRANSFER_PATIENCE))

    def look(self) -> None:
        """See what has become of it and of every file."""
        self._read(self._api.call("GET", route(self.now.upload_id), patience=TRANSFER_PATIENCE))

    def _read(self, answer: Answer) -> None:
        self.files = {}
        self.now = Upload.from_json(answer.body)
        for page in self._pages(answer):
            self.files |= {file.path: file for file in page.files}
        if self.now.archive is not None:
            self.files[None] = self.now.archive

    def _pages(self, answer: Answer) -> Iterator[Upload]:
        yield Upload.from_json(answer.body)
        while answer.following:
            answer = self._api.call("GET", answer.following, patience=TRANSFER_PATIENCE)
            yield Upload.from_json(answer.body)

    # -- announcing ----------------------------------------------------------------------------------------------------

    def announce(self, requests: Sequence[Sequence[dict[str, Any]]]) -> None:
        """Tell it of the files that it does not know. UsageError where it knows others than the first requests say: it
        may have been begun by another push."""
        ours = {spec["path"]: (spec["size"], spec.get("sha256")) for batch in requests for spec in batch}
        known = [sum(spec["path"] in self.files for spec in batch) for batch in requests]
        if known[0] == 0 or any(0 < count < len(batch) for count, batch in zip(known, requests, strict=True)):
            raise self._other("it lacks files that are here")
        self._compare(ours)
        for count, batch in zip(known, requests, strict=True):
            if count == 0:
                self._add(batch)
        if 0 in known:
            self.look()

    def _add(self, batch: Sequence[dict[str, Any]]) -> None:
        try:
            self._api.call(
                "POST", f"{route(self.now.upload_id)}/files", body={"files": batch}, patience=TRANSFER_PATIENCE
            )
        except (InvalidError, ConflictError):
            self.look()  # it may have arrived, and only the answer was lost
            if not all(spec["path"] in self.files for spec in batch):
                raise

    def check(self, content: Content) -> None:
        """UsageError where the upload is not of just this content."""
        self._compare({path: (file.size, file.sha256) for path, file in content.by_path.items()})
        if len(self.files) != len(content.by_path):
            raise self._other("it lacks files that are here")

    def _compare(self, ours: Mapping[str | None, tuple[int, str | None]]) -> None:
        for path, file in self.files.items():
            size, sha256 = ours.get(path, (None, None))
            if path not in ours:
                raise self._other(f"it has {path!r}, which is not here")
            if file.size != size or (sha256 is not None and file.sha256 not in (None, sha256)):
                raise self._other(f"{path or 'the ZIP'!r} is another file here")

    def _other(self, difference: str) -> UsageError:
        return UsageError(
            f"upload {self.now.upload_id} was begun with other content: {difference}",
            code="other_content",
            hint="`modelkeep uploads` shows it; abort it there to begin anew.",
        )

    def first_file(self) -> UploadFile | None:
        """The file that was announced first, as it is now."""
        answer = self._api.call("GET", route(self.now.upload_id), query={"limit": 1}, patience=TRANSFER_PATIENCE)
        return next(iter(Upload.from_json(answer.body).files), None)

    # -- its end -------------------------------------------------------------------------------------------------------

    def finish(self, meter: Meter) -> list[str | None]:
        """Have it completed, and wait until it is ready: then nothing is missing. Else the paths of files that have to
        be sent (again), as far as the registry names them. UploadFailedError where it has ended otherwise."""
        pause, unanswered = _FIRST_PAUSE, 0
        asked: queue.Queue[Answer | BaseException] | None = self._complete()
        while True:
            said = _wait(asked, pause)
            if said is not None:
                asked = None
                if isinstance(said, UnavailableError):
                    unanswered += 1
                    if unanswered >= _UNANSWERED:
                        raise said
                elif isinstance(said, BaseException) and (missing := _missing(said)):
                    return missing
            if not isinstance(said, Answer):
                said = self._api.call("GET", route(self.now.upload_id), query={"limit": 1}, patience=TRANSFER_PATIENCE)
            self.now = Upload.from_json(said.body)
            meter.reach(self.now.bytes_stored)
            if self.now.status == "ready":
                meter.reach(self.now.bytes_total)
                meter.finish()
                return []
            if self.now.status not in OPEN:
                raise self.failure()
            if self.now.status == "uploading" and asked is None:
                asked = self._complete()  # it was not asked yet after all, or a file was refused since: it says which
            pause = min(pause * 1.5, _LAST_PAUSE)

    def _complete(self) -> queue.Queue[Answer | BaseException]:
        """Ask in a thread of its own: the registry answers when it is done, or has worked for long."""
        answer: queue.Queue[Answer | BaseException] = queue.Queue()

        def ask() -> None:
            try:
                answer.put(
                    self._api.call(
                        "POST", f"{route(self.now.upload_id)}/complete", patience=TRANSFER_PATIENCE, repeatable=False
                    )
                )
            except BaseException as error:  # noqa: BLE001  # raised by who waits
                answer.put(error)

        threading.Thread(target=ask, name="modelkeep-complete", daemon=True).start()
        return answer

    def failure(self) -> UploadFailedError:
        """Why it has ended without a version."""
        return UploadFailedError(
            f"upload {self.now.upload_id} {self.now.status}: {self.now.detail or 'no reason is known'}",
            code=self.now.code,
            hint="Push again to begin anew."
            if self.now.status == "aborted"
            else "Mend what it names, then push again.",
        )


def _wait(asked: queue.Queue[Answer | BaseException] | None, seconds: float) -> Answer | BaseException | None:
    if asked is None:
        time.sleep(seconds)
        return None
    try:
        return asked.get(timeout=seconds)
    except queue.Empty:
        return None


def _missing(error: BaseException) -> list[str | None]:
    """What the registry lacks, by its own words; nothing where the upload has ended, which a look at it explains. Any
    other refusal is raised."""
    if isinstance(error, InvalidError) and error.code == "upload_incomplete":
        return [each["path"] for each in error.extra.get("missing", [])]
    if isinstance(error, ConflictError):
        return []
    raise error
