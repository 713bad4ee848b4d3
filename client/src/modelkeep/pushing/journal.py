"""What this machine has to remember of a push until its version is ready: on disk before the registry hears of it, so
that after any crash the same command finds the upload that it began."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modelkeep.config import Home, write_private
from modelkeep.errors import ConflictError, LocalFileError
from modelkeep.names import Ref


@dataclass(frozen=True)
class Begun:
    """A push under way. `key`: its Idempotency-Key, random; `upload_id`: None until the registry has answered;
    `manifest`: the digest of what is pushed; `fields`: what was said of it."""

    key: str
    manifest: str
    fields: dict[str, Any] = field(default_factory=dict)
    upload_id: str | None = None


class Journal:
    """The entry of one push: the same registry, model, version (or none) and local path."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Begun | None:
        """What was begun and is not known to be done."""
        try:
            said = json.loads(self._path.read_text(encoding="utf-8"))["begun"]
            return Begun(**{name: said[name] for name in Begun.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, begun: Begun, **about: str | None) -> None:
        """On the disk when this returns. `about`: for people who look into it."""
        try:
            write_private(self._path, json.dumps({**about, "begun": asdict(begun)}, indent=1))
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def forget(self) -> None:
        """The push is done, or given up."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self._path, error) from error


def is_begun(home: Home, url: str, ref: Ref, source: Path) -> bool:
    """Whether there is an entry, perhaps another process's that is at work."""
    try:
        return (_folder(home) / f"{_name(url, ref, source)}.json").exists()
    except OSError:  # the folder can't be entered: opening the journal will say so
        return True


@contextmanager
def open_journal(home: Home, url: str, ref: Ref, source: Path) -> Iterator[Journal]:
    """The journal of this push, for this process alone. ConflictError `push_running` where another has it."""
    from filelock import FileLock, Timeout

    name, folder = _name(url, ref, source), _folder(home)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(folder / f"{name}.lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise ConflictError(
            f"another process is pushing {source} to {ref} just now",
            code="push_running",
            hint="Wait for it, or end it and push again: it goes on where it was.",
        ) from None
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield Journal(folder / f"{name}.json")
    finally:
        lock.release()


def _folder(home: Home) -> Path:
    return home.state / "uploads"


def _name(url: str, ref: Ref, source: Path) -> str:
    return hashlib.sha256(json.dumps([url, ref.user_id, ref.model_id, ref.version, str(source)]).encode()).hexdigest()


def _unwritable(path: Path, error: OSError) -> LocalFileError:
    return LocalFileError(
        f"{path} can't be written: {error.strerror or error}",
        code="no_state",
        hint="It remembers the push in case of a crash; MODELKEEP_HOME names another folder for it.",
    )
