"""What this store can do, found out by asking it, and said once: docs/stores.md tells what is done instead."""

from __future__ import annotations

from registry.storage import copying, multiparts

_DIGESTS = {
    "part_copy": "it tells the SHA-256 of what it copies, by the part",
    "copy": "it tells the SHA-256 of what it copies, by the object",
    "read": "it does not tell the SHA-256 of what it copies: every file is read once more for it",
}


def probe() -> list[str]:
    """What the store can do and what it lacks, a sentence each. Costs about twenty requests, once a process: what is found
    is logged and kept where it is used. An error of the store is raised, and nothing is kept."""
    found = [_DIGESTS[copying.digest_method()]]
    if multiparts.lists_digests():
        found.append("it lists the digests that parts were checked against")
    else:
        found.append("it does not list the digests that parts were checked against: they are checked as they arrive")
    if copying.checks_crcs():
        found.append("it holds what it makes of copied parts against a CRC-32 of all of it")
    else:
        found.append("it does not hold what it makes of copied parts against a CRC-32 of all of it")
    return found
