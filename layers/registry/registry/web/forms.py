"""Forms with one file: read to their end by Starlette's parser, then held against what they may say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from registry.errors import InvalidError
from registry.schemas.forms import FolderForm, SingleForm, UploadForm
from registry.schemas.values import invalid_from
from registry.settings import MIB
from registry.uploads.forms import check_body_size

F = TypeVar("F", bound=UploadForm)
_MAX_FIELD_BYTES = MIB


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
