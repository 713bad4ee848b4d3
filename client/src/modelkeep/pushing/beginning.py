"""Which upload a push goes on with: the one that the journal knows, the caller's own that has the version's name, or a
new one."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modelkeep.api import TRANSFER_PATIENCE
from modelkeep.errors import ConflictError, InvalidError, NotFoundError, UploadFailedError, UsageError
from modelkeep.names import Ref
from modelkeep.pushing.contents import Content
from modelkeep.pushing.existing import Existing, taken_by_archive
from modelkeep.pushing.journal import Begun, Journal
from modelkeep.pushing.uploading import OPEN, RemoteUpload, route
from modelkeep.results import Upload, Version

if TYPE_CHECKING:
    from modelkeep.client import Client

_TRIES = 3  # to begin; each but the first is because what was found had ended


class Beginning:
    """Finds or begins the upload of some content, and has its files announced. `late_fields`: what has to be said of
    the version once it is ready, for the upload was begun with other words."""

    def __init__(self, client: Client, ref: Ref, content: Content, journal: Journal, *, restart: bool = False) -> None:
        self._client = client
        self._ref = ref
        self._content = content
        self._journal = journal
        self._restart = restart
        self.late_fields: dict[str, Any] = {}

    def begin(self) -> RemoteUpload | Version:
        """The upload that this push goes on with, open or ready; or the version that is just this already."""
        begun = self._journal.load()
        if begun is not None and (known := self._go_on(begun)) is not None:
            return known
        # A push that never heard an answer: if it was begun all the same, its key and its words find it.
        if begun is not None and (begun.upload_id is not None or begun.manifest != self._content.manifest):
            begun = None
        for _ in range(_TRIES):
            upload = self._start(begun)
            if isinstance(upload, Version) or (upload is not None and upload.now.status in (*OPEN, "ready")):
                return upload
            begun = None
        raise ConflictError("each upload that was begun has ended at once", code="upload_ended", hint="Push again.")

    def adopt(self, upload: RemoteUpload) -> None:
        """Take over what another process or machine began. UsageError `other_content` where that is something else."""
        if upload.now.status not in (*OPEN, "ready"):
            raise upload.failure()
        if upload.now.status == "uploading" and not self._content.archive:
            upload.announce(self._content.requests)
        upload.check(self._content)
        self.late_fields = dict(self._content.fields)
        self._note(Begun(secrets.token_urlsafe(24), self._content.manifest, {}, upload.now.upload_id))

    def _go_on(self, begun: Begun) -> RemoteUpload | None:
        """With what the journal knows; None where that has ended, or is given up."""
        if begun.upload_id is None:
            return None
        try:
            upload = RemoteUpload.find(self._client.api, begun.upload_id)
        except NotFoundError:
            return None
        same = begun.manifest == self._content.manifest
        if upload.now.status not in OPEN and not (same and upload.now.status == "ready"):
            return None
        if not same:
            if not self._restart:
                raise self._changed(upload.now)
            self._abort(begun.upload_id)
            return None
        self._note_late(begun)
        if upload.now.status == "uploading" and not self._content.archive:
            upload.announce(self._content.requests)
        return upload

    def _note_late(self, begun: Begun) -> None:
        now = self._content.fields
        self.late_fields = {name: value for name, value in now.items() if begun.fields.get(name) != value}

    def _changed(self, upload: Upload) -> ConflictError:
        return ConflictError(
            f"what was begun as {self._ref.at(upload.version)} (upload {upload.upload_id}) had other content",
            code="content_changed",
            hint="Push with --restart to give that up and begin anew, or put the old content back to go on with it.",
            extra={"upload_id": upload.upload_id},
        )

    def _abort(self, upload_id: str) -> None:
        with suppress(NotFoundError, ConflictError):  # it has ended by itself
            self._client.api.call("DELETE", route(upload_id), patience=TRANSFER_PATIENCE)

    def _start(self, before: Begun | None) -> RemoteUpload | Version | None:
        """A new upload, or the one that was begun before, or what is there already; None where there is none after
        all."""
        begun = before or Begun(secrets.token_urlsafe(24), self._content.manifest, self._content.fields)
        self._note(begun)
        try:
            answer = self._client.api.call(
                "POST",
                "/ai-models/upload/direct",
                query={"urls": False},
                body=self._body(begun.fields),
                headers={"Idempotency-Key": begun.key},
            )  # with a call's patience: nothing is under way yet, and the URL may be wrong
        except ConflictError as error:
            if error.code in ("idempotency_ended", "idempotency_mismatch"):
                return None
            self._journal.forget()
            return self._taken(error)
        except InvalidError:
            self._journal.forget()  # refused for certain
            if before is not None and before.fields != self._content.fields:
                return None  # it was so then; now other things are said
            raise
        upload = RemoteUpload(self._client.api, answer)
        self._note(replace(begun, upload_id=upload.now.upload_id))
        self._note_late(begun)
        if upload.now.status == "uploading" and not self._content.archive:
            upload.announce(self._content.requests)
        return upload

    def _body(self, fields: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = {**fields, "user_id": self._ref.user_id, "model_id": self._ref.model_id}
        if self._ref.version is not None:
            body["version"] = self._ref.version
        if self._content.archive:
            [file] = self._content.files
            body["archive"] = {"size": file.size, "sha256": file.sha256, "preserve_structure": True}
        else:
            body["files"] = self._content.requests[0]
        return body

    def _note(self, begun: Begun) -> None:
        self._journal.save(begun, url=self._client.url, to=str(self._ref), source=str(self._content.root))

    # -- a version that is taken ---------------------------------------------------------------------------------------

    def _taken(self, error: ConflictError) -> RemoteUpload | Version | None:
        """Go on with the caller's own upload of the same content, or be done with a version of it; None where that was
        given up; else what to do."""
        if error.code == "version_exists":
            return self._check_existing(error)
        upload_id = error.extra.get("upload_id")
        if not isinstance(upload_id, str):
            if error.code == "version_uploading":
                error.hint = "Somebody else is uploading it just now: name another version, or none for the next."
            raise error
        try:
            upload = RemoteUpload.find(self._client.api, upload_id)
            self.adopt(upload)
        except (NotFoundError, UploadFailedError):
            return None
        except UsageError:
            if self._restart:
                self._abort(upload_id)
                return None
            error.detail = f"{self._ref} is being uploaded already, with other content (upload {upload_id})"
            error.hint = (
                "Push with --restart to give that upload up (`modelkeep uploads` shows it), or name another version."
            )
            raise error from None
        return upload

    def _check_existing(self, error: ConflictError) -> Version:
        """It was made a moment ago, or by a push that died before it heard so."""
        if self._content.archive:
            raise taken_by_archive(error)
        existing = Existing.find(self._client, self._ref)
        if existing is None:
            raise error
        return existing.check(self._content)
