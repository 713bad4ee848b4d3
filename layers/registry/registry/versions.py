"""Versions as callers ask for them: get, list, search, files, update. Each authorises, then asks the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry import finding, naming, search
from registry.auth import Principal, authorise, rights_of
from registry.catalog import describing, reading
from registry.errors import InvalidError
from registry.files import disposition, name_of
from registry.records import VersionRow
from registry.schemas.answers import File, Metadata
from registry.schemas.words import Framework, ModelType
from registry.storage import presigning

if TYPE_CHECKING:
    from registry.schemas.requests import VersionFields

MAX_URLS = 500
_MAX_QUERY_WORDS = 16
_MAX_TAGS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What lists and searches can be narrowed by."""

    framework: Framework | None = None
    model_type: ModelType | None = None
    tags: str | None = None
    is_production_ready: bool | None = None
    is_active: bool = True
    latest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """Which page."""

    skip: int = 0
    limit: int = 100
    cursor: str | None = None


def get_model(*, principal: Principal, user_id: str, model_id: str, version: str | None) -> tuple[Metadata, str]:
    """A version and its ETag; without a name the newest active one."""
    return _shown(finding.find_version(principal, user_id, model_id, version))


def _shown(row: VersionRow) -> tuple[Metadata, str]:
    shown = reading.files_page(row, limit=reading.MAX_FILES_SHOWN)
    return describing.describe(row, shown), reading.etag_of(row)


def list_models(
    *, principal: Principal, user_id: str, filters: Filters, paging: Paging, query: str | None = None
) -> tuple[list[Metadata], str | None]:
    """A user's versions, newest first: all, or those that every word of `query` and every filter fits; of models that
    the caller may read."""
    rights = rights_of(principal, naming.check_user_id(user_id))
    if rights.nothing:
        return [], None
    words = sorted(search.words_of(query or ""))
    if len(words) > _MAX_QUERY_WORDS:
        raise InvalidError(f"query may have {_MAX_QUERY_WORDS} words", code="long_query")
    if query and query.strip() and not words:
        return [], None  # nothing but signs, which are in no word
    tags = tuple(sorted({tag.strip().casefold() for tag in (filters.tags or "").split(",") if tag.strip()}))
    if len(tags) > _MAX_TAGS:
        return [], None  # no version has so many
    wanted = search.Query(
        user_id,
        framework=filters.framework,
        model_type=filters.model_type,
        tags=tags,
        ready=filters.is_production_ready,
        active=filters.is_active,
        latest=filters.latest,
        words=tuple(words),
        seen=rights.seen(),
    )
    page = reading.list_page(wanted, limit=paging.limit, skip=paging.skip, cursor=paging.cursor)
    return [describing.describe(row, reading.inline_files(row)) for row in page.versions], page.cursor


def list_versions(
    *, principal: Principal, user_id: str, model_id: str, limit: int, cursor: str | None
) -> tuple[list[Metadata], str | None]:
    """The versions of one model, newest first, active and not."""
    naming.check_user_id(user_id)
    naming.check_model_id(model_id)
    authorise(principal, "read", user_id, model_id)
    page = reading.list_versions(user_id, model_id, limit=limit, cursor=cursor)
    return [describing.describe(row, reading.inline_files(row)) for row in page.versions], page.cursor


def list_files(
    *,
    principal: Principal,
    user_id: str,
    model_id: str,
    version: str | None,
    limit: int,
    cursor: str | None,
    urls: bool,
) -> tuple[list[File], str | None]:
    """The files of a version by path; with `urls`, each with a presigned GET, at most 500 a page."""
    row = finding.find_version(principal, user_id, model_id, version)
    count = min(limit, MAX_URLS) if urls else limit
    after = reading.read_cursor(cursor) if cursor else None
    stored = reading.files_page(row, limit=count + 1, after=after)
    files = [describing.describe_file(row, file) for file in stored[:count]]
    if urls:
        for file in files:
            name = disposition(name_of(file.filename))
            file.url = presigning.presign_get(file.file_path, disposition=name)
    following = reading.make_cursor(stored[count - 1].path) if len(stored) > count else None
    return files, following


def update_model(
    *,
    principal: Principal,
    user_id: str,
    model_id: str,
    version: str | None,
    changes: VersionFields,
    if_match: str | None,
) -> tuple[Metadata, str]:
    """Changes what is said of a version; the version as it is now, and its ETag."""
    naming.check_user_id(user_id)
    naming.check_model_id(model_id)
    authorise(principal, "write", user_id, model_id)
    from registry.catalog import updating  # the one user: the others need no model of requests

    row = updating.update(user_id=user_id, model_id=model_id, version=version, changes=changes, if_match=if_match)
    return _shown(row)
