"""Changing what is said of a version."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from registry import records, search
from registry.catalog import publishing, reading
from registry.errors import ConflictError, InvalidError, NotFoundError, PreconditionFailedError
from registry.records import VersionRow
from registry.schemas.requests import VersionFields
from registry.schemas.values import invalid_from
from registry.schemas.words import Fields

_TRIES = 16
_CLEARED: dict[str, Any] = {"framework": "other", "model_type": "other"}


def update(
    *, user_id: str, model_id: str, version: str | None, changes: VersionFields, if_match: str | None
) -> VersionRow:
    """Replaces the given values, null clearing them; tried again on whatever another update left. The new row."""
    given = changes.model_fields_set
    for _ in range(_TRIES):
        row = reading.get_version(user_id, model_id, version)
        if if_match not in (None, "*", reading.etag_of(row)):
            raise PreconditionFailedError(
                f"The version has changed: its ETag is now {reading.etag_of(row)}", code="etag_mismatch"
            )
        if _update_once(row, changes, given):
            return row
    raise ConflictError("Too many updates at once: try again", code="busy")


def _update_once(row: VersionRow, changes: VersionFields, given: set[str]) -> bool:
    old = reading.fields_of(row)
    new = _merge(old, changes, given)
    was_active = bool(row.active)
    active = changes.is_active is not False if "is_active" in given else was_active  # null: as at first
    primary = _primary(row, changes.primary_file_path) if "primary_file_path" in given else row.primary
    before, after = search.version_terms(row.model_id, old), search.version_terms(row.model_id, new)
    rev = int(row.rev) + 1
    added, removed = after - before, before - after
    if active != was_active:
        latest = {search.LATEST}
        added, removed = after | (latest if active else set()), before | (latest if was_active else set())
    if was_active and not active:
        publishing.prepare_latest(row)
    search.add(row, added, rev=rev, active=active)
    actions = [
        VersionRow.fields.set(new.dump()),
        VersionRow.active.set(active),
        VersionRow.updated.set(records.now_text()),
        VersionRow.rev.set(rev),
        VersionRow.primary.set(primary) if primary else VersionRow.primary.remove(),
    ]
    same = (VersionRow.rev == int(row.rev)) & (VersionRow.status == "ready") & (VersionRow.upload_id == row.upload_id)
    if not records.update_if(row, actions, same):
        return False
    search.remove(row, removed, rev=rev, active=was_active)
    if active != was_active:
        publishing.ensure_latest(row.user_id, row.model_id)
    return True


def _merge(old: Fields, changes: VersionFields, given: set[str]) -> Fields:
    values = {name: getattr(changes, name) for name in given - {"is_active", "primary_file_path"}}
    for name, value in _CLEARED.items():
        if name in values and values[name] is None:
            values[name] = value
    try:
        return Fields.load(VersionFields.model_validate({**old.dump(), **values}).model_dump())
    except ValidationError as error:
        raise invalid_from(error) from None


def _primary(row: VersionRow, wanted: str | None) -> str | None:
    if wanted is None:
        return None
    try:
        return reading.find_file(row, wanted.removeprefix(row.prefix)).path
    except NotFoundError:
        raise InvalidError(
            f"primary_file_path must be one of the version's files, not {wanted[:200]!r}", code="no_such_file"
        ) from None
