"""Changes that build on what is said now: read, change, write only if nobody wrote meanwhile, else once more."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from modelkeep.errors import ConflictError
from modelkeep.names import Ref, parse_ref

if TYPE_CHECKING:
    from modelkeep.client import Client
    from modelkeep.results import Version

_TRIES = 30


def modify(client: Client, ref: str | Ref, change: Callable[[Version], dict[str, Any]]) -> Version:
    """Change a version by what `change` makes of it as it is (fields to set; none: nothing is written), again if
    somebody else was faster. No version in `ref`: the newest, as it is at first."""
    ref = parse_ref(ref)
    for tried in range(1, _TRIES + 1):
        version = client.get(ref)
        ref = ref.at(version.version)
        fields = change(version)
        if not fields:
            return version
        try:
            return client.update(ref, if_match=version.etag, **fields)
        except ConflictError as error:
            if error.status != 412 or tried == _TRIES:
                raise
        time.sleep(random.uniform(0, min(0.02 * 2**tried, 1.0)))  # noqa: S311 so that two do not meet again
    raise AssertionError


def tag(client: Client, ref: str | Ref, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Version:
    """Add and remove tags (upper and lower case are the same); whoever tags at the same time loses nothing."""
    added = [each.strip() for each in add]
    gone = {each.strip().casefold() for each in remove}

    def change(version: Version) -> dict[str, Any]:
        tags = [each for each in version.tags if each.casefold() not in gone]
        known = {each.casefold() for each in tags}
        for each in added:
            if each.casefold() not in known:
                known.add(each.casefold())
                tags.append(each)
        return {} if tags == version.tags else {"tags": tags}

    return modify(client, ref, change)
