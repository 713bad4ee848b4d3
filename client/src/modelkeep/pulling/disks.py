"""Local files: whole digests, copies that share blocks where the file system can, locks, and what a full disk means."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from modelkeep.errors import LocalFileError

_CHUNK = 1024 * 1024  # bytes
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PLAIN_DISKS: set[int] = set()  # whose files can't share blocks
_FICLONE = 0x40049409  # linux/fs.h: let a file share another one's blocks


def digest_of(path: Path, tell: Callable[[int], None] = lambda count: None) -> str:
    """The SHA-256 of a file, 64 hex digits, read whole; `tell` is called with each count of bytes read."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            tell(len(chunk))
    return digest.hexdigest()


def clone(source: Path, target: Path, *, link: bool) -> None:
    """Have `target`, which is not there yet, hold `source`'s bytes: by sharing blocks, else (`link`) as a hard link,
    else as a copy. A target that is no link is on the disk when this returns."""
    if _share_blocks(source, target):
        return
    if link:
        try:
            os.link(source, target)
            return
        except OSError as error:
            # Another device, a file system without links, too many of them: a copy will do.
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EACCES, errno.ENOSYS):
                raise
    with source.open("rb") as old, target.open("xb") as new:
        shutil.copyfileobj(old, new, _CHUNK)
        new.flush()
        os.fsync(new.fileno())


def _share_blocks(source: Path, target: Path) -> bool:
    """Whether `target` now is, and is on the disk; else it is not there. What a disk can't is asked of it once."""
    device = source.stat().st_dev
    if sys.platform != "linux" or device in _PLAIN_DISKS:
        return False
    import fcntl

    try:
        with source.open("rb") as old, target.open("xb") as new:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
            os.fsync(new.fileno())
        return True
    except OSError as error:
        target.unlink()
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS):
            _PLAIN_DISKS.add(device)
        return False


def sync(path: Path) -> None:
    """A file is on the disk when this returns; or a folder's names, where systems know of that."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Unlink it, if it is there."""
    with suppress(FileNotFoundError):
        path.unlink()


@contextmanager
def locked(path: Path, *, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Only one process (and only one thread) is in here at a time; the others wait, calling `check`. The system lets go
    of a process that died. The lock's file stays: to remove it safely is more than it is worth."""
    lock = FileLock(path, thread_local=False)
    held = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not held:
            check()
            with suppress(Timeout):
                lock.acquire(timeout=0.5)
                held = True
    except (NotImplementedError, OSError):
        pass  # a disk without locks, or read-only: files are kept whole by getting their names last, all the same
    try:
        yield
    finally:
        if held:
            lock.release()


def lock_of(state: Path, target: Path) -> Path:
    """The lock of whoever writes to `target`: not beside it, where it would stay in the user's way."""
    name = hashlib.sha256(str(target.resolve()).encode(errors="surrogateescape")).hexdigest()
    return state / "locks" / f"{name[:32]}.lock"


def remove_quietly(path: Path) -> None:
    """Unlink it, if that can be done: Windows does not where it is open."""
    with suppress(OSError):
        path.unlink()


@contextmanager
def explained(where: Path) -> Iterator[None]:
    """What the system says of a file, as a LocalFileError with what to do next."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full(where) from error
        name = error.filename if isinstance(error.filename, str) else str(where)
        raise LocalFileError(
            f"{name}: {error.strerror or error}",
            hint="Check the folder's owner and rights; what was fetched is kept, the same command goes on.",
        ) from error


def disk_full(where: Path, *, needed: int | None = None) -> LocalFileError:
    """No room: `needed` bytes in all, where that is known."""
    free = free_bytes(where)
    missing = f": {needed:,} bytes are needed, {free:,} are free" if needed is not None else f" ({free:,} bytes free)"
    return LocalFileError(
        f"the disk of {where} is full{missing}",
        code="disk_full",
        hint="Make room, or choose another disk by -o DIR or MODELKEEP_HOME; then the same command goes on.",
        extra={"needed": needed, "free": free},
    )


def free_bytes(folder: Path) -> int:
    """What this user may still write to the disk of a folder, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
