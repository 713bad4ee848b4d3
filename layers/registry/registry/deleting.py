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
    *, principal: Principal, user_id: str, model_id: str, version: str | None, every: bool
) -> tuple[Deleted, bool]:
    """Deletes one version, the only one, or all (`every`). What was deleted, and whether it is gone by now."""
    from registry.schemas.answers import Deleted  # the sweep, which finishes deletes, needs no pydantic

    naming.check_user_id(user_id)
    naming.check_model_id(model_id)
    authorise(principal, "write", user_id, model_id)
    version = naming.check_version(version) if version else None  # not `latest`: what that names may change
    if version is not None and every:
        raise InvalidError("give either version or all=true", code="version_or_all")
    rows = _choose(user_id, model_id, version, every=every)
    deadline = Deadline(get_settings().wait_seconds or None)
    works = [changing.begin_delete(row, due=time.time() + get_settings().recheck_seconds) for row in rows]
    unfinished = [work for work in works if work is not None and not finish_delete(work, deadline)]
    gone = not unfinished
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
    if not objects.delete_prefix(work.prefix, until=lambda: deadline.passed):
        return False
    objects.delete_object(naming.archive_key(work.user_id, work.model_id, work.version, work.upload_id))
    changing.finish_delete(work)
    return True
