"""Building a version's ZIP in the store: of copies inside it where it makes them, else streamed."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from registry import archives, naming, records, tasks
from registry.archives import Part
from registry.deadlines import Deadline
from registry.errors import UnavailableError
from registry.exports.builders import Builder
from registry.exports.contents import Content, OutOfTimeError, archive_key, plan_version, work_row
from registry.observability import get_logger
from registry.records import ArchiveRow, VersionRow, WorkRow
from registry.settings import get_settings
from registry.storage import assembling, copying, multiparts, objects
from registry.storage.client import ChecksumError, MultipartMissingError, ObjectChangedError, ObjectMissingError
from registry.storage.writing import ObjectWriter

_TRIES = 3


def find_or_build(row: VersionRow) -> str:
    """The key of a version's ZIP in the store, built if need be. UnavailableError `archive_building` where that
    takes longer than a request may wait."""
    key = archive_key(row)
    wait = get_settings().wait_seconds
    end = time.monotonic() + wait if wait else None
    started, fence, pause = False, None, 0.05
    while objects.find_object(key) is None:
        builder = ArchiveRow.find(f"Z#{row.upload_id}")
        if builder is None or builder.lease_until < time.time():
            if started and builder is not None and builder.lease_until == 0 and builder.fence != fence:
                if objects.find_object(key) is not None:
                    break  # built since it was looked for
                raise UnavailableError("The ZIP could not be built: try again later", code="archive_failed")
            if not started:
                fence = builder.fence if builder is not None else None
                event = {"user_id": row.user_id, "model_id": row.model_id, "version": row.version}
                tasks.start_function("build_archive", event)
                started = True
        if end is not None and time.monotonic() >= end:
            raise UnavailableError("The ZIP is being built: ask again", code="archive_building")
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)
    return key


def build_archive(event: dict[str, Any], deadline: Deadline | None = None) -> None:
    """Builds a version's ZIP in the store, unless somebody does or has. What there is no time for is left to a
    successor."""
    row = VersionRow.find(*records.version_key(event["user_id"], event["model_id"], event["version"]))
    if row is None or row.status != "ready" or event.get("upload_id") not in (None, row.upload_id):
        if "upload_id" in event:
            _leave(event)
        return
    builder = Builder(row.upload_id)
    if not builder.acquire(after=event.get("after")):
        return
    key = archive_key(row)
    with builder:
        if objects.find_object(key) is not None:
            return
        work_row(row).save()
        try:
            _build(row, key, builder, deadline or Deadline(None))
        except OutOfTimeError as stopped:
            if builder.hand_over(stopped.done):
                tasks.start_function("build_archive", {**event, "upload_id": row.upload_id, "after": builder.fence})
                return
            _forget(key, builder)
            raise RuntimeError("what is left of this archive takes longer than a function may run") from stopped
        except (ObjectMissingError, ObjectChangedError, ChecksumError):
            _forget(key, builder)
            if _is_there(row):
                raise
    if not _is_there(row):
        objects.delete_object(key)  # deleted meanwhile, and its archive with it: this one came later


def _leave(event: dict[str, Any]) -> None:
    """A successor finds its version deleted: what was begun goes now, not when the sweep drops it."""
    key = naming.archive_key(event["user_id"], event["model_id"], event["version"], event["upload_id"])
    builder = Builder(event["upload_id"])
    if builder.acquire(after=event.get("after")):
        with builder:
            _forget(key, builder)


def _is_there(row: VersionRow) -> bool:
    now = VersionRow.find(row.pk, row.sk)
    return now is not None and now.status == "ready" and now.upload_id == row.upload_id


def _build(row: VersionRow, key: str, builder: Builder, deadline: Deadline) -> None:
    content = plan_version(row, filename="", deadline=deadline)
    plan = archives.plan_assembly(content.segments)
    sent = archives.sent_bytes(plan)
    if len(plan) == 1:
        objects.put_object(key, content.read_at_once(0, content.size - 1))
    else:
        try:
            _assemble(content, plan, key, builder, deadline)
        except assembling.RangeCopyMissingError:
            _forget(key, builder)
            get_logger().info("archive streamed: the store copies no ranges", upload_id=row.upload_id)
            _stream(content, key, builder)
            sent = content.size
    get_logger().info("archive built", upload_id=row.upload_id, bytes=content.size, sent=sent)


def _assemble(content: Content, plan: list[Part], key: str, builder: Builder, deadline: Deadline) -> None:
    """In the multipart upload of an earlier builder, if it had the same plan."""
    assert content.crc32 is not None
    parts = [_resolve(content, part) for part in plan]
    named = f"{content.crc32:08x}-{copying.checks_crcs()}-{hashlib.sha256(repr(plan).encode()).hexdigest()}"
    for _ in range(_TRIES):
        multipart = builder.multipart
        if multipart is None or builder.plan != named:
            _forget(key, builder)
            multipart = assembling.begin(key)
            builder.note(multipart, named)
        try:
            made = assembling.send_parts(key, multipart, parts, stop=lambda: deadline.passed or builder.lost)
            builder.check()
            if len(made) < len(parts):
                raise OutOfTimeError(len(content.objects) + len(made))
            assembling.complete(key, multipart, made, crc32=content.crc32)
        except MultipartMissingError:
            builder.check()
            builder.forget()
            if objects.find_object(key) is None:
                continue  # the store has thrown it away meanwhile
        builder.forget()
        objects.delete_prefix(assembling.scratch_prefix(key))  # of builders that died
        return
    raise RuntimeError("the multipart upload of this archive is taken away again and again")


def _resolve(content: Content, part: Part) -> assembling.Part:
    if part.inner:
        return assembling.Made(part.length, tuple(_resolve(content, each) for each in part.inner))
    last = part.start + part.length - 1
    if not part.copied:
        return assembling.Sent(part.length, lambda: content.read_at_once(part.start, last))
    ((segment, offset, length),) = archives.slice_segments(content.segments, part.start, last)
    return assembling.Copied(content.source_of(segment), offset, length)


def _stream(content: Content, key: str, builder: Builder) -> None:
    with ObjectWriter(key, content.size) as writer:
        for chunk in content.read(0, content.size - 1):
            builder.check()
            writer.write(chunk)
        writer.finish()


def _forget(key: str, builder: Builder) -> None:
    if builder.multipart is not None:
        multiparts.abort_multipart(key, builder.multipart)
        builder.forget()


def drop(work: WorkRow) -> None:
    """Takes a built ZIP away, and what dead builders left; it is built again when somebody asks."""
    key = naming.archive_key(work.user_id, work.model_id, work.version, work.upload_id)
    builder = ArchiveRow.find(f"Z#{work.upload_id}")
    if builder is not None and builder.multipart is not None:
        multiparts.abort_multipart(key, builder.multipart)  # by name: MinIO does not list what is begun below a prefix
    multiparts.abort_prefix(key)
    objects.delete_object(key)
    objects.delete_prefix(assembling.scratch_prefix(key))
    ArchiveRow(f"Z#{work.upload_id}", "#").delete()
    work.delete()
