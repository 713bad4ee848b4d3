"""Deleting versions: invisible at once, then the objects, then the records; finished by the sweep if need be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from registry import naming
from registry.auth import Principal, authorise
from registry.catalog import changing, reading, reserving
from registry.deadlines import Deadline
from registry.errors import InvalidError, NotFoundError
from registry.records import VersionRow, WorkRow
from registry.settings import get_settings
from registry.storage import multiparts, objects

if TYPE_CHECKING:
    from registry.schemas.answers import Deleted

_NAMED = 100  # versions that a refusal lists


def delete_model(
    *, principal: Principal, user_id: str, model_id: str, version: str | None, every: bool, purge: bool = False
) -> tuple[Deleted, bool]:
    """Deletes one version, the only one, or all (`every`); with `purge` so that a versioned bucket cannot bring it
    back. What was deleted, and whether it is gone by now."""
    from registry.schemas.answers import Deleted  # the sweep, which finishes deletes, needs no pydantic

    naming.check_user_id(user_id)
    naming.check_model_id(model_id)
    authorise(principal, "write", user_id, model_id)
    version = naming.check_version(version) if version else None  # not `latest`: what that names may change
    if version is not None and every:
        raise InvalidError("give either version or all=true", code="version_or_all")
    rows = _choose(user_id, model_id, version, every=every)
    deadline = Deadline(get_settings().wait_seconds or None)
    due = time.time() + get_settings().recheck_seconds
    if not every:
        changing.prepare_delete(rows[0])
    # The oldest first, so that what is the newest of those that can be seen is known for that all the while.
    works = [changing.begin_delete(row, due=due, for_good=purge) for row in reversed(rows)]
    finished = [work is not None and finish_delete(work, deadline) for work in works]
    gone = all(finished)  # not where somebody else is at it
    names = [row.version for row in rows]
    answer = Deleted(user_id=user_id, model_id=model_id, versions=names, status="deleted" if gone else "deleting")
    return answer, gone


def _choose(user_id: str, model_id: str, version: str | None, *, every: bool) -> list[VersionRow]:
    if version is not None:
        return [reading.get_version(user_id, model_id, version)]
    rows = _versions(user_id, model_id, limit=None if every else _NAMED)
    if not rows:
        raise NotFoundError(f"Model {model_id!r} of user {user_id!r} not found", code="model_not_found")
    if len(rows) > 1 and not every:
        names = ", ".join(row.version for row in rows)
        raise InvalidError(
            f"Model {model_id!r} has several versions ({names}): give version, or all=true", code="several_versions"
        )
    return rows


def _versions(user_id: str, model_id: str, *, limit: int | None) -> list[VersionRow]:
    rows: list[VersionRow] = []
    cursor: str | None = None
    while True:
        page = reading.list_versions(user_id, model_id, limit=min(limit or 1_000, 1_000), cursor=cursor)
        rows += page.versions
        cursor = page.cursor
        if cursor is None or (limit is not None and len(rows) >= limit):
            return rows[:limit]


def finish_delete(work: WorkRow, deadline: Deadline) -> bool:
    """Removes a version's objects, then its records; may be done twice, and again after dying anywhere in it. False
    if the time was over before all was gone: the sweep goes on."""
    if deadline.passed:
        return False
    if reserving.prefix_is_anothers(work):
        changing.finish_delete(work)
        return True
    multiparts.abort_prefix(work.prefix)
    archive = naming.archive_key(work.user_id, work.model_id, work.version, work.upload_id)
    # Of the inbox too: what the client sent lies there as an earlier version. The plain delete still comes after, for
    # a store that lists no versions; the archive's leaves a marker.
    inbox = naming.inbox_prefix(work.user_id, work.upload_id)
    if work.for_good and not all(_delete_versions(place, deadline) for place in (work.prefix, inbox)):
        return False
    if not objects.delete_prefix(work.prefix, until=lambda: deadline.passed):
        return False
    objects.delete_object(archive)
    if work.for_good and not _delete_versions(archive, deadline):
        return False
    changing.finish_delete(work)
    return True


def _delete_versions(place: str, deadline: Deadline) -> bool:
    return objects.delete_versions(place, until=lambda: deadline.passed)
