"""POST /ai-models/upload/folder: a ZIP becomes a version."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from registry.schemas.answers import Metadata
from registry.schemas.forms import FolderForm
from registry.schemas.uploads import Upload
from registry.uploads import forms, showing
from registry.web.answers import body_schema, url_of
from registry.web.apps import create_handler
from registry.web.forms import FolderUpload, read_folder
from registry.web.requests import Caller

router = APIRouter()


@router.post(
    "/ai-models/upload/folder",
    operation_id="upload_folder",
    openapi_extra=body_schema(FolderForm, file_field="zip_file"),
)
def upload_folder(
    principal: Caller, request: Request, upload: Annotated[FolderUpload, Depends(read_folder)], response: Response
) -> Metadata | Upload:
    """Upload a zipped folder with its metadata; 202 and the upload where unpacking takes longer than a request may."""
    result = forms.upload_folder(principal=principal, form=upload.form, body=upload.body, size=upload.size)
    if isinstance(result, Metadata):
        return result
    response.status_code = 202
    response.headers["Location"] = url_of(request, f"/ai-models/upload/{result.upload_id}")
    return showing.show(result, urls=False)[0]


lambda_handler = create_handler(router)
