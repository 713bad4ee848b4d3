"""What a request for a grant may say, and what a grant looks like."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from registry.schemas.strict import Strict

Role = Literal["read", "write", "admin"]


class PutGrant(Strict):
    """The body of `PUT /ai-models/grants/…`."""

    role: Role


class Grant(BaseModel):
    """What somebody may do in a user's namespace: in all of it (`model_id` null), or with one model."""

    user_id: str
    model_id: str | None
    grantee: str
    role: Role


class RevokedGrant(BaseModel):
    """What a DELETE took away."""

    user_id: str
    model_id: str | None
    grantee: str
    status: Literal["revoked"] = "revoked"
