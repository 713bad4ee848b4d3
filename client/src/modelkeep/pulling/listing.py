"""A version's files page by page, and a URL of each that is alive: 500 of them by one call."""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelkeep.api import TRANSFER_PATIENCE, Api
from modelkeep.errors import UnavailableError
from modelkeep.names import Ref
from modelkeep.pulling.paths import show
from modelkeep.results import File

_KEPT = 16  # pages whose URLs are in memory: 8,000 of up to 2 kB
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Item:
    """What has to be known of a file to have it here: its path in the version, bytes, SHA-256."""

    path: str
    size: int
    sha256: str


def check_items(files: Iterable[File], ref: Ref) -> Iterator[Item]:
    """What has to be known of listed files; UnavailableError where it can't be: no digest, no size, out of order."""
    last = ""
    for file in files:
        sound = (
            isinstance(file.path, str)
            and isinstance(file.sha256, str)
            and isinstance(file.size, int)
            and not isinstance(file.size, bool)
        )
        if not sound or file.size < 0 or not _SHA256.fullmatch(file.sha256) or file.path <= last:
            raise UnavailableError(
                f"the registry's list of {ref} makes no sense at {show(str(file.path))}", code="bad_list"
            )
        last = file.path
        yield Item(file.path, file.size, file.sha256)


class Listing:
    """The files of one version (`ref` names it), read once from its first page to its last; then `url` and `renew`, for
    many threads. Far pages' URLs are forgotten and asked for again when their turn comes."""

    def __init__(self, api: Api, ref: Ref) -> None:
        self._api = api
        self._ref = ref
        self._lock = threading.Lock()
        self._starts: list[str] = []  # the first path of each page
        self._pages: list[str | None] = []  # each page's own URL; the first has none
        self._digests: dict[str, str] = {}
        self._urls: OrderedDict[int, dict[str, str]] = OrderedDict()

    def items(self) -> Iterator[Item]:
        """All files by path. UnavailableError where the registry says what can't be."""
        for item in check_items(self._files(), self._ref):
            self._digests[item.path] = item.sha256
            yield item

    def _files(self) -> Iterator[File]:
        page: str | None = None
        while True:
            files, following = self._ask(page)
            number = len(self._pages)
            if files:
                self._starts.append(files[0].path)
                self._pages.append(page)
            if number < _KEPT:
                self._keep(number, files)
            yield from files
            if following is None or not files:
                return
            page = following

    def check_count(self, count: int) -> None:
        """UnavailableError unless so many files were listed: a page may have lost its Link on the way."""
        if len(self._digests) != count:
            raise UnavailableError(
                f"the registry's list of {self._ref} has {len(self._digests)} files, and the version {count}",
                code="bad_list",
                hint="Try again. Is there a proxy before the registry that drops headers?",
            )

    def digest(self, path: str) -> str | None:
        """A listed file's SHA-256; None: the version has no such file."""
        return self._digests.get(path)

    def digests(self) -> set[str]:
        """Of all listed files."""
        return set(self._digests.values())

    def url(self, path: str) -> str:
        """A URL of a listed file, as fresh as we have it."""
        with self._lock:
            return self._find(path)

    def renew(self, path: str, dead: str) -> str:
        """Another URL than `dead`, which the store does not take any more; threads that come together ask once."""
        with self._lock:
            url = self._find(path)
            if url == dead:
                self._urls.pop(self._number(path))
                url = self._find(path)
            return url

    def _find(self, path: str) -> str:
        number = self._number(path)
        if number not in self._urls:
            self._keep(number, self._ask(self._pages[number], patience=TRANSFER_PATIENCE)[0])
        url = self._urls[number].get(path)
        if url is None:
            raise UnavailableError(f"the registry gives no URL of {show(path)}", code="no_url")
        return url

    def _number(self, path: str) -> int:
        return bisect_right(self._starts, path) - 1

    def _keep(self, number: int, files: list[File]) -> None:
        self._urls[number] = {file.path: file.url for file in files if file.url}
        while len(self._urls) > _KEPT:
            self._urls.popitem(last=False)

    def _ask(self, page: str | None, *, patience: float | None = None) -> tuple[list[File], str | None]:
        if page is None:
            path, query = f"{self._ref.route}/files", {**self._ref.query, "urls": True}
        else:
            path, query = page, {}
        answer = self._api.call("GET", path, query=query, patience=patience)
        return [File.from_json(row) for row in answer.rows], answer.following
