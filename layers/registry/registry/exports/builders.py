"""Who builds a version's ZIP: one at a time, for a minute at a time, fenced by a counter."""

from __future__ import annotations

import threading
import time
from typing import Any

from registry import records
from registry.observability import get_logger
from registry.records import ArchiveRow
from registry.settings import get_settings

_HOPS_WITHOUT_PROGRESS = 5


class Builder:
    """The right to build one archive: a lease that a thread renews while the `with` block runs, and what is on record
    of the building."""

    def __init__(self, upload_id: str) -> None:
        self._row = ArchiveRow(f"Z#{upload_id}", "#")
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._left = False
        self._thread = threading.Thread(target=self._renew, name=f"builder-{upload_id[-6:]}", daemon=True)

    def acquire(self, *, after: int | None) -> bool:
        """Takes it, if nobody has it, or the builder `after` whom this one comes, by its fence, has left it."""
        now = int(time.time())
        free = ArchiveRow.lease_until.does_not_exist() | (ArchiveRow.lease_until < now)
        free = free if after is None else free | (ArchiveRow.fence == after)
        expires = now + 2 * get_settings().archive_expires_seconds
        actions = [ArchiveRow.lease_until.set(_until()), ArchiveRow.fence.add(1), ArchiveRow.expires.set(expires)]
        return records.update_if(self._row, actions, free)

    @property
    def fence(self) -> int:
        """Which builder of this archive this is."""
        return int(self._row.fence)

    @property
    def multipart(self) -> str | None:
        """The multipart upload that it is assembled in."""
        return self._row.multipart

    @property
    def plan(self) -> str | None:
        """Of which plan its parts are."""
        return self._row.plan

    @property
    def lost(self) -> bool:
        """Whether somebody else has it."""
        return self._lost.is_set()

    def check(self) -> None:
        """RuntimeError if it was lost."""
        if self.lost:
            raise RuntimeError("the lease of this archive was lost")

    def note(self, multipart: str, plan: str) -> None:
        """Puts the multipart upload on record, for a successor."""
        self._update(ArchiveRow.multipart.set(multipart), ArchiveRow.plan.set(plan))

    def forget(self) -> None:
        """The multipart upload is no more."""
        self._update(ArchiveRow.multipart.remove(), ArchiveRow.plan.remove())

    def hand_over(self, done: int) -> bool:
        """Leaves it to a successor, and to nobody else while that one may still come. False if too many in a row have
        got nothing done."""
        hops = 0 if done > int(self._row.done) else int(self._row.hops) + 1
        if hops >= _HOPS_WITHOUT_PROGRESS:
            self._update(ArchiveRow.hops.set(0))
            return False
        self._update(ArchiveRow.hops.set(hops), ArchiveRow.done.set(done), ArchiveRow.lease_until.set(_until()))
        self._left = True
        return True

    def _update(self, *actions: Any) -> None:
        if not records.update_if(self._row, actions, self._ours):
            self._lost.set()
            self.check()

    @property
    def _ours(self) -> records.Condition:
        return ArchiveRow.fence == self.fence

    def _renew(self) -> None:
        row = ArchiveRow(self._row.pk, self._row.sk)
        until = _until()
        while not self._stop.wait(get_settings().lease_seconds / 3):
            try:
                renewed = records.update_if(row, [ArchiveRow.lease_until.set(_until())], self._ours)
                until = _until()
            except Exception:  # noqa: BLE001  # whatever it is: without a renewal the lease runs out
                get_logger().exception("lease not renewed", upload_id=self._row.pk)
                renewed = time.time() < until
            if not renewed:
                self._lost.set()
                return

    def __enter__(self) -> Builder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if not self._left:
            records.update_if(ArchiveRow(self._row.pk, "#"), [ArchiveRow.lease_until.set(0)], self._ours)


def _until() -> int:
    return int(time.time()) + get_settings().lease_seconds
