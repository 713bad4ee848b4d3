"""What functional tests share: calling functions by name, sending forms and bytes, events, and looking for traces."""

from __future__ import annotations

import importlib
import io
import json
import re
import secrets
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote_plus, unquote, urlsplit

from moto.core import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import s3_backends

BUCKET = "modelkeep"
CLAIM = "models/_claim.json"
CREATED_BY_PUT, CREATED_BY_MULTIPART = "ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload"

METADATA_KEYS = {
    "model_id",
    "user_id",
    "name",
    "description",
    "version",
    "framework",
    "model_type",
    "algorithm",
    "files",
    "primary_file_path",
    "input_shape",
    "output_shape",
    "num_parameters",
    "model_size_mb",
    "training_dataset",
    "training_accuracy",
    "validation_accuracy",
    "test_accuracy",
    "training_loss",
    "python_version",
    "dependencies",
    "hardware_requirements",
    "tags",
    "custom_metadata",
    "created_at",
    "updated_at",
    "is_active",
    "is_production_ready",
    "status",
    "file_count",
    "total_size",
}
FILE_KEYS = {
    "filename",
    "file_path",
    "file_size",
    "file_type",
    "file_hash",
    "content_type",
    "is_primary",
    "description",
}


class Answer(NamedTuple):
    """What a function answered; `body` parsed if it is JSON."""

    status: int
    headers: dict[str, str]
    body: Any


def ok(answer: Answer, status: int = 200) -> Any:
    """The body of an answer that has to have this status."""
    assert answer.status == status, answer
    return answer.body


def refused(answer: Answer, status: int, code: str | None = None) -> str:
    """The detail of a refusal that has to have this status (and code), in the contract's form."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(answer.body["detail"], str) and answer.body["detail"]
    assert isinstance(answer.body["code"], str)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", answer.body["code"]), f"no code for programs: {answer.body['code']!r}"
    if code is not None:
        assert answer.body["code"] == code, answer.body
    return answer.body["detail"]


def form_body(parts: list[tuple[str, str | bytes] | tuple[str, str, bytes]]) -> tuple[bytes, dict[str, str]]:
    """multipart/form-data as curl sends it: (name, value), or (name, filename, content) for a file."""
    boundary = f"----------------{secrets.token_hex(8)}"
    body = b""
    for part in parts:
        name, content = part[0], part[-1]
        data = content if isinstance(content, bytes) else content.encode()
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
        if len(part) == 3:
            head += f'; filename="{part[1]}"\r\nContent-Type: application/octet-stream'
        body += head.encode() + b"\r\n\r\n" + data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), {"content-type": f"multipart/form-data; boundary={boundary}"}


def make_zip(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP as most tools make it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()


def unzip(data: bytes) -> dict[str, bytes]:
    """The members of a ZIP that has to be sound."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


