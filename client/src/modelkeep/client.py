"""The registry, from Python: `Client().push("model/", "alice/bert")`, `Client().pull("alice/bert:v2")`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from modelkeep.api import PATIENCE, Api
from modelkeep.config import Config, check_url
from modelkeep.connections import Connections
from modelkeep.errors import UnavailableError
from modelkeep.names import Ref, check_user_id, is_version, parse_ref
from modelkeep.progress import OnProgress
from modelkeep.results import Deleted, Difference, File, Pulled, Upload, Verification, Version
from modelkeep.store import Store
from modelkeep.tokens import check_token

if TYPE_CHECKING:
    import numpy

    from modelkeep.remote import RemoteFile
    from modelkeep.remote.tensors import TensorInfo


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
        token = check_token(token, "`token`") if token else self.config.token(self.url)[0]
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
        version = Version.from_json(answer.body, etag=answer.headers.get("etag"))
        # It gets into names of files and into further requests.
        if not is_version(version.version) or ref.version not in (None, version.version):
            raise UnavailableError(
                f"the registry's answer makes no sense: asked for {ref} it tells of version {version.version!r}",
                code="bad_answer",
            )
        return version

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
        return [Upload.from_json(each) for each in answer.rows]

    def upload(self, upload_id: str) -> Upload:
        """One upload as it is now, with its first files."""
        return Upload.from_json(self.api.call("GET", f"/ai-models/upload/{quote(upload_id, safe='')}").body)

    def abort(self, upload_id: str) -> Upload:
        """Give an upload up: what was sent goes, the version's name is free again."""
        return Upload.from_json(self.api.call("DELETE", f"/ai-models/upload/{quote(upload_id, safe='')}").body)

    # -- moving bytes --------------------------------------------------------------------------------------------------

    def push(
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
        """Make a version of a file, a folder or a ZIP (which the registry unpacks, unless `unpack` is false). Sends
        only what the registry lacks, each part with its SHA-256. Called again after any crash it goes on where it was;
        `restart` gives up what was begun with other content. No version in `ref`: the registry takes the next. A
        version that has exactly these files already, and of which nothing else is said, is returned as it is, without
        an upload; any other that exists is a ConflictError `version_exists`.
        `metadata` wins over `metadata_file`, which wins over a folder's `modelkeep.yaml`. `primary`: the path of the
        file that is the model. `ignore`: further patterns, as in `.modelkeepignore`. `follow_links`: push what links
        lead to, wherever it lies; else a link out of the folder, or to a folder, is refused. `on_upload` is told the
        upload as soon as there is one."""
        from modelkeep import pushing

        return pushing.push(
            self,
            Path(path),
            parse_ref(ref),
            metadata=metadata or {},
            metadata_file=Path(metadata_file) if metadata_file is not None else None,
            primary=primary,
            ignore=ignore,
            follow_links=follow_links,
            unpack=unpack,
            restart=restart,
            on_progress=on_progress,
            on_upload=on_upload,
        )

    def resume(
        self,
        upload_id: str,
        path: str | PathLike[str],
        *,
        ignore: Sequence[str] = (),
        follow_links: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Version:
        """Go on with an open upload, from whatever machine, with the same content; UsageError where paths, sizes or
        digests differ from what the upload was begun with. `ignore`, `follow_links`: as they were given to `push`."""
        from modelkeep import pushing

        return pushing.resume(
            self, upload_id, Path(path), ignore=ignore, follow_links=follow_links, on_progress=on_progress
        )

    def pull(
        self,
        ref: str | Ref,
        directory: str | PathLike[str] | None = None,
        *,
        files: Sequence[str] = (),
        cache: bool = True,
        force: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Pulled:
        """Fetch a version, or those of its files that match one of the patterns `files` (`*.json`, `weights/**`), into
        `directory` (default: the model's name, here). Every file is checked against its digest before it gets its name;
        called again it fetches what is missing. `cache`: keep the bytes in this machine's cache, shared between
        versions by hard links or reflinks. `force`: read all that is there, and
        replace also files that differ and that no pull put there."""
        from modelkeep import pulling

        return pulling.pull(
            self,
            parse_ref(ref),
            Path(directory) if directory is not None else None,
            patterns=files,
            cache=cache,
            force=force,
            on_progress=on_progress,
        )

    def pull_zip(
        self, ref: str | Ref, path: str | PathLike[str] | None = None, *, on_progress: OnProgress | None = None
    ) -> Path:
        """Fetch a version as one ZIP to `path` (default: `MODEL-VERSION.zip`, here); where it lies."""
        from modelkeep.pulling import zips

        return zips.pull_zip(self, parse_ref(ref), Path(path) if path is not None else None, on_progress=on_progress)

    def verify(
        self, directory: str | PathLike[str], ref: str | Ref | None = None, *, on_progress: OnProgress | None = None
    ) -> Verification:
        """Read a pulled folder whole and hold it against the registry; no `ref`: the one that it was pulled from."""
        from modelkeep.pulling import verifying

        return verifying.verify(
            self, Path(directory), parse_ref(ref) if ref is not None else None, on_progress=on_progress
        )

    def diff(self, a: str | Ref, b: str | Ref) -> Difference:
        """What differs between two versions: files by digest, metadata side by side. No byte of a file moves."""
        from modelkeep import comparing

        return comparing.diff(self, parse_ref(a), parse_ref(b))

    def open(self, ref: str | Ref, *, block_size: int = 64 * 1024) -> RemoteFile:
        """A file of a version (`alice/bert:v1/weights.safetensors`) as a seekable, readable, binary file over ranged
        GETs of at least `block_size` bytes; up to 96 such blocks are in memory."""
        from modelkeep import remote

        return remote.open_file(self, parse_ref(ref, file=True), block_size=block_size)

    def tensors(self, ref: str | Ref) -> dict[str, TensorInfo]:
        """The tensors of a safetensors file by name: type, shape and bytes. Only its header is fetched."""
        from modelkeep.remote import tensors

        return tensors.read_infos(self, parse_ref(ref, file=True))

    def load_tensors(self, ref: str | Ref, names: Iterable[str] | None = None) -> dict[str, numpy.ndarray[Any, Any]]:
        """Just these tensors (None: all) of a safetensors file, by ranges; needs `modelkeep[tensors]`."""
        from modelkeep.remote import tensors

        return tensors.load_tensors(self, parse_ref(ref, file=True), names)
