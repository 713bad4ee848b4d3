"""POST /ai-models/upload/single: one file becomes a version."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from registry.schemas.answers import Metadata
from registry.schemas.forms import SingleForm
from registry.uploads import forms
from registry.web.answers import body_schema
from registry.web.apps import create_handler
from registry.web.forms import SingleUpload, read_single
from registry.web.requests import Caller

router = APIRouter()


@router.post(
    "/ai-models/upload/single",
    operation_id="upload_single",
    openapi_extra=body_schema(SingleForm, file_field="file"),
)
def upload_single(principal: Caller, upload: Annotated[SingleUpload, Depends(read_single)]) -> Metadata:
    """Upload a single model file with its metadata."""
    return forms.upload_single(
        principal=principal, form=upload.form, filename=upload.filename, body=upload.body, size=upload.size
    )


lambda_handler = create_handler(router)
