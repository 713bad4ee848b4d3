"""Ranges of the store's objects, patiently: going on where a connection broke, with fresh URLs where one died."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from modelkeep.api import TRANSFER_PATIENCE
from modelkeep.connections import patiently
from modelkeep.errors import IntegrityError, UnavailableError
from modelkeep.pulling.crew import Crew
from modelkeep.pulling.paths import show
from modelkeep.store import ExpiredError, Store

_REFUSALS = 3  # fresh URLs in a row that the store may refuse


class Urls(Protocol):
    """Where the URLs of a path come from."""

    def url(self, path: str) -> str:
        """One that should be alive."""

    def renew(self, path: str, dead: str) -> str:
        """Another one."""


class Fetcher:
    """Ranges of files, for many threads; it stops where the crew stops."""

    def __init__(self, store: Store, urls: Urls, crew: Crew) -> None:
        self._store = store
        self._urls = urls
        self._crew = crew

    def fetch(self, path: str, start: int, length: int, write: Callable[[bytes], None]) -> None:
        """Give a range's bytes to `write`, in order, each once. UnavailableError after minutes without any."""
        done, refused = 0, 0
        url = self._urls.url(path)

        def attempt() -> None:
            nonlocal done
            began = done
            try:
                for chunk in self._store.get(url, start + done, length - done):
                    self._crew.check()
                    if len(chunk) > length - done:
                        raise IntegrityError(f"the store sent more of {show(path)} than was asked for")
                    write(chunk)
                    done += len(chunk)
            except UnavailableError:
                if done == began:
                    raise  # wait, and again; where bytes came, patience begins anew

        while done < length:
            before = done
            try:
                patiently(attempt, seconds=TRANSFER_PATIENCE, retry=self._again)
            except ExpiredError as error:
                refused = 1 if done > before else refused + 1
                if refused > _REFUSALS:
                    raise UnavailableError(
                        f"the store does not give {show(path)}: {error.detail}",
                        code="store_refuses",
                        hint="`modelkeep doctor` looks for the cause; the same command goes on where this ended.",
                    ) from error
                url = self._urls.renew(path, url)

    def _again(self, error: BaseException) -> bool:
        self._crew.check()
        return isinstance(error, UnavailableError)
