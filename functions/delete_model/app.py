"""DELETE /ai-models/{user_id}/{model_id}: deletes a version, or all of a model's."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from registry import deleting
from registry.schemas import Deleted
from registry.web import Caller, create_handler

router = APIRouter()


@router.delete("/ai-models/{user_id}/{model_id}", operation_id="delete_model")
def delete_model(
    principal: Caller,
    response: Response,
    user_id: str,
    model_id: str,
    version: str | None = None,
    every: Annotated[bool, Query(alias="all", description="all versions of the model")] = False,
    purge: Annotated[bool, Query(description="for good: not even a versioned bucket can bring it back")] = False,
) -> Deleted:
    """Delete a version with all its files; 202 where that takes longer than a request may."""
    deleted, gone = deleting.delete_model(
        principal=principal, user_id=user_id, model_id=model_id, version=version, every=every, purge=purge
    )
    response.status_code = 200 if gone else 202
    return deleted


lambda_handler = create_handler(router)
