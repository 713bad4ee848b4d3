"""Where the registry is, who calls it, and where this machine keeps what the client has to remember.

MODELKEEP_URL and MODELKEEP_TOKEN win over what `modelkeep login` stored. MODELKEEP_HOME puts configuration, state and
cache into one folder; without it they lie where the system keeps such things (platformdirs).
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs

from modelkeep.errors import UsageError
from modelkeep.tokens import check_token

DEFAULT_URL = "http://localhost:8000"
_SERVICE = "modelkeep"  # the name under which the system's keyring has our tokens


@dataclass(frozen=True)
class Home:
    """The folders of this user on this machine."""

    config: Path
    state: Path  # uploads that are under way, locks
    cache: Path  # files by their digest, digests by path

    @classmethod
    def find(cls) -> Home:
        """By MODELKEEP_HOME, else where the system keeps such things."""
        if home := os.environ.get("MODELKEEP_HOME"):
            root = Path(home).expanduser().absolute()
            return cls(root, root / "state", root / "cache")
        return cls(
            platformdirs.user_config_path(_SERVICE, appauthor=False),
            platformdirs.user_state_path(_SERVICE, appauthor=False),
            platformdirs.user_cache_path(_SERVICE, appauthor=False),
        )


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all, and on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_url(url: str) -> str:
    """The registry's URL without a slash at its end; UsageError for what is none."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0  # which raises for a wrong one
    except ValueError:
        fine = False
    if not fine or parts.query or parts.fragment or parts.username or not url.isprintable():
        raise UsageError(
            f"{url!r} is not a registry's URL", code="bad_url", hint="Write it as https://HOST[:PORT][/STAGE]."
        )
    return url.rstrip("/")


class Config:
    """What `modelkeep login` stored: a URL, and per URL whether its token is in the keyring or in a file (mode 600)."""

    def __init__(self, home: Home | None = None) -> None:
        self.home = home or Home.find()
        self._path = self.home.config / "config.json"
        self._tokens = self.home.config / "tokens.json"

    def url(self) -> str:
        """By MODELKEEP_URL, else the last login's, else `make run`'s."""
        return check_url(os.environ.get("MODELKEEP_URL") or self._load(self._path).get("url") or DEFAULT_URL)

    def token(self, url: str) -> tuple[str | None, str]:
        """The token for a registry, or None, and where it is from: MODELKEEP_TOKEN, keyring, file, none."""
        if token := os.environ.get("MODELKEEP_TOKEN"):
            return check_token(token, "MODELKEEP_TOKEN"), "MODELKEEP_TOKEN"
        where = self._load(self._path).get("tokens", {}).get(url)
        if where == "keyring":
            import keyring
            from keyring.errors import KeyringError

            with suppress(KeyringError):
                return keyring.get_password(_SERVICE, url), "keyring"
        elif where == "file":
            return self._load(self._tokens).get(url), "file"
        return None, "none"

    def login(self, url: str, token: str | None) -> str:
        """Remember the URL, and the token if there is one; where the token went: keyring, file, none."""
        stored = self._load(self._path)
        tokens = dict(stored.get("tokens", {}))
        where = "none"
        if token is not None:
            where = self._keep(url, token)
            tokens[url] = where
        write_private(self._path, json.dumps({**stored, "url": url, "tokens": tokens}, indent=2))
        return where

    def logout(self, url: str) -> bool:
        """Forget the token for a registry, wherever it is; whether there was one."""
        stored = self._load(self._path)
        tokens = dict(stored.get("tokens", {}))
        where = tokens.pop(url, None)
        if where == "keyring":
            import keyring
            from keyring.errors import KeyringError, PasswordDeleteError

            try:
                keyring.delete_password(_SERVICE, url)
            except PasswordDeleteError:
                pass  # it is gone already
            except KeyringError as error:
                raise UsageError(
                    f"the keyring does not let go of the token for {url}: {error}",
                    code="keyring",
                    hint="Unlock it and `modelkeep logout` again.",
                ) from error
        self._forget_file(url)
        if where is not None:
            write_private(self._path, json.dumps({**stored, "tokens": tokens}, indent=2))
        return where is not None

    def _forget_file(self, url: str) -> None:
        kept = self._load(self._tokens)
        if kept.pop(url, None) is not None:
            write_private(self._tokens, json.dumps(kept))

    def _keep(self, url: str, token: str) -> str:
        import keyring
        from keyring.errors import KeyringError

        try:
            keyring.set_password(_SERVICE, url, token)
            if keyring.get_password(_SERVICE, url) == token:
                self._forget_file(url)  # of a login when there was no keyring
                return "keyring"
        except (KeyringError, OSError, RuntimeError):
            pass  # a machine without one, or a locked one that nobody can unlock: the file
        write_private(self._tokens, json.dumps({**self._load(self._tokens), url: token}))
        return "file"

    @staticmethod
    def _load(path: Path) -> dict[str, Any]:
        try:
            loaded = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path} can't be read: {error}", code="bad_config", hint="Remove it and `modelkeep login` again."
            ) from error
        return loaded if isinstance(loaded, dict) else {}