class Api:
    """Every function by a short name, for one user; further keywords are the query, None is left out."""

    def __init__(self, call: Callable[..., tuple[int, dict[str, str], Any]], user_id: str) -> None:
        self._call = call
        self.user_id = user_id

    def call(self, function: str, **arguments: Any) -> Answer:
        if arguments.get("query") is not None:
            arguments["query"] = {key: str(value) for key, value in arguments["query"].items() if value is not None}
        return Answer(*self._call(function, **arguments))

    def single(
        self,
        model_id: str = "m",
        *,
        filename: str = "model.pkl",
        content: bytes = b"bytes",
        file_first: bool = False,
        extra: list[tuple[str, str | bytes]] | None = None,
        principal: str | None = None,
        **fields: str | None,
    ) -> Answer:
        given = {"user_id": self.user_id, "model_id": model_id, "name": "A model", **fields}
        parts: list[Any] = [(name, value) for name, value in given.items() if value is not None]
        parts += extra or []
        parts.insert(0 if file_first else len(parts), ("file", filename, content))
        body, headers = form_body(parts)
        return self.call("upload_single", body=body, headers=headers, principal=principal)

    def folder(
        self,
        files: dict[str, bytes] | bytes,
        model_id: str = "m",
        *,
        principal: str | None = None,
        **fields: str | None,
    ) -> Answer:
        given = {"user_id": self.user_id, "model_id": model_id, "name": "A model", **fields}
        data = files if isinstance(files, bytes) else make_zip(files)
        parts: list[Any] = [(name, value) for name, value in given.items() if value is not None]
        body, headers = form_body([*parts, ("zip_file", "folder.zip", data)])
        return self.call("upload_folder", body=body, headers=headers, principal=principal)

    def _of_model(
        self,
        function: str,
        model_id: str,
        query: dict[str, Any],
        headers: dict[str, str] | None = None,
        principal: str | None = None,
        **more: Any,
    ) -> Answer:
        path = {"user_id": self.user_id, "model_id": model_id}
        return self.call(function, path=path, query=query or None, headers=headers, principal=principal, **more)

    def get(self, model_id: str = "m", *, principal: str | None = None, **query: Any) -> Answer:
        return self._of_model("get_model", model_id, query, principal=principal)

    def versions(self, model_id: str = "m", *, principal: str | None = None, **query: Any) -> Answer:
        return self._of_model("list_versions", model_id, query, principal=principal)

    def files(self, model_id: str = "m", *, principal: str | None = None, **query: Any) -> Answer:
        return self._of_model("list_files", model_id, query, principal=principal)

    def download(
        self,
        model_id: str = "m",
        *,
        headers: dict[str, str] | None = None,
        principal: str | None = None,
        **query: Any,
    ) -> Answer:
        return self._of_model("download_model", model_id, query, headers, principal)

    def update(
        self,
        model_id: str = "m",
        changes: Any = None,
        *,
        headers: dict[str, str] | None = None,
        principal: str | None = None,
        **query: Any,
    ) -> Answer:
        return self._of_model("update_model", model_id, query, headers, principal, json_body=changes or {})

    def delete(self, model_id: str = "m", *, principal: str | None = None, **query: Any) -> Answer:
        return self._of_model("delete_model", model_id, query, principal=principal)

    def list(self, *, principal: str | None = None, **query: Any) -> Answer:
        path = {"user_id": self.user_id}
        return self.call("list_models", path=path, query=query or None, principal=principal)

    def search(self, query: str | None = None, *, principal: str | None = None, **more: Any) -> Answer:
        path = {"user_id": self.user_id}
        return self.call("search_models", path=path, query={"query": query, **more}, principal=principal)

    def _of_grant(self, function: str, grant: str, principal: str | None, **more: Any) -> Answer:
        return self.call(function, path={"user_id": self.user_id, "grant": grant}, principal=principal, **more)

    def grant(self, grant: str, role: Any = "read", *, principal: str | None = None) -> Answer:
        return self._of_grant("put_grant", grant, principal, json_body={"role": role})

    def granted(self, grant: str, *, principal: str | None = None) -> Answer:
        return self._of_grant("get_grant", grant, principal)

    def revoke(self, grant: str, *, principal: str | None = None) -> Answer:
        return self._of_grant("delete_grant", grant, principal)

    def grants(self, *, principal: str | None = None, **query: Any) -> Answer:
        path = {"user_id": self.user_id}
        return self.call("list_grants", path=path, query=query or None, principal=principal)

    def start(
        self,
        model_id: str = "m",
        *,
        headers: dict[str, str] | None = None,
        principal: str | None = None,
        query: dict[str, Any] | None = None,
        **body: Any,
    ) -> Answer:
        sent = {"user_id": self.user_id, "model_id": model_id, **body}
        return self.call("start_upload", json_body=sent, headers=headers, query=query, principal=principal)

    def upload(self, upload_id: str, *, principal: str | None = None, **query: Any) -> Answer:
        return self.call("get_upload", path={"upload_id": upload_id}, query=query or None, principal=principal)

    def uploads(self, *, principal: str | None = None) -> Answer:
        return self.call("list_uploads", query={"user_id": self.user_id}, principal=principal)

    def add(self, upload_id: str, files: Any, *, principal: str | None = None) -> Answer:
        path = {"upload_id": upload_id}
        return self.call("add_files", path=path, json_body={"files": files}, principal=principal)

    def sign(self, upload_id: str, *, principal: str | None = None, **body: Any) -> Answer:
        return self.call("sign_parts", path={"upload_id": upload_id}, json_body=body, principal=principal)

    def complete(self, upload_id: str, *, principal: str | None = None) -> Answer:
        return self.call("complete_upload", path={"upload_id": upload_id}, principal=principal)

    def abort(self, upload_id: str, *, principal: str | None = None) -> Answer:
        return self.call("abort_upload", path={"upload_id": upload_id}, principal=principal)


