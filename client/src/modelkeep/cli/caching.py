"""This machine's cache of pulled files."""

from __future__ import annotations

import re

import click

from modelkeep.cli.common import Shared, common, pass_shared
from modelkeep.cli.text import count, size
from modelkeep.errors import UsageError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@click.group("cache", invoke_without_command=True)
@common
@pass_shared
@click.pass_context
def cache_command(context: click.Context, shared: Shared) -> None:
    """Show what the cache of pulled files takes, or make room.

    Versions that share a file share its place in the cache. With --json one
    object: path, files, bytes.

    \b
    Examples:
      modelkeep cache
      modelkeep cache prune --keep 20GB
    """
    if context.invoked_subcommand is not None:
        return
    from modelkeep.config import Home
    from modelkeep.pulling.cache import Cache

    folder = Home.find().cache
    usage = Cache(folder).usage()
    shared.out.result(
        {"path": str(folder), "files": usage.files, "bytes": usage.bytes},
        f"{folder}: {count(usage.files, 'file')}, {size(usage.bytes)}",
    )


@cache_command.command("prune")
@click.option("--keep", metavar="SIZE", default="0", help="Keep so much of what was used last, as 20GB.")
@common
@pass_shared
def _prune(shared: Shared, keep: str) -> None:
    """Remove cached files, those first that were used longest ago.

    Pulled folders keep theirs.

    \b
    Examples:
      modelkeep cache prune
      modelkeep cache prune --keep 500MB
    """
    from modelkeep.config import Home
    from modelkeep.pulling.cache import Cache

    removed = Cache(Home.find().cache).prune(keep=_bytes(keep))
    shared.out.result({"bytes_removed": removed}, f"Removed {size(removed)}.")


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip(), re.IGNORECASE)
    if not found:
        raise UsageError(f"{text!r} is no size", hint="Write it as 500MB or 20GB.")
    return int(float(found[1]) * _UNITS[found[2].lower()])
