"""The folder that holds everything `make run` keeps: one user at a time, and its own credentials."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import IO


class DataFolderInUseError(Exception):
    """Another process works on this folder."""


@dataclass(frozen=True)
class Credentials:
    """The key pair that the embedded S3 accepts; made once per data folder, known to nobody else."""

    access_key: str
    secret_key: str


class DataFolder:
    """`.modelkeep/`: s3/, dynamodb/, logs/, run/ (pids, sockets), tmp/, dead-letters/."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """Take the folder; the system gives it back when this process dies, however it dies."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (self.path / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise DataFolderInUseError(
                f"The data folder {self.path} is in use by another Modelkeep (process {owner}).\n"
                "Use that one, stop it first, or choose another folder and port: "
                "MODELKEEP_DATA=other-folder MODELKEEP_PORT=8100 make run"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    @property
    def is_locked(self) -> bool:
        """Whether we hold it."""
        return self._lock is not None

    def unlock(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def folder(self, name: str) -> Path:
        """A folder below, made if missing."""
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def credentials(self) -> Credentials:
        """Read the key pair, or make it on the first start."""
        path = self.path / "credentials.json"
        if path.exists():
            return Credentials(**json.loads(path.read_text()))
        credentials = Credentials(access_key=f"MK{secrets.token_hex(9).upper()}", secret_key=secrets.token_urlsafe(30))
        write_private(path, json.dumps(credentials.__dict__))
        return credentials


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)
