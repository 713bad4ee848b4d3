"""POST /ai-models/upload/single: one file becomes a version."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from registry.schemas import Metadata, SingleForm
from registry.uploads import forms
from registry.web import Caller, SingleUpload, body_schema, create_handler, read_single

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
