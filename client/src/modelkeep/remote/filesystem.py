"""`modelkeep://USER/MODEL[:VERSION]/PATH` for fsspec, and so for pandas, pyarrow, dask, `torch.load` …; read-only.

modelkeep://alice                  a folder of versions: alice/bert:v1, alice/bert:v2, … (active ones)
modelkeep://alice/bert:v1          the files and folders of that version
modelkeep://alice/bert             those of the newest, as it is when asked; name the version where that matters
"""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import fsspec  # type: ignore[import-untyped]
from fsspec.callbacks import DEFAULT_CALLBACK  # type: ignore[import-untyped]

from modelkeep.client import Client
from modelkeep.errors import DeniedError, IntegrityError, NotFoundError, UsageError
from modelkeep.names import Ref, parse_ref
from modelkeep.remote import BLOCK_SIZE, RemoteFile
from modelkeep.remote.ranges import Ranges
from modelkeep.results import File

_LISTINGS = 64  # versions whose files are remembered,
_SECONDS = 300  # for so long: a version never changes, but may be deleted and made anew


@dataclass
class _Listing:
    """The files of one version, and by folder ("" is the whole) what lies in it."""

    ref: Ref  # concrete
    files: dict[str, File] = field(default_factory=dict)
    folders: dict[str, dict[str, File | None]] = field(default_factory=lambda: {"": {}})  # None: a folder

    def add(self, file: File) -> None:
        """One more file, and the folders above it; IntegrityError where its path leads out of the version."""
        parts = file.path.split("/")
        if any(part in ("", ".", "..") for part in parts) or (os.name == "nt" and any(c in file.path for c in "\\:")):
            raise IntegrityError(f"{self.ref} has a file with a dangerous path: {file.path!r}", code="bad_path")
        self.files[file.path] = file
        for depth in range(1, len(parts)):
            self.folders.setdefault("/".join(parts[: depth - 1]), {})["/".join(parts[:depth])] = None
            self.folders.setdefault("/".join(parts[:depth]), {})
        self.folders["/".join(parts[:-1])][file.path] = file


class ModelkeepFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Versions as folders of files. `registry_url` and `token` are `Client`'s (fsspec needs the name `url` for itself);
    `block_size` in bytes as for `Client.open`. A version's files are remembered for five minutes, or until
    `invalidate_cache()`."""

    protocol = "modelkeep"
    root_marker = ""

    def __init__(
        self, registry_url: str | None = None, token: str | None = None, *, block_size: int = BLOCK_SIZE, **options: Any
    ) -> None:
        super().__init__(**{"listings_expiry_time": _SECONDS, "max_paths": _LISTINGS, **options})
        self.client = Client(registry_url, token)
        self._block_size = block_size

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return [each.lstrip("/") for each in stripped] if isinstance(stripped, list) else stripped.lstrip("/")

    # -- what there is -------------------------------------------------------------------------------------------------

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """A user's versions, or what lies in a version or one of its folders; of a file the file itself."""
        path = self._strip_protocol(path)
        user_id, model, inner = _split(path)
        if not user_id:
            raise PermissionError("A registry has no list of its users: begin with modelkeep://USER")
        with _as_os_errors(path):
            if not model:
                names = sorted(str(version) for version in self.client.models(user_id))
                found = [_folder(name) for name in names]
            else:
                listing, top = self._listing(f"{user_id}/{model}"), f"{user_id}/{model}"
                if inner in listing.files:
                    found = [_file(top, listing, inner)]
                elif inner in listing.folders:
                    entries = sorted(listing.folders[inner].items())
                    found = [_file(top, listing, each) if file else _folder(f"{top}/{each}") for each, file in entries]
                else:
                    raise FileNotFoundError(f"{listing.ref} has no {inner}")
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Name, size and type; of a file also sha256 and the concrete version."""
        path = self._strip_protocol(path)
        user_id, model, inner = _split(path)
        if not model:
            return _folder(path)  # any user may be one
        with _as_os_errors(path):
            listing = self._listing(f"{user_id}/{model}")
        if inner in listing.files:
            return _file(f"{user_id}/{model}", listing, inner)
        if inner in listing.folders:
            return _folder(path)
        raise FileNotFoundError(f"{listing.ref} has no {inner}")

    def checksum(self, path: str) -> str:
        """A file's SHA-256."""
        return str(self.info(path)["sha256"])

    def ukey(self, path: str) -> str:
        """What changes when the bytes do: the SHA-256."""
        return self.checksum(path)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget which files versions have."""
        self.dircache.clear()
        super().invalidate_cache(path)

    def _listing(self, model: str) -> _Listing:
        """By `USER/MODEL[:VERSION]`; without a version the registry is asked each time which is the newest."""
        ref = parse_ref(model)
        with suppress(KeyError):
            if ref.version:
                return self.dircache[str(ref)]  # type: ignore[no-any-return]
        version = self.client.get(ref)
        pinned = ref.at(version.version)
        with suppress(KeyError):
            return self.dircache[str(pinned)]  # type: ignore[no-any-return]
        complete = version.file_count <= len(version.files)
        listing = _Listing(pinned)
        for file in version.files if complete else self.client.files(pinned):
            listing.add(file)
        self.dircache[str(pinned)] = listing
        return listing

    # -- what is in it -------------------------------------------------------------------------------------------------

    def _open(self, path: str, mode: str = "rb", **options: Any) -> RemoteFile:
        """Options of fsspec's own caches, `block_size` among them, don't apply."""
        if mode != "rb":
            self._refuse(path)
        user_id, model, inner = _split(self._strip_protocol(path))
        with _as_os_errors(path):
            listing = self._listing(f"{user_id}/{model}" if model else user_id)
        if inner in listing.folders:
            raise IsADirectoryError(path)
        if inner not in listing.files:
            raise FileNotFoundError(f"{listing.ref} has no {inner}")
        ref = Ref(listing.ref.user_id, listing.ref.model_id, listing.ref.version, inner)
        return RemoteFile(Ranges(self.client, ref, listing.files[inner]), block_size=self._block_size)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """A file's bytes, or those from `start` to before `end` (negative: from its end)."""
        with self.open(path, "rb") as file:
            first, last, _ = slice(start, end).indices(file.size)
            if (first, last) == (0, file.size):
                return bytes(file.read())  # checks the digest
            return bytes(file.read_ranges([(first, max(0, last - first))])[0])

    def cat_ranges(
        self, paths: list[str], starts: Any, ends: Any, max_gap: int | None = None, on_error: str = "return", **_: Any
    ) -> list[Any]:
        """Ranges of files, those of one file side by side and neighbours by one request."""
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("paths, starts and ends differ in length")
        found: list[Any] = [None] * len(paths)
        for path in dict.fromkeys(paths):
            indexes = [index for index, each in enumerate(paths) if each == path]
            try:
                with self.open(path, "rb") as file:
                    limits = [slice(starts[index], ends[index]).indices(file.size)[:2] for index in indexes]
                    got = file.read_ranges([(first, max(0, last - first)) for first, last in limits])
            except Exception as error:
                if on_error != "return":
                    raise
                got = [error] * len(indexes)
            for index, each in zip(indexes, got, strict=True):
                found[index] = each
        return found

    def get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **_: Any) -> None:
        """Fetch a file, check its SHA-256, and only then give it its name."""
        target = outfile or (lpath if hasattr(lpath, "write") else None)
        if target is None and self.isdir(rpath):
            Path(lpath).mkdir(parents=True, exist_ok=True)
            return
        with self.open(rpath, "rb") as source:
            callback.set_size(source.size)
            if target is not None:
                _copy(source, target, callback)
                return
            path = Path(lpath)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.parent / f".modelkeep-{uuid.uuid4().hex}"
            try:
                with temporary.open("xb") as made:
                    _copy(source, made, callback)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    # -- what there is not ---------------------------------------------------------------------------------------------

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        """Versions never change."""
        raise UsageError("modelkeep:// is read-only: publish with `modelkeep push`", code="read_only")

    mkdir = makedirs = rmdir = touch = rm_file = rm = mv = cp_file = put_file = pipe_file = _rm = _refuse


def _split(path: str) -> tuple[str, str, str]:
    """User, model with its version, path in it; what is missing is empty."""
    user_id, _, rest = path.partition("/")
    model, _, inner = rest.partition("/")
    return user_id, model, inner


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}


def _file(top: str, listing: _Listing, path: str) -> dict[str, Any]:
    file = listing.files[path]
    said = {"sha256": file.sha256, "version": listing.ref.version, "content_type": file.content_type}
    return {"name": f"{top}/{path}", "size": file.size, "type": "file", **said}


@contextmanager
def _as_os_errors(path: str) -> Iterator[None]:
    """What users of file systems expect. A name that can't be one names nothing."""
    try:
        yield
    except (NotFoundError, UsageError) as error:
        raise FileNotFoundError(f"{path}: {error.detail}") from error
    except DeniedError as error:
        raise PermissionError(f"{path}: {error.detail}") from error


def _copy(source: RemoteFile, target: io.IOBase, callback: Any) -> None:
    while data := source.read(4 * 1024 * 1024):
        target.write(data)
        callback.relative_update(len(data))
