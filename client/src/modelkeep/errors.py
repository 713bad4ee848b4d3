"""What can go wrong, as exceptions: `detail` for people, `code` for programs, `hint` for what to do next.

ModelkeepError             exit 1
├── UsageError             exit 2   what was asked makes no sense: a bad name, a missing option
├── NotFoundError          exit 3   404: no such thing, or none that the caller may see
├── DeniedError            exit 4   401, 403: not known who calls, or they may not
├── ConflictError          exit 5   409, 412: taken, or it has moved on
├── IntegrityError         exit 6   bytes that are not what their digest says; files that differ
├── UnavailableError       exit 7   429, 5xx: the server can't now; try again
│   └── UnreachableError   exit 7   no answer at all
├── LocalFileError         exit 8   a file or a disk of this machine
├── InvalidError           exit 9   400, 413: the registry refuses the request
└── UploadFailedError      exit 10  the registry gave the upload up: `code` and `detail` say why
"""

from __future__ import annotations

from typing import Any


class ModelkeepError(Exception):
    """Something that the user can understand: `detail`, `code`, and where there is one a `hint` at the next step."""

    exit_code = 1
    code = "error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.hint = hint
        self.status = status  # of the HTTP answer, where there was one
        self.extra = extra or {}  # what the registry said beside detail and code: upload_id, versions, missing, …


class UsageError(ModelkeepError):
    """What was asked makes no sense; nothing was sent."""

    exit_code = 2
    code = "usage"


class NotFoundError(ModelkeepError):
    """There is no such thing, or none that the caller may see."""

    exit_code = 3
    code = "not_found"


class DeniedError(ModelkeepError):
    """It is not known who calls, or they may not do this."""

    exit_code = 4
    code = "denied"


class ConflictError(ModelkeepError):
    """The name is taken, or what was to be changed has changed meanwhile."""

    exit_code = 5
    code = "conflict"


class IntegrityError(ModelkeepError):
    """Bytes that are not what their digest says."""

    exit_code = 6
    code = "damaged"


class UnavailableError(ModelkeepError):
    """The server can't now, and may later; `retry_after` in seconds where it said when."""

    exit_code = 7
    code = "unavailable"
    retry_after: float | None = None


class UnreachableError(UnavailableError):
    """No answer came. `sent` says whether the request may have arrived all the same."""

    code = "unreachable"
    sent: bool = True


class LocalFileError(ModelkeepError):
    """A file or a disk of this machine can't be used as it must be."""

    exit_code = 8
    code = "local_file"


class InvalidError(ModelkeepError):
    """The registry refuses the request as it is."""

    exit_code = 9
    code = "invalid"


class UploadFailedError(ModelkeepError):
    """The registry gave the upload up: a bad archive, an abort or its expiry."""

    exit_code = 10
    code = "upload_failed"


_BY_STATUS: dict[int, type[ModelkeepError]] = {
    400: InvalidError,
    401: DeniedError,
    403: DeniedError,
    404: NotFoundError,
    409: ConflictError,
    412: ConflictError,
    413: InvalidError,
    429: UnavailableError,
}
_HINTS = {
    401: "Sign in with `modelkeep login`, or set MODELKEEP_TOKEN.",
    403: "`modelkeep whoami` says who you are to the registry.",
}


def from_answer(status: int, body: Any, *, request_id: str | None = None) -> ModelkeepError:
    """The exception that an answer of the registry stands for. `body` is its JSON, or anything else: a proxy's page."""
    kind = _BY_STATUS.get(status, UnavailableError if status >= 500 else ModelkeepError)
    said = body if isinstance(body, dict) else {}
    detail = str(said.get("detail") or said.get("message") or f"the server answered {status}")
    if status >= 500 and request_id:
        detail += f" (request {request_id})"
    extra = {name: value for name, value in said.items() if name not in ("detail", "code", "message")}
    code = said.get("code")
    return kind(detail, code=str(code) if code else None, hint=_HINTS.get(status), status=status, extra=extra)
