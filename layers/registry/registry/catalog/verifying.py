"""Integrity at rest: whether what the store has still is what was recorded, and whether all that it has is on record.

An offline job: it scans the table, whose rows are in no order that says where versions are, and lists all of models/.
It changes nothing but the row that says how far it is, unless it is told to `accept`. Before anything is said of a
version it is looked at once more, as it may have been deleted meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import groupby

from registry import hashing, naming, records
from registry.catalog import changing, publishing, reading
from registry.deadlines import Deadline, OutOfTimeError
from registry.files import StoredFile
from registry.naming import ModelKey
from registry.observability import get_logger, write_damaged_files
from registry.records import CheckRow, VersionRow, WorkRow
from registry.settings import get_settings
from registry.storage import objects, verifying
from registry.storage.objects import StoredObject

MEANINGS = {
    "missing": "there is no object",
    "damaged": "its bytes are not those that were recorded",
    "unreadable": "the store has an object and does not give its bytes",
    "replaced": "another object than was recorded, by its ETag, though of the right size and, if read, the right bytes",
    "incomplete": "fewer files of this version are on record than it has",
    "unrecorded": "an object that no record names",
}
_ROW = ("V#files", "#")
_FILES_AT_ONCE, _BYTES_AT_ONCE = 64, 64 * 1024 * 1024
_SAVE_SECONDS = 30
# What a request weighs beside the bytes that it brings: many small files cost by their number.
_FILE_WEIGHT, _OBJECT_WEIGHT = 64 * 1024, 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: `what`, a key of MEANINGS, of which file; and how many `more` of the
    version's."""

    what: str
    user_id: str
    model_id: str
    version: str
    path: str
    more: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """How far a walk is: behind the version whose row is `after`; within the next one, if it still is `upload_id`,
    behind the file `path`, and how far the file after that was read (`state`). With `key` it is at the objects."""

    after: list[str] | None = None
    upload_id: str | None = None
    path: str | None = None
    state: str | None = None
    key: str | None = None


class Walk:
    """A walk over all files, then over all objects, from `place` on; until the time is over, or about `budget` bytes
    are read, but one file at least. Without `read`, files are looked at by the store's word alone; with `accept`,
    objects whose bytes are right and whose ETag is another are recorded as those that count."""

    def __init__(
        self,
        report: Callable[[Finding], None],
        *,
        read: bool = True,
        accept: bool = False,
        place: Place | None = None,
        save: Callable[[Place], None] = lambda place: None,
        progress: Callable[[], None] = lambda: None,
        deadline: Deadline | None = None,
        budget: int | None = None,
    ) -> None:
        self._report = report
        self._read = read
        self._accept = accept
        self.place = place or Place()
        self._save = save
        self._progress = progress
        self._saved_at = time.monotonic()
        self._deadline = deadline or Deadline(None)
        self._budget = budget
        self._spent = 0
        self.versions = self.files = self.bytes = self.objects = self.accepted = 0

    # -- files --------------------------------------------------------------------------------------------------------

    def look_at_files(self) -> bool:
        """Holds the files of all published versions against the store. Whether it came to the end."""
        try:
            for row in self._ready_rows():
                self._look_at_version(row)
                self.versions += 1
                self._reach(Place(after=[row.pk, row.sk]))
        except OutOfTimeError:
            return False
        self._reach(Place(key=""))
        return True

    def _ready_rows(self) -> Iterator[VersionRow]:
        start = {name: {"S": text} for name, text in zip(("pk", "sk"), self.place.after or (), strict=False)}
        ready = VersionRow.pk.startswith("M#") & VersionRow.sk.startswith("V#") & (VersionRow.status == "ready")
        return VersionRow.scan(ready, last_evaluated_key=start or None)

    def _look_at_version(self, row: VersionRow) -> None:
        after = self.place.path if self.place.upload_id == row.upload_id else None
        state = self.place.state if self.place.upload_id == row.upload_id else None
        count = 0
        for batch in _batches(reading.iter_files(row, after=after)):
            if self._deadline.passed or (self._budget is not None and self._spent >= self._budget):
                raise OutOfTimeError
            self._look_at_batch(row, batch, replace(self.place, upload_id=row.upload_id, state=state))
            state, count = None, count + len(batch)
        if after is None and count != row.file_count and _find_again(row):
            self._report(_of(row, "incomplete", ""))

    def _look_at_batch(self, row: VersionRow, batch: list[StoredFile], place: Place) -> None:
        behind = replace(place, path=batch[-1].path, state=None)

        def keep(state: str) -> None:
            self._reach(replace(place, state=state))

        def stop() -> bool:
            return self._deadline.passed

        accepted: list[StoredFile] = []

        def look(file: StoredFile) -> verifying.Fault | None:
            recorded = StoredObject(naming.file_key(row.prefix, file.path), file.size, file.etag)
            if not self._read:
                return verifying.look(recorded, file.sha256)
            now = objects.find_object(recorded.key) if self._accept else None
            if now is None or now.etag == recorded.etag or now.size != recorded.size:
                return verifying.read(recorded, file.sha256, state=place.state, until=stop, save=keep)
            fault = verifying.read(now, file.sha256)
            if fault is None:
                accepted.append(replace(file, etag=now.etag))
            return fault

        try:
            faults = records.side_by_side(look, batch)
        except OutOfTimeError:
            if not hashing.can_resume():  # nor could the next run come to its end: the others shall have their turn
                get_logger().warning("file not verified: no run lives long enough", key=row.prefix + batch[0].path)
                self._reach(behind)
            raise
        found = [_of(row, fault, file.path) for file, fault in zip(batch, faults, strict=True) if fault is not None]
        now = _find_again(row) if found or accepted else None
        if now is not None:
            for finding in found:
                self._report(finding)
            changing.remember_files(now, accepted)
            publishing.remember_digests(now, accepted)
            self.accepted += len(accepted)
        size = sum(file.size for file in batch)
        self.files, self.bytes = self.files + len(batch), self.bytes + size
        self._spent += size + len(batch) * _FILE_WEIGHT
        self._reach(behind)

    # -- objects ------------------------------------------------------------------------------------------------------

    def look_at_objects(self) -> bool:
        """Looks for objects that no record names. Whether it came to the end."""
        suspects: list[tuple[ModelKey, StoredObject, int]] = []
        ended = False
        top = get_settings().models_prefix
        listed = objects.list_objects(top, after=self.place.key or "")
        for key, entries in groupby(listed, lambda entry: naming.parse_model_key(entry.key)):
            found = list(entries)
            self.objects += len(found)
            self._spent += len(found) * _OBJECT_WEIGHT
            unknown = _unknown(key, found)
            if key is not None and unknown:
                suspects.append((key, unknown[0], len(unknown)))
            self._reach(Place(key=found[-1].key))
            if self._deadline.passed or (self._budget is not None and self._spent >= self._budget):
                break
        else:
            ended = True
        self._report_unrecorded(suspects)
        self._reach(Place() if ended else self.place)
        return ended

    def _report_unrecorded(self, suspects: list[tuple[ModelKey, StoredObject, int]]) -> None:
        """Unless there is work on record that takes them away, or they have been since they were listed."""
        if not suspects:
            return
        shards = (WorkRow.query(f"WK#{shard}", consistent_read=True) for shard in range(records.WORK_SHARDS))
        busy = {work.prefix for shard in shards for work in shard if work.kind != "archive"}
        for key, entry, count in suspects:
            if key.prefix in busy or objects.find_object(entry.key) is None or not _unknown(key, [entry]):
                continue
            path = entry.key.removeprefix(key.prefix)
            self._report(Finding("unrecorded", key.user_id, key.model_id, key.version, path, count - 1))

    def _reach(self, place: Place) -> None:
        self.place = place
        self._progress()
        if time.monotonic() - self._saved_at >= _SAVE_SECONDS:
            self._save(place)
            self._saved_at = time.monotonic()


