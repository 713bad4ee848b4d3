"""`python -m local.verify`: holds every file against its recorded digest, and every object against the records.

Of the registry that REGISTRY_BUCKET and REGISTRY_TABLE name, with AWS's credentials as usual; else of `make run`'s
data, whether it is running or not. Changes nothing, unless told to by --accept. The exit status is 0 if all is as
recorded, 1 if not, 2 if it could not be found out.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from local.data_folder import DataFolderInUseError
from local.jars import FetchError
from local.ports import DEFAULT_BASE, Ports, PortTakenError
from local.seaweedfs import ProgramMissingError, SeaweedFS
from local.servers import STORES, Stack, StackError, apply_environment

if TYPE_CHECKING:
    from registry.catalog.verifying import Finding, Walk

_PROGRESS_SECONDS = 5
_READ = "Every byte was read and hashed: what is not named above is what was verified when it was uploaded."
_LOOKED = (
    "Only the store's own word was taken (size, ETag, the SHA-256 that it keeps, if any): a byte that flipped on its "
    "disks shows when it is read (without --look)."
)


def main() -> None:
    """Verify, and report."""
    parser = argparse.ArgumentParser(prog="python -m local.verify", description=__doc__)
    parser.add_argument("--look", action="store_true", help="read no bytes: ask the store what it has")
    parser.add_argument(
        "--accept",
        action="store_true",
        help="after a restore that copied objects: record those whose bytes are right and whose ETag is another",
    )
    arguments = parser.parse_args()
    if arguments.look and arguments.accept:
        parser.error("--accept reads: leave --look out")
    try:
        with _registry() as name:
            print(f"{'Looking at' if arguments.look else 'Reading'} every file of {name}…", flush=True)
            status = _verify(read=not arguments.look, accept=arguments.accept)
    except (FetchError, PortTakenError, ProgramMissingError, StackError) as exc:
        print(exc, file=sys.stderr)
        status = 2
    except Exception as exc:  # noqa: BLE001  # whatever it is, it is not an answer: 1 is one
        print(f"It could not be found out: {type(exc).__name__}: {exc}", file=sys.stderr)
        status = 2
    sys.exit(status)


@contextmanager
def _registry() -> Iterator[str]:
    """What is looked at; its settings are in the environment meanwhile."""
    bucket, table = os.environ.get("REGISTRY_BUCKET"), os.environ.get("REGISTRY_TABLE")
    if bucket and table:
        yield f"bucket {bucket}, table {table}"
        return
    store = os.environ.get("MODELKEEP_STORE") or SeaweedFS.name
    if store not in STORES:
        raise StackError(f"MODELKEEP_STORE must be one of {', '.join(sorted(STORES))}, not {store!r}")
    name = ".modelkeep" if store == SeaweedFS.name else f".modelkeep-{store}"
    data = Path(os.environ.get("MODELKEEP_DATA") or name)
    if not (data / STORES[store].folder).is_dir():
        raise StackError(f"There is no registry on {store} in {data}: MODELKEEP_DATA names another folder")
    stack = Stack(data, Ports.free(), store=store)
    try:
        stack.start()
    except DataFolderInUseError:  # `make run` has its servers up
        stack = Stack(data, Ports.from_base(int(os.environ.get("MODELKEEP_PORT") or DEFAULT_BASE)), store=store)
    try:
        apply_environment(stack.environment())
        yield str(data)
    finally:
        stack.stop()


def _verify(*, read: bool, accept: bool) -> int:
    from registry.catalog import verifying  # not before the environment is set

    found: Counter[str] = Counter()
    began = time.monotonic()
    said = [began]

    def report(finding: Finding) -> None:
        found[finding.what] += 1
        print(_line(finding), flush=True)

    def progress() -> None:
        if time.monotonic() - said[0] >= _PROGRESS_SECONDS:
            said[0] = time.monotonic()
            print(f"  {_done(walk)}…", flush=True)

    walk = verifying.Walk(report, read=read, accept=accept, progress=progress)
    walk.look_at_files()
    walk.look_at_objects()
    print(f"{_done(walk)}, {time.monotonic() - began:.0f} s")
    print(_READ if read else _LOOKED)
    if accept:
        print(f"  {walk.accepted} accepted: recorded with the ETag that they have now")
    for what, count in sorted(found.items()):
        print(f"  {count} {what}: {verifying.MEANINGS[what]}")
    print("Not all is as recorded." if found else "All is as recorded.")
    return 1 if found else 0


def _line(finding: Finding) -> str:
    more = f" and {finding.more} more" if finding.more else ""
    return f"{finding.what}: {finding.user_id}/{finding.model_id} {finding.version} {finding.path}{more}"


def _done(walk: Walk) -> str:
    return (
        f"{walk.versions:,} versions, {walk.files:,} files, {walk.bytes / 1024**3:,.2f} GiB; "
        f"{walk.objects:,} objects listed"
    )


if __name__ == "__main__":
    main()
