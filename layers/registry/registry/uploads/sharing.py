"""Archives with much to inflate: their members in shares, which several functions work on side by side."""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence

from registry import records
from registry.archives import DEFLATED, Member
from registry.records import ShareRow, UploadRow
from registry.settings import MIB, get_settings
from registry.uploads import long_members, specs, waking

_SHARE_BYTES = 1024 * MIB  # some 15 s of a function's work: less is not worth one of its own
# What the store copies inside itself weighs as much less than what passes through a function.
_COPIED_WEIGHT = 8
_COPIED_BYTES = 5 * MIB


def count_shares(upload: UploadRow, archive_members: Sequence[Member]) -> int:
    """Into how many shares an archive goes. One by form is worked on by its own request."""
    if upload.kind != "archive":
        return 1
    streamed = sum(_weight(member) for member in archive_members)
    return max(1, min(get_settings().unpack_shares, len(archive_members), -(-streamed // _SHARE_BYTES)))


def is_spread(upload: UploadRow) -> bool:
    """Whether an upload's archive is worked on in shares."""
    return _count(upload) > 1


def pick(archive_members: Sequence[Member], share: int, shares: int) -> list[Member]:
    """The members of one share, of as much work as any: the same whoever asks. Neighbours that are read by one request
    stay together."""
    runs = long_members.plan_runs(archive_members)
    runs.sort(key=lambda run: (-sum(map(_weight, run)), run[0].index))
    loads = [(0, number) for number in range(shares)]
    picked: list[Member] = []
    for run in runs:
        load, number = heapq.heappop(loads)
        heapq.heappush(loads, (load + sum(map(_weight, run)), number))
        if number == share:
            picked += run
    return picked


def create(upload: UploadRow, shares: int) -> None:
    """Notes that there are shares, before the upload says so; those that are there already stay as they are."""
    for number in range(shares):
        records.save_if(specs.new_share_row(upload, number), ShareRow.pk.does_not_exist())


def start_free(upload: UploadRow) -> bool:
    """Has somebody go on with each share that nobody works on; False if there is none left to be done."""
    found = _find(upload)
    if len(found) < _count(upload):  # of a beginning anew that died half done, and then the first archive came back
        create(upload, _count(upload))
        found = _find(upload)
    due = [row for row in found if not row.done]
    for row in due:
        if row.lease_until < time.time():
            waking.start_share(upload.upload_id, int(row.sk[2:]))
    return bool(due)


def reopen(upload: UploadRow) -> None:
    """Has all shares looked at once more: members are missing although each is done, as when they were picked
    differently by two versions of this code."""
    for row in _find(upload):
        records.update_if(row, [ShareRow.done.set(False)], ShareRow.pk.exists())
    start_free(upload)


def retire(upload: UploadRow) -> bool:
    """Takes the shares away, so that nobody can begin to work on them; False if somebody still does."""
    now = int(time.time())
    return all(records.delete_if(row, ShareRow.lease_until < now) for row in _find(upload))


def _find(upload: UploadRow) -> list[ShareRow]:
    return [
        row
        for row in ShareRow.query(upload.pk, ShareRow.sk.startswith("U#"), consistent_read=True)
        if int(row.sk[2:]) < _count(upload)
    ]


def _count(upload: UploadRow) -> int:
    return int((upload.archive or {}).get("shares", 1))


def _weight(member: Member) -> int:
    if member.method == DEFLATED or member.size < _COPIED_BYTES:
        return member.size
    return member.size // _COPIED_WEIGHT
