"""What can go wrong, in the registry's own words. `web` alone turns these into HTTP.

RegistryError
├── InvalidError             400  the request is wrong; the detail says what would be right
│   └── ArchiveError         400  a ZIP that is refused
├── UnauthenticatedError     401
├── ForbiddenError           403
├── NotFoundError            404
├── ConflictError            409
├── PreconditionFailedError  412  If-Match names an older state
├── TooLargeError            413
└── UnavailableError         503  try again after `retry_after_seconds`
"""

from __future__ import annotations

from typing import Any


class RegistryError(Exception):
    """A refusal that the caller can understand: `detail` for people, `code` for programs, `extra` beside them."""

    code = "error"

    def __init__(self, detail: str, *, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.extra = extra


class InvalidError(RegistryError):
    """The request is wrong in itself; sending it again cannot help."""

    code = "invalid"


class ArchiveError(InvalidError):
    """A ZIP that is refused; `code` names the class of fault (docs/design.md, section 3)."""

    code = "archive_invalid"


class UnauthenticatedError(RegistryError):
    """It is not known who calls."""

    code = "unauthenticated"


class ForbiddenError(RegistryError):
    """The caller is known and may not do this."""

    code = "forbidden"


class NotFoundError(RegistryError):
    """There is no such thing, or none that the caller may see."""

    code = "not_found"


class ConflictError(RegistryError):
    """The state of things does not allow this now."""

    code = "conflict"


class PreconditionFailedError(RegistryError):
    """`If-Match` names a state that is no longer the newest."""

    code = "precondition_failed"


class TooLargeError(RegistryError):
    """More bytes than this way in can take."""

    code = "too_large"


class UnavailableError(RegistryError):
    """It cannot be done now, and can later."""

    code = "unavailable"

    def __init__(self, detail: str, *, retry_after_seconds: int = 5, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail, code=code, **extra)
        self.retry_after_seconds = retry_after_seconds
