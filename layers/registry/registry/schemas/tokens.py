"""What a request for a registry token may say, and what a token looks like. The token itself is shown once."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from registry.schemas.strict import Strict
from registry.schemas.values import Name


def _check_time(text: str) -> str:
    """RFC 3339, as far as Python reads it; without an offset nobody knows which moment is meant."""
    try:
        offset = datetime.fromisoformat(text).utcoffset()
    except ValueError:
        offset = None
    if offset is None:
        raise ValueError("must be a time with an offset, as 2030-01-31T12:00:00Z")
    return text


Time = Annotated[
    str,
    StringConstraints(max_length=40),
    AfterValidator(_check_time),
    Field(json_schema_extra={"format": "date-time"}),
]


# As `naming.check_model_pattern` has it, which says what is wrong; here it is for the API's description alone.
Models = Annotated[str, Field(json_schema_extra={"pattern": r"^[A-Za-z0-9._*-]{1,128}$"})]


class CreateToken(Strict):
    """The body of `POST /ai-models/tokens`."""

    name: Name
    scope: Literal["read", "write"] = "read"
    models: Models | None = None
    expires_at: Time | None = None


class Token(BaseModel):
    """A registry token, without what makes it one."""

    token_id: str
    name: str
    scope: Literal["read", "write"]
    models: str | None
    created_at: str
    expires_at: str
    last_used_at: str | None


class NewToken(Token):
    """The answer that has it; there is no other."""

    token: str


class RevokedToken(BaseModel):
    """What a DELETE took away."""

    token_id: str
    status: Literal["revoked"] = "revoked"
