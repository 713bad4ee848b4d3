"""HTTP: the only importer of fastapi and mangum. Functions get their app, handler and requests' parts from here."""

from registry.web.answers import body_schema, content_answer, link_next, url_of
from registry.web.apps import create_app, create_handler
from registry.web.requests import Caller, FolderUpload, SingleUpload, json_body, read_folder, read_single

__all__ = [
    "Caller",
    "FolderUpload",
    "SingleUpload",
    "body_schema",
    "content_answer",
    "create_app",
    "create_handler",
    "json_body",
    "link_next",
    "read_folder",
    "read_single",
    "url_of",
]