def verify_some(budget: int, deadline: Deadline) -> None:
    """One run of many: goes on where the last one stopped, reads about `budget` bytes of files or, when all files have
    been read, looks at the objects, and begins anew after that. Each finding is an error in the log and is counted."""
    if budget <= 0:
        return
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        findings.append(finding)
        log = get_logger()
        said = asdict(finding)
        if finding.what == "unrecorded":
            log.warning("object without record", **said)
        else:
            log.error("file damaged", meaning=MEANINGS[finding.what], **said)

    place = _find_place()
    walk = Walk(report, place=place, save=_save, deadline=deadline, budget=budget)
    try:
        if place.key is None:
            walk.look_at_files()
        else:
            walk.look_at_objects()
    finally:  # where the walk was broken off by an error, the next one goes on there
        _save(walk.place)
        write_damaged_files(sum(finding.what != "unrecorded" for finding in findings), "verify_files")
        get_logger().info(
            "files verified", files=walk.files, bytes=walk.bytes, objects=walk.objects, findings=len(findings)
        )


def _find_place() -> Place:
    row = CheckRow.find(*_ROW)
    try:
        return Place(**row.place) if row is not None else Place()
    except TypeError:  # of code that said it otherwise: from the beginning
        return Place()


def _save(place: Place) -> None:
    CheckRow(*_ROW, place=asdict(place)).save()


def _batches(files: Iterable[StoredFile]) -> Iterator[list[StoredFile]]:
    """Files that are looked at side by side: a large one by itself."""
    batch: list[StoredFile] = []
    size = 0
    for file in files:
        if batch and (len(batch) >= _FILES_AT_ONCE or size + file.size > _BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch


def _of(row: VersionRow, what: str, path: str) -> Finding:
    return Finding(what, row.user_id, row.model_id, row.version, path)


def _find_again(row: VersionRow) -> VersionRow | None:
    """The version as it is now; None if it is no longer there."""
    now = VersionRow.find(row.pk, row.sk)
    return now if now is not None and now.status == "ready" and now.upload_id == row.upload_id else None


def _unknown(key: ModelKey | None, found: list[StoredObject]) -> list[StoredObject]:
    """Those of a version's objects that are no file of it, nor can become one."""
    if key is None:  # the claim, or what others keep in this bucket
        return []
    row = VersionRow.find(*records.version_key(key.user_id, key.model_id, key.version))
    if row is None or row.status == "gone" or row.prefix != key.prefix:
        return found
    if row.status != "ready":
        return []
    known = {naming.file_key(row.prefix, file.path) for file in reading.iter_files(row)}
    return [entry for entry in found if entry.key not in known]