def key_in(url: str) -> str:
    """The key that a presigned URL is for."""
    parsed = urlsplit(url)
    path = unquote(parsed.path).lstrip("/")
    return path if parsed.netloc.startswith(f"{BUCKET}.") else path.removeprefix(f"{BUCKET}/")


def send(file: dict[str, Any], content: bytes) -> str:
    """What a client does with the URL of one file, by one PUT; its key."""
    from registry.storage.client import s3

    key = key_in(file["put"]["url"])
    s3().put_object(Bucket=BUCKET, Key=key, Body=content)
    return key


def event_of(*keys: str, event_name: str = CREATED_BY_PUT) -> dict[str, Any]:
    """The JSON by which S3 says that objects were created, as AWS sends it."""
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "us-east-1",
                "eventTime": "2026-01-01T00:00:00.000Z",
                "eventName": event_name,
                "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
                "requestParameters": {"sourceIPAddress": "127.0.0.1"},
                "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZ"},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "inbox",
                    "bucket": {"name": BUCKET, "arn": f"arn:aws:s3:::{BUCKET}"},
                    "object": {"key": quote_plus(key, safe="/"), "size": 1, "eTag": "e", "sequencer": "0A1B2C3D4E5F"},
                },
            }
            for key in keys
        ]
    }


def deliver(event: dict[str, Any]) -> None:
    """Has `receive_upload` take an event, as Lambda does."""
    importlib.import_module("functions.receive_upload.app").lambda_handler(event, None)


def sweep(*, everything: bool = False) -> None:
    """Runs `sweep_uploads`, as the schedule does."""
    event = {"detail": {"all": True}} if everything else {}
    importlib.import_module("functions.sweep_uploads.app").lambda_handler(event, None)


def items() -> dict[tuple[str, str], str]:
    """Every item of the table: by its key, as JSON. Straight out of moto, whose answers to scans take long."""
    return {
        (item.hash_key.value, item.range_key.value): json.dumps(
            item.to_json()["Attributes"], sort_keys=True, default=str
        )
        for item in moto_table().all_items()
    }


def empty() -> None:
    """Nothing is left in table and bucket, but for the claim on the inbox."""
    moto_table().items.clear()
    bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET]
    for upload_id in list(bucket.multiparts):
        del bucket.multiparts[upload_id]
    for key in [key for key in bucket.keys if key != CLAIM]:
        bucket.keys.pop(key)


def moto_table() -> Any:
    """The table as moto has it."""
    return dynamodb_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].tables["modelkeep"]


def objects(prefix: str = "") -> dict[str, str]:
    """Every object of the bucket and its ETag; but for the claim on the inbox, which stays."""
    from registry.storage.client import s3

    pages = s3().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return {
        entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", []) if entry["Key"] != CLAIM
    }


def multiparts() -> list[str]:
    """The keys of all multiparts that are open."""
    from registry.storage.client import s3

    return [each["Key"] for each in s3().list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]


def read_object(key: str) -> bytes:
    """An object's bytes."""
    from registry.storage.client import s3

    return s3().get_object(Bucket=BUCKET, Key=key)["Body"].read()


@contextmanager
def nothing_written() -> Iterator[None]:
    """Table and bucket are the same after as before."""
    before = items(), objects(), multiparts()
    yield
    after = items(), objects(), multiparts()
    assert after == before


def link_in(answer: Answer) -> str | None:
    """The next page's URL, as the Link header says."""
    link = answer.headers.get("link")
    if link is None:
        return None
    assert link.startswith("<") and link.endswith('>; rel="next"'), link
    return link[1 : link.index(">")]


def publish(user_id: str, model_id: str, version: str, files: list[Any], **fields: Any) -> Any:
    """A version made in the catalog alone: its files have no objects. For pages of many files or versions."""
    from registry.auth import ANYBODY
    from registry.catalog import publishing, reserving
    from registry.schemas.requests import VersionFields
    from registry.uploads import starting

    upload = starting.new_upload(
        ANYBODY, user_id=user_id, model_id=model_id, version=version, kind="form", fields=VersionFields(**fields)
    )
    upload.fence = 1
    assert reserving.reserve(upload, due=0)
    row = publishing.publish(upload, files)
    assert row is not None
    return row
