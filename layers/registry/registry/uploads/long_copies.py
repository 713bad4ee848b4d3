"""Copies that one function may not live long enough for: what is done of them is on record, for the next one to go on
from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from registry import records
from registry.deadlines import Deadline, OutOfTimeError
from registry.hashing import ResumableHash
from registry.observability import get_logger
from registry.records import MemberRow, UploadRow
from registry.storage import copying, hashing, multiparts, parts
from registry.storage.client import MultipartMissingError
from registry.storage.multiparts import PartPlan, StoredPart
from registry.storage.objects import StoredObject
from registry.uploads import specs
from registry.uploads.leases import Lease, LeaseLostError


class Progress:
    """The row of a file that is being made, of which this holder of the lease, and nobody before it, writes what is
    done."""

    def __init__(self, lease: Lease, source: StoredObject, key: str, number: int) -> None:
        self.lease, self.source, self.key = lease, source, key
        self.row = MemberRow(lease.upload.pk, specs.member_sk(number))
        # Another share's fences are others: they matter only where two versions of this code picked differently.
        free = MemberRow.pk.does_not_exist() | (MemberRow.share != lease.share) | (MemberRow.fence <= lease.fence)
        actions = [MemberRow.share.set(lease.share), MemberRow.fence.set(lease.fence)]
        if lease.upload.expires is not None:
            actions.append(MemberRow.expires.set(int(lease.upload.expires)))
        self._write(actions, free)

    @property
    def begun(self) -> str | None:
        """The multipart of this very source's file, if there is one."""
        return self.row.multipart if self.row.etag == self.source.etag and self.row.key == self.key else None

    def begin(self, multipart: str) -> None:
        """Begins anew, with this multipart."""
        abort(self.row)
        actions = [
            MemberRow.etag.set(self.source.etag),
            MemberRow.key.set(self.key),
            MemberRow.multipart.set(multipart),
            MemberRow.crcs.remove(),
            MemberRow.state.remove(),
        ]
        try:
            self._write(actions, self._ours)
        except BaseException:
            multiparts.abort_multipart(self.key, multipart)
            raise

    def save(self, state: str, *, crcs: str | None = None) -> None:
        """Notes how far it is. LeaseLostError if somebody else goes on with it."""
        self.lease.check()
        self._write([MemberRow.state.set(state), *([MemberRow.crcs.set(crcs)] if crcs is not None else [])], self._ours)
        self.lease.moved = True

    def abandon(self) -> None:
        """Nothing becomes of it: what is there of it goes."""
        abort(self.row)
        records.delete_if(self.row, self._ours)

    @property
    def _ours(self) -> Any:
        return (MemberRow.share == self.lease.share) & (MemberRow.fence == self.lease.fence)

    def _write(self, actions: Sequence[Any], condition: Any) -> None:
        if not records.update_if(self.row, actions, condition):
            raise LeaseLostError(self.lease.upload.upload_id)


def copy(
    progress: Progress,
    offset: int,
    size: int,
    deadline: Deadline,
    *,
    read: bool = True,
    crc32: int | None = None,
    check: Callable[[ResumableHash], None] = lambda digest: None,
) -> tuple[str, ResumableHash | None] | None:
    """Has the store copy `size` bytes of the source, in parts side by side, and reads them once meanwhile if so told:
    the ETag, and their hash, which `check` has seen before. None if there was no time for all of it."""
    lease, source = progress.lease, progress.source
    plan = multiparts.plan_parts(size, smallest=parts.PART_BYTES)
    whole = crc32 is not None and copying.checks_crcs()
    before = _copied_before(progress, plan)
    if before is None:
        checksum = "CRC32" if whole else None
        progress.begin(multiparts.create_multipart(progress.key, checksum=checksum, whole=whole))
        before = {}
    multipart = progress.begun
    assert multipart is not None

    def look(longest: float) -> None:
        lease.check()
        deadline.stop_unless_fits(longest)  # a function that is ended with copies under way has copied for nothing
        if deadline.passed:
            raise OutOfTimeError

    def until() -> bool:
        lease.check()
        return deadline.passed

    digest: ResumableHash | None = None
    try:
        with parts.copies(source, progress.key, multipart, offset, size, skip=before.keys(), check=look) as started:
            if read:
                state = progress.row.state
                digest = hashing.hash_range(source, offset, size, state=state, until=until, save=progress.save)
                if digest is None:
                    raise OutOfTimeError
            copied = before | {part.number: part for part in parts.collect(started)}
    except OutOfTimeError:
        now = multiparts.list_parts(progress.key, multipart)
        lease.moved = lease.moved or len(now) > len(before)
        get_logger().info("copy put off", key=progress.key, copied=len(now), parts=plan.count)
        return None
    lease.check()
    if digest is not None:
        check(digest)
    listed = [copied[number] for number in sorted(copied)]
    etag = multiparts.complete_multipart(progress.key, multipart, listed, crc32=crc32 if whole else None)
    return etag, digest


def abort(row: MemberRow) -> None:
    """Throws away what is there of a file that nobody comes to the end of."""
    if row.key and row.multipart:
        multiparts.abort_multipart(row.key, row.multipart)


def forget(upload: UploadRow, number: int) -> None:
    """A file is on record as done: what was noted on the way goes."""
    MemberRow(upload.pk, specs.member_sk(number)).delete()


def _copied_before(progress: Progress, plan: PartPlan) -> dict[int, StoredPart] | None:
    if progress.begun is None:
        return None
    try:
        found = multiparts.list_parts(progress.key, progress.begun)
    except MultipartMissingError:
        return None
    return {part.number: part for part in found if part.number <= plan.count and part.size == plan.length(part.number)}
