"""What every look at a version begins with: may the caller, and is it there?"""

from __future__ import annotations

from registry import naming
from registry.auth import Principal, authorise
from registry.catalog import reading
from registry.records import VersionRow


def find_version(principal: Principal, user_id: str, model_id: str, version: str | None) -> VersionRow:
    """A published version that the caller may read. NotFoundError."""
    naming.check_user_id(user_id)
    naming.check_model_id(model_id)
    authorise(principal, "read", user_id, model_id)
    return reading.get_version(user_id, model_id, version)
