"""What a request says: who calls, its JSON, its form. Everything wrong with it is a 400 that says what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from registry.auth import ANYBODY, Principal
from registry.errors import InvalidError, TooLargeError, UnauthenticatedError
from registry.schemas import FolderForm, SingleForm, UploadForm, invalid_from
from registry.settings import MIB, get_settings
from registry.uploads.forms import check_body_size

F = TypeVar("F", bound=UploadForm)
M = TypeVar("M", bound=BaseModel)
_MAX_JSON_BYTES = 5 * MIB  # 5,000 files with paths of 900 bytes
_MAX_FIELD_BYTES = MIB


def read_principal(request: Request) -> Principal:
    """Who calls, as the authorizer says; no header of the client's own is believed."""
    if get_settings().authentication == "off":
        return ANYBODY
    event = request.scope.get("aws.event") or {}
    context = (event.get("requestContext") or {}).get("authorizer") or {}
    principal_id = context.get("principalId")
    if not isinstance(principal_id, str) or not principal_id:
        raise UnauthenticatedError("A bearer token is needed")
    return Principal(principal_id)


Caller = Annotated[Principal, Depends(read_principal)]


def json_body(model: type[M]) -> Any:
    """A dependency: the request's JSON as this model. Documented by it in OpenAPI through `openapi_extra`."""

    async def read(request: Request) -> M:
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise InvalidError(f"the body must be application/json, not {kind[:80]}", code="not_json")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_JSON_BYTES:
                raise TooLargeError(f"JSON may have {_MAX_JSON_BYTES} bytes")
        try:
            parsed = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise InvalidError(f"the body is no valid JSON: {error}"[:300], code="bad_json") from None
        if not isinstance(parsed, dict):
            raise InvalidError("the body must be a JSON object", code="bad_json")
        try:
            return model.model_validate(parsed)
        except ValidationError as error:
            raise invalid_from(error) from None
        except UnicodeError:
            raise InvalidError("text must be valid Unicode", code="bad_json") from None

    return Depends(read)


@dataclass(frozen=True, slots=True)
class SingleUpload:
    """A form with one file of `size` bytes, spooled to disk by the parser."""

    form: SingleForm
    filename: str
    body: BinaryIO
    size: int


@dataclass(frozen=True, slots=True)
class FolderUpload:
    """A form with one ZIP of `size` bytes, spooled to disk by the parser."""

    form: FolderForm
    body: BinaryIO
    size: int


class _Utf8Parser(MultiPartParser):
    """Starlette's parser, which takes text that is no UTF-8 for latin-1 without a word: here it is refused."""

    def on_part_end(self) -> None:
        """A field or a file has come to its end."""
        if self._current_part.file is None:
            try:
                self._current_part.data.decode()
            except UnicodeDecodeError:
                raise MultiPartException("text must be UTF-8") from None
        super().on_part_end()


async def _read_form(request: Request, kind: type[F], file_field: str) -> tuple[FormData, F, UploadFile]:
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        raise InvalidError("send multipart/form-data, as `curl -F` does", code="not_multipart")
    length = request.headers.get("content-length", "")
    check_body_size(int(length) if length.isdecimal() else None)
    try:
        parser = _Utf8Parser(
            request.headers, request.stream(), max_files=2, max_fields=100, max_part_size=_MAX_FIELD_BYTES
        )
        form = await parser.parse()
    except (MultiPartException, UnicodeDecodeError) as error:
        raise InvalidError(f"the form can't be read: {error}"[:300], code="bad_form") from None
    except HTTPException as error:
        raise InvalidError(f"the form can't be read: {error.detail}"[:300], code="bad_form") from None
    try:
        return form, *_check_form(form, kind, file_field)
    except BaseException:
        await form.close()
        raise


def _check_form(form: FormData, kind: type[F], file_field: str) -> tuple[F, UploadFile]:
    values: dict[str, Any] = {}
    upload: UploadFile | None = None
    for name, value in form.multi_items():
        if name == file_field and upload is None and isinstance(value, UploadFile):
            upload = value
        elif name == file_field:
            raise InvalidError(f"{file_field} must be one file", code="bad_form")
        elif isinstance(value, UploadFile):
            raise InvalidError(f"{name[:80]!r} must be a text field; the file belongs in {file_field}", code="bad_form")
        elif name in values:
            raise InvalidError(f"{name[:80]} was sent twice", code="bad_form")
        elif value != "" or name not in kind.model_fields:
            values[name] = value
    if upload is None:
        raise InvalidError(f"{file_field} is missing: send a file in it", code="no_file")
    try:
        return kind.model_validate(values), upload
    except ValidationError as error:
        raise invalid_from(error) from None


async def read_single(request: Request) -> AsyncIterator[SingleUpload]:
    """A dependency: the form of `upload/single`; its spool is deleted after the answer."""
    form, fields, upload = await _read_form(request, SingleForm, "file")
    try:
        yield SingleUpload(fields, upload.filename or "", upload.file, upload.size or 0)
    finally:
        await form.close()


async def read_folder(request: Request) -> AsyncIterator[FolderUpload]:
    """A dependency: the form of `upload/folder`; its spool is deleted after the answer."""
    form, fields, upload = await _read_form(request, FolderForm, "zip_file")
    try:
        yield FolderUpload(fields, upload.file, upload.size or 0)
    finally:
        await form.close()
