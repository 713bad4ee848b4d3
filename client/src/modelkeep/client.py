"""The registry, from Python: `Client().push("model/", "alice/bert")`, `Client().pull("alice/bert:v2")`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any
from urllib.parse import quote

from modelkeep.api import PATIENCE, Api
from modelkeep.config import Config, check_url
from modelkeep.connections import Connections
from modelkeep.names import Ref, check_user_id, parse_ref
from modelkeep.results import Deleted, File, Upload, Version
from modelkeep.store import Store


class Client:
    """One registry, as one caller. `url` and `token` default to MODELKEEP_URL and MODELKEEP_TOKEN, then to what
    `modelkeep login` stored, then to http://localhost:8000. Safe to use from many threads. Every method raises
    ModelkeepError (modelkeep.errors) with `detail`, `code` and `hint`."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        config: Config | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.config = config or Config()
        self.url = check_url(url) if url else self.config.url()
        token = token or self.config.token(self.url)[0]
        connections = Connections()
        self.api = Api(self.url, token, connections=connections, patience=patience)
        self.store = Store(connections)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept open."""
        self.api.connections.close()

    # -- the catalog ---------------------------------------------------------------------------------------------------

    def get(self, ref: str | Ref) -> Version:
        """A version, or the newest of a model; `files` holds up to 1,000 of its files."""
        ref = parse_ref(ref)
        answer = self.api.call("GET", ref.route, query=ref.query)
        return Version.from_json(answer.body, etag=answer.headers.get("etag"))

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
    ) -> Iterator[Version]:
        """A user's versions, newest first, page after page; `latest`: each model's newest only."""
        query = {
            "framework": framework,
            "model_type": model_type,
            "tags": ",".join(tags) or None,
            "is_production_ready": is_production_ready,
            "is_active": is_active,
            "latest": latest or None,
        }
        path = f"/ai-models/{quote(check_user_id(user_id), safe='')}"
        return (Version.from_json(row) for row in self.api.rows(path, query=query))

    def search(
        self,
        user_id: str,
        query: str,
        *,
        framework: str | None = None,
        model_type: str | None = None,
        tags: Iterable[str] = (),
    ) -> Iterator[Version]:
        """A user's versions in whose name, description, algorithm, model id or tags each word of `query` begins one."""
        asked = {
            "query": query,
            "framework": framework,
            "model_type": model_type,
            "tags": ",".join(tags) or None,
        }
        path = f"/ai-models/search/{quote(check_user_id(user_id), safe='')}"
        return (Version.from_json(row) for row in self.api.rows(path, query=asked))

    def files(self, ref: str | Ref, *, urls: bool = False) -> Iterator[File]:
        """A version's files by path, page after page; `urls`: each with a presigned GET that lives at most an hour."""
        ref = parse_ref(ref)
        query = {**ref.query, "urls": urls or None}
        return (File.from_json(row) for row in self.api.rows(f"{ref.route}/files", query=query))

    def versions(self, ref: str | Ref) -> Iterator[Version]:
        """The versions of a model, newest first, inactive ones too."""
        return (Version.from_json(row) for row in self.api.rows(f"{parse_ref(ref).route}/versions"))

    def update(self, ref: str | Ref, *, if_match: str | None = None, **fields: Any) -> Version:
        """Change what is said of a version: given values replace the old ones whole, None clears them. `if_match`: only
        if it is still as `Version.etag` says, else ConflictError."""
        ref = parse_ref(ref)
        headers = {"If-Match": if_match} if if_match else None
        answer = self.api.call(
            "PUT", ref.route, query=ref.query, body=fields, headers=headers, repeatable=if_match is None
        )
        return Version.from_json(answer.body, etag=answer.headers.get("etag"))

    def delete(self, ref: str | Ref, *, all_versions: bool = False, purge: bool = False) -> Deleted:
        """Delete a version, or all of a model's; a model of several versions wants to know which. `purge`: for good,
        also where the bucket keeps what was deleted."""
        ref = parse_ref(ref)
        query = {**ref.query, "all": all_versions or None, "purge": purge or None}
        return Deleted.from_json(self.api.call("DELETE", ref.route, query=query, repeatable=False).body)

    # -- uploads -------------------------------------------------------------------------------------------------------

    def uploads(self, user_id: str) -> list[Upload]:
        """A user's uploads that are not done, newest first."""
        answer = self.api.call("GET", "/ai-models/upload", query={"user_id": check_user_id(user_id)})
        return [Upload.from_json(each) for each in answer.body]

    def upload(self, upload_id: str) -> Upload:
        """One upload as it is now, with its first files."""
        return Upload.from_json(self.api.call("GET", f"/ai-models/upload/{quote(upload_id, safe='')}").body)

    def abort(self, upload_id: str) -> Upload:
        """Give an upload up: what was sent goes, the version's name is free again."""
        return Upload.from_json(self.api.call("DELETE", f"/ai-models/upload/{quote(upload_id, safe='')}").body)
