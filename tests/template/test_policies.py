"""What each function may do: written down, so that a change is deliberate, and enough for what its code does."""

from __future__ import annotations

import hashlib
import importlib
import io
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.client
import pytest

from tests.conftest import call_function
from tests.template.loading import (
    BUCKET_ARN,
    FUNCTION_ARN,
    TABLE_ARN,
    as_list,
    functions_of,
    load_template,
    statements_of,
)

# By action: kinds of rows, prefixes of keys, functions.
ALLOWED: dict[str, dict[str, str]] = {
    "abort_upload": {
        "dynamodb:GetItem": "A",
        "dynamodb:BatchGetItem": "G",
        "dynamodb:Query": "F A",
        "dynamodb:PutItem": "M WK",
        "dynamodb:UpdateItem": "A",
        "dynamodb:DeleteItem": "A O WK",
        "dynamodb:BatchWriteItem": "F A",
        "s3:DeleteObject": "models inbox",
        "s3:AbortMultipartUpload": "models inbox",
        "s3:ListBucket": "models inbox",
        "s3:ListBucketMultipartUploads": "bucket",
    },
    "add_files": {
        "dynamodb:GetItem": "A",
        "dynamodb:BatchGetItem": "M G",
        "dynamodb:Query": "D A",
        "dynamodb:UpdateItem": "A",
        "dynamodb:BatchWriteItem": "A",
        "lambda:InvokeFunction": "receive_upload:live",
    },
    "answer_options": {},
    "authenticate_request": {
        "dynamodb:GetItem": "T",
        "dynamodb:UpdateItem": "T",
    },
    "build_archive": {
        "dynamodb:GetItem": "M",
        "dynamodb:Query": "F",
        "dynamodb:PutItem": "WK",
        "dynamodb:UpdateItem": "M F Z",
        "s3:GetObject": "models archives probes",
        "s3:PutObject": "archives probes",
        "s3:DeleteObject": "archives probes",
        "s3:AbortMultipartUpload": "archives probes",
        "s3:ListMultipartUploadParts": "archives",
        "s3:ListBucket": "archives",
        "lambda:InvokeFunction": "build_archive:live",
    },
    "complete_upload": {
        "dynamodb:GetItem": "M P A",
        "dynamodb:BatchGetItem": "G",
        "dynamodb:Query": "F P A",
        "dynamodb:PutItem": "M A WK",
        "dynamodb:UpdateItem": "A",
        "dynamodb:DeleteItem": "P A O WK",
        "dynamodb:BatchWriteItem": "F P D A",
        "s3:GetObject": "models inbox",
        "s3:PutObject": "models inbox",
        "s3:DeleteObject": "models inbox",
        "s3:AbortMultipartUpload": "models inbox",
        "s3:ListMultipartUploadParts": "models inbox",
        "s3:ListBucket": "models inbox",
        "s3:ListBucketMultipartUploads": "bucket",
        "lambda:InvokeFunction": "receive_upload:live",
    },
    "create_token": {
        "dynamodb:Query": "TK",
        "dynamodb:PutItem": "T TK",
        "dynamodb:DeleteItem": "T",
    },
    "delete_model": {
        "dynamodb:GetItem": "M",
        "dynamodb:BatchGetItem": "M G",
        "dynamodb:Query": "F P A",
        "dynamodb:PutItem": "M P WK",
        "dynamodb:UpdateItem": "M",
        "dynamodb:DeleteItem": "P A WK",
        "dynamodb:BatchWriteItem": "F P D A",
        "s3:DeleteObject": "models archives",
        "s3:AbortMultipartUpload": "models",
        "s3:DeleteObjectVersion": "models inbox archives",
        "s3:ListBucketVersions": "models inbox archives",
        "s3:ListBucket": "models",
        "s3:ListBucketMultipartUploads": "bucket",
    },
    "download_model": {
        "dynamodb:GetItem": "M Z",
        "dynamodb:BatchGetItem": "G",
        "dynamodb:Query": "F P",
        "dynamodb:UpdateItem": "M F",
        "s3:GetObject": "models archives",
        "s3:ListBucket": "archives",
        "lambda:InvokeFunction": "build_archive:live",
    },
    "delete_grant": {
        "dynamodb:BatchGetItem": "G",
        "dynamodb:UpdateItem": "G",
        "dynamodb:DeleteItem": "G",
    },
    "get_grant": {
        "dynamodb:BatchGetItem": "G",
        "dynamodb:GetItem": "G",
    },
    "list_grants": {
        "dynamodb:BatchGetItem": "G",
        "dynamodb:Query": "G",
    },
    "put_grant": {
        "dynamodb:BatchGetItem": "G",
        "dynamodb:GetItem": "G",
        "dynamodb:PutItem": "G",
        "dynamodb:UpdateItem": "G",
    },
    "get_model": {
        "dynamodb:GetItem": "M",
        "dynamodb:BatchGetItem": "G",
        "dynamodb:Query": "F P",
    },
    "get_upload": {
        "dynamodb:GetItem": "A",
        "dynamodb:BatchGetItem": "G",
        "dynamodb:Query": "A",
        "dynamodb:UpdateItem": "A",
        "s3:GetObject": "inbox",
        "s3:PutObject": "inbox",
        "s3:AbortMultipartUpload": "inbox",
        "s3:ListMultipartUploadParts": "inbox",
        "s3:ListBucket": "inbox",
    },
    "list_files": {
        "dynamodb:GetItem": "M",
        "dynamodb:BatchGetItem": "G",
        "dynamodb:Query": "F P",
        "s3:GetObject": "models",
    },
    "list_models": {
        "dynamodb:GetItem": "M",
        "dynamodb:BatchGetItem": "M G",
        "dynamodb:Query": "P",
        "dynamodb:DeleteItem": "P",
    },
    "list_tokens": {
        "dynamodb:Query": "TK",
        "dynamodb:BatchGetItem": "T",
    },
    "list_uploads": {
        "dynamodb:GetItem": "A",
        "dynamodb:BatchGetItem": "A G",
        "dynamodb:Query": "O",
        "s3:GetObject": "inbox",
        "s3:ListMultipartUploadParts": "inbox",
        "s3:ListBucket": "inbox",
    },
    "list_versions": {
        "dynamodb:BatchGetItem": "M G",
        "dynamodb:Query": "P",
        "dynamodb:DeleteItem": "P",
    },
    "receive_upload": {
        "dynamodb:GetItem": "M P A",
        "dynamodb:Query": "F P A",
        "dynamodb:PutItem": "M A WK",
        "dynamodb:UpdateItem": "A",
        "dynamodb:DeleteItem": "P A O WK",
        "dynamodb:BatchWriteItem": "F P D A",
        "s3:GetObject": "models inbox claim",
        "s3:PutObject": "models inbox claim",
        "s3:DeleteObject": "models inbox",
        "s3:AbortMultipartUpload": "models inbox",
        "s3:ListMultipartUploadParts": "models",
        "s3:ListBucket": "models inbox",
        "s3:ListBucketMultipartUploads": "bucket",
        "lambda:InvokeFunction": "receive_upload:live",
    },
    "revoke_token": {
        "dynamodb:Query": "TK",
        "dynamodb:DeleteItem": "T TK",
    },
    "search_models": {
        "dynamodb:BatchGetItem": "M G",
        "dynamodb:Query": "P",
        "dynamodb:DeleteItem": "P",
    },
    "sign_parts": {
        "dynamodb:GetItem": "A",
        "dynamodb:BatchGetItem": "G",
        "dynamodb:Query": "A",
        "dynamodb:UpdateItem": "A",
        "s3:PutObject": "inbox",
        "s3:AbortMultipartUpload": "inbox",
        "s3:ListMultipartUploadParts": "inbox",
    },
    "start_upload": {
        "dynamodb:GetItem": "M A I",
        "dynamodb:BatchGetItem": "M G",
        "dynamodb:Query": "F D A",
        "dynamodb:PutItem": "M A O I WK",
        "dynamodb:UpdateItem": "M A",
        "dynamodb:DeleteItem": "A O WK",
        "dynamodb:BatchWriteItem": "F A",
        "s3:GetObject": "inbox claim",
        "s3:PutObject": "inbox claim",
        "s3:DeleteObject": "models inbox",
        "s3:AbortMultipartUpload": "models inbox",
        "s3:ListMultipartUploadParts": "inbox",
        "s3:ListBucket": "models inbox",
        "s3:ListBucketMultipartUploads": "bucket",
        "lambda:InvokeFunction": "receive_upload:live",
    },
    "sweep_uploads": {
        "dynamodb:GetItem": "M A Z WK",
        "dynamodb:Query": "F P A WK",
        "dynamodb:PutItem": "M P WK",
        "dynamodb:UpdateItem": "A",
        "dynamodb:DeleteItem": "A O Z WK",
        "dynamodb:BatchWriteItem": "F P D A",
        "s3:GetObject": "inbox",
        "s3:DeleteObject": "models inbox archives",
        "s3:AbortMultipartUpload": "models inbox archives",
        "s3:DeleteObjectVersion": "models inbox archives",
        "s3:ListBucketVersions": "models inbox archives",
        "s3:ListBucket": "models inbox archives",
        "s3:ListBucketMultipartUploads": "bucket",
        "lambda:InvokeFunction": "receive_upload:live",
    },
    "update_model": {
        "dynamodb:GetItem": "M",
        "dynamodb:BatchGetItem": "G",
        "dynamodb:Query": "F P",
        "dynamodb:PutItem": "P",
        "dynamodb:UpdateItem": "M",
        "dynamodb:DeleteItem": "P",
    },
    "upload_folder": {
        "dynamodb:GetItem": "M P A",
        "dynamodb:BatchGetItem": "G",
        "dynamodb:Query": "F P A",
        "dynamodb:PutItem": "M A WK",
        "dynamodb:UpdateItem": "M A",
        "dynamodb:DeleteItem": "P A O WK",
        "dynamodb:BatchWriteItem": "F P D A",
        "s3:GetObject": "models inbox claim",
        "s3:PutObject": "models inbox claim",
        "s3:DeleteObject": "models inbox",
        "s3:AbortMultipartUpload": "models inbox",
        "s3:ListMultipartUploadParts": "models",
        "s3:ListBucket": "models inbox",
        "s3:ListBucketMultipartUploads": "bucket",
        "lambda:InvokeFunction": "receive_upload:live",
    },
    "upload_single": {
        "dynamodb:GetItem": "M P A",
        "dynamodb:BatchGetItem": "G",
        "dynamodb:Query": "F P A",
        "dynamodb:PutItem": "M A WK",
        "dynamodb:UpdateItem": "M A",
        "dynamodb:DeleteItem": "P A O WK",
        "dynamodb:BatchWriteItem": "F P D A",
        "s3:GetObject": "models inbox claim",
        "s3:PutObject": "models claim",
        "s3:DeleteObject": "models inbox",
        "s3:AbortMultipartUpload": "models inbox",
        "s3:ListBucket": "models inbox",
        "s3:ListBucketMultipartUploads": "bucket",
    },
    "verify_files": {
        "dynamodb:Scan": "table",
        "dynamodb:GetItem": "M V",
        "dynamodb:Query": "F WK",
        "dynamodb:PutItem": "V",
        "s3:GetObject": "models",
        "s3:ListBucket": "models",
    },
}

PREFIXES = {
    "models/_claim.json": "claim",
    "models/": "models",
    "modelkeep/uploads/_probe/": "probes",
    "modelkeep/uploads/": "inbox",
    "modelkeep/archives/": "archives",
}
KEY = "arn:aws:kms:R:111122223333:key/k"
# Who may read what is encrypted with a key may use it to decrypt; who writes, to encrypt too, and a multipart is read.
KMS = {"s3:GetObject": {"kms:Decrypt"}, "s3:PutObject": {"kms:Decrypt", "kms:GenerateDataKey"}}
FUNCTIONS = functions_of(load_template())
Grants = dict[str, set[str]]


def granted(folder: str) -> Grants:
    """What a function's policy allows, as ALLOWED says it."""
    found: Grants = {}
    for statement in statements_of(FUNCTIONS[folder]):
        condition = statement.get("Condition", {})
        for action in as_list(statement["Action"]):
            for resource in as_list(statement["Resource"]):
                found.setdefault(action, set()).update(_targets(action, resource, condition))
    return found


def _targets(action: str, resource: str, condition: dict[str, Any]) -> set[str]:
    if action == "dynamodb:Scan":  # which names no key
        assert resource == TABLE_ARN and not condition
        return {"table"}
    if resource == TABLE_ARN:
        ((operator, keys),) = condition.items()
        assert operator == "ForAllValues:StringLike"
        ((name, patterns),) = keys.items()
        assert name == "dynamodb:LeadingKeys"
        return {pattern.removesuffix("#*") for pattern in patterns}
    if resource == BUCKET_ARN and action in ("s3:ListBucket", "s3:ListBucketVersions"):
        ((operator, keys),) = condition.items()
        assert operator == ("StringLikeIfExists" if action == "s3:ListBucket" else "StringLike")
        return {PREFIXES[pattern.removesuffix("*")] for pattern in keys["s3:prefix"]}
    assert not condition
    if resource == BUCKET_ARN:
        return {"bucket"}
    if resource.startswith(FUNCTION_ARN):
        return {resource.removeprefix(FUNCTION_ARN)}
    return {PREFIXES[resource.removeprefix(f"{BUCKET_ARN}/").removesuffix("*")]}


@pytest.mark.parametrize("folder", sorted(FUNCTIONS))
@pytest.mark.case("T3")
def test_a_function_may_do_this_and_no_more(folder: str):
    assert granted(folder) == {action: set(targets.split()) for action, targets in ALLOWED[folder].items()}


@pytest.mark.parametrize("folder", sorted(FUNCTIONS))
def test_a_function_may_use_a_key_for_what_it_reads_and_writes_if_there_is_one(folder: str):
    asked = set().union(*(KMS.get(action, ()) for action in ALLOWED[folder]))
    given = functions_of(load_template(KmsKeyArn=KEY))[folder]
    listed = [each for each in statements_of(given) if "kms" in str(each["Action"])]
    assert {action for each in listed for action in each["Action"]} == asked
    for statement in listed:
        assert statement["Resource"] == KEY
        assert statement["Condition"] == {"StringEquals": {"kms:ViaService": "s3.R.amazonaws.com"}}
    without = [each for each in statements_of(given) if each not in listed]
    assert without == statements_of(FUNCTIONS[folder])


@pytest.mark.parametrize("folder", sorted(FUNCTIONS))
@pytest.mark.case("T3")
def test_with_a_given_bucket_a_function_may_do_the_same_there_and_nothing_elsewhere(folder: str):
    given = str(statements_of(functions_of(load_template(BucketName="lake"))[folder]))
    assert given == str(statements_of(FUNCTIONS[folder])).replace(BUCKET_ARN, "arn:aws:s3:::lake")


_WRITES = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
_BY_KEY = {
    "HeadObject": "GetObject",
    "GetObject": "GetObject",
    "PutObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "AbortMultipartUpload": "AbortMultipartUpload",
    "ListParts": "ListMultipartUploadParts",
    "DeleteObject": "DeleteObject",
}


def needed(operation: str, given: dict[str, Any]) -> set[tuple[str, str]]:
    """The actions that IAM asks for when this call is made, each with what it is about."""
    if "TransactItems" in given:
        return {
            (f"dynamodb:{_WRITES[verb]}", _kind(item.get("Key") or item["Item"]))
            for each in given["TransactItems"]
            for verb, item in each.items()
        }
    if "RequestItems" in given:
        keys = []
        for listed in given["RequestItems"].values():
            if isinstance(listed, dict):
                keys += listed["Keys"]
            else:
                keys += [
                    write["PutRequest"]["Item"] if "PutRequest" in write else write["DeleteRequest"]["Key"]
                    for write in listed
                ]
        return {(f"dynamodb:{operation}", _kind(key)) for key in keys}
    if operation == "Query":
        names, values = given["ExpressionAttributeNames"], given["ExpressionAttributeValues"]
        match = re.match(r"\(?(#\w+) = (:\w+)", given["KeyConditionExpression"])
        assert match is not None and names[match[1]] == "pk"
        return {("dynamodb:Query", _kind({"pk": values[match[2]]}))}
    if operation == "Scan":
        return {("dynamodb:Scan", "table")}
    if "TableName" in given:
        return {(f"dynamodb:{operation}", _kind(given.get("Key") or given["Item"]))}
    if "FunctionName" in given:
        return {("lambda:InvokeFunction", f"{given['FunctionName']}:{given['Qualifier']}")}
    if operation == "DeleteObjects":
        return {
            ("s3:DeleteObjectVersion" if "VersionId" in each else "s3:DeleteObject", _prefix(each["Key"]))
            for each in given["Delete"]["Objects"]
        }
    if operation == "ListObjectVersions":
        return {("s3:ListBucketVersions", _prefix(given["Prefix"]))}
    if operation == "ListObjectsV2":
        return {("s3:ListBucket", _prefix(given["Prefix"]))}
    if operation == "ListMultipartUploads":
        return {("s3:ListBucketMultipartUploads", "bucket")}
    found = {("s3:PutObject" if "Copy" in operation else f"s3:{_BY_KEY[operation]}", _prefix(given["Key"]))}
    if "CopySource" in given:
        found.add(("s3:GetObject", _prefix(given["CopySource"]["Key"])))
    if operation == "HeadObject" and "ChecksumMode" not in given:  # whether it is there: 404 only if one may list
        found.add(("s3:ListBucket", _prefix(given["Key"])))
    return found


def _kind(key: dict[str, Any]) -> str:
    return str(key["pk"]["S"]).split("#")[0]


def _prefix(key: str) -> str:
    return next(name for prefix, name in PREFIXES.items() if key.startswith(prefix))


class Recorder:
    """Runs functions and notes what they ask of AWS that their policy does not allow; presigned URLs too, as they can
    do only what their signer may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from registry import tasks
        from registry.storage import client

        self.refused: set[tuple[str, str, str]] = set()
        self.asked: dict[str, set[tuple[str, str]]] = {}
        self.started: list[tuple[str, dict[str, Any]]] = []
        self._folder: str | None = None
        recorder, presigner = self, type(client.presigner())
        real_call = botocore.client.BaseClient._make_api_call
        real_presign = presigner.generate_presigned_url

        def call(client: Any, operation: str, given: dict[str, Any]) -> Any:
            recorder._note(needed(operation, given))
            return real_call(client, operation, given)

        def presign(client: Any, method: str, Params: dict[str, Any], **rest: Any) -> str:  # noqa: N803
            recorder._note(needed("".join(part.title() for part in method.split("_")), Params))
            return str(real_presign(client, method, Params=Params, **rest))

        def start(name: str, event: dict[str, Any]) -> None:
            recorder._note({("lambda:InvokeFunction", f"{name}:live")})
            recorder.started.append((name, event))

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
        monkeypatch.setattr(presigner, "generate_presigned_url", presign)
        monkeypatch.setattr(tasks, "start_function", start)

    def _note(self, wanted: set[tuple[str, str]]) -> None:
        if self._folder is None:
            return  # the test itself
        allowed = granted(self._folder)
        # Who may write the inbox may try the store there.
        wanted = {
            (action, "inbox" if target == "probes" and "inbox" in allowed.get(action, ()) else target)
            for action, target in wanted
        }
        self.asked.setdefault(self._folder, set()).update(wanted)
        self.refused |= {(self._folder, *each) for each in wanted if each[1] not in allowed.get(each[0], ())}

    def http(self, folder: str, expected: int, **request: Any) -> Any:
        """Calls an endpoint, and the functions that it started; the body."""
        self._folder = folder
        status, _, body = call_function(folder, **request)
        self._folder = None
        assert status == expected, (folder, status, body)
        return body

    def event(self, folder: str, event: dict[str, Any]) -> None:
        self._folder = folder
        importlib.import_module(f"functions.{folder}.app").lambda_handler(event, None)
        self._folder = None

    def run_started(self) -> None:
        while self.started:
            self.event(*self.started.pop(0))


@pytest.fixture
def recorder(on_moto: None, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """`with no_time():` no request waits and no worker gets anything done: all is handed over."""
    from registry import settings
    from registry.deadlines import Deadline

    @contextmanager
    def over() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(Deadline, "passed", property(lambda self: True))
            patch.setenv("REGISTRY_WAIT_SECONDS", "1")
            settings.get_settings.cache_clear()
            yield
        settings.get_settings.cache_clear()

    return over


def form(slot: str, filename: str, data: bytes, **fields: str) -> dict[str, Any]:
    lines = [f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
    head = f'--b\r\nContent-Disposition: form-data; name="{slot}"; filename="{filename}"\r\n\r\n'
    body = "".join(lines).encode() + head.encode() + data + b"\r\n--b--\r\n"
    return {"headers": {"content-type": "multipart/form-data; boundary=b"}, "body": body}


def put(upload: dict[str, Any], slot: str, data: bytes) -> dict[str, Any]:
    """As a client's PUT to the inbox: the event that S3 sends for it."""
    from registry import naming
    from registry.storage.client import s3

    key = naming.inbox_prefix(upload["user_id"], upload["upload_id"]) + slot
    s3().put_object(Bucket="modelkeep", Key=key, Body=data)
    return {"Records": [{"s3": {"object": {"key": key}}}]}


MIB = 1024 * 1024
MODEL = {"user_id": "alice", "model_id": "bert"}
USER = {"user_id": "alice"}
NEW = {**MODEL, "name": "Bert", "description": "of words"}


def zip_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


def test_policies_are_enough_for_a_zip_built_in_parts_by_two_and_dropped(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
):
    from registry import settings
    from registry.storage import assembling

    monkeypatch.setenv("REGISTRY_ARCHIVE_EXPIRES_SECONDS", "0")
    settings.get_settings.cache_clear()
    members = {"a.bin": b"a" * 12 * MIB, "b.bin": b"b" * 11 * MIB}
    recorder.http("upload_folder", 200, **form("zip_file", "a.zip", zip_of(**members), **NEW, version="v1"))
    with monkeypatch.context() as patch:
        patch.setattr(assembling._Work, "run", lambda self, due: {})
        recorder.event("build_archive", {**MODEL, "version": "v1"})
    recorder.run_started()
    assert ("s3:ListMultipartUploadParts", "archives") in recorder.asked["build_archive"]
    assert ("lambda:InvokeFunction", "build_archive:live") in recorder.asked["build_archive"]
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 5)
    recorder.event("sweep_uploads", {})
    assert ("dynamodb:GetItem", "Z") in recorder.asked["sweep_uploads"]
    assert recorder.refused == set()


def test_policies_are_enough_for_forms_reading_and_changing(recorder: Recorder, no_time: Callable[[], Any]):
    words = form("file", "requirements.txt", b"numpy\n", **NEW, version="v1")
    recorder.http("upload_single", 200, **words)
    recorder.http("upload_single", 409, **words)
    many = {f"many__{number:04d}-{'long' * 20}.json": b"{}" for number in range(120)}  # more than fit inline
    recorder.http("upload_folder", 200, **form("zip_file", "a.zip", zip_of(**many), **NEW, version="v2"))
    recorder.http("upload_folder", 400, **form("zip_file", "a.zip", b"no ZIP", **NEW, version="v3"))
    for query in (None, {"version": "v1"}, {"version": "v2"}):
        recorder.http("get_model", 200, path=MODEL, query=query)
        recorder.http("list_files", 200, path=MODEL, query={"urls": "true", "limit": "5", **(query or {})})
        recorder.http("download_model", 200, path=MODEL, query=query)
    recorder.http("list_models", 200, path=USER, query={"latest": "true", "framework": "other"})
    recorder.http("list_versions", 200, path=MODEL)
    recorder.http("search_models", 200, path=USER, query={"query": "ber word"})
    name = f"many/0003-{'long' * 20}.json"
    recorder.http("download_model", 200, path=MODEL, query={"filename": name})
    recorder.http("download_model", 307, path=MODEL, query={"filename": name, "redirect": "true"})
    with no_time():
        recorder.http("download_model", 307, path=MODEL, query={"redirect": "true"})
    recorder.run_started()
    recorder.http("download_model", 307, path=MODEL, query={"redirect": "true"})
    changes = {"name": "Other", "tags": ["new"], "primary_file_path": name, "is_active": False}
    recorder.http("update_model", 200, path=MODEL, json_body=changes)
    recorder.http("update_model", 200, path=MODEL, query={"version": "v2"}, json_body={"is_active": True})
    recorder.http("delete_model", 400, path=MODEL)
    recorder.http("delete_model", 200, path=MODEL, query={"version": "v2", "purge": "true"})
    assert ("s3:ListBucketVersions", "models") in recorder.asked["delete_model"]
    recorder.http("delete_model", 200, path=MODEL, query={"all": "true"})
    recorder.event("sweep_uploads", {"detail": {"all": True}})
    assert recorder.refused == set()


def test_policies_are_enough_for_tokens(recorder: Recorder, monkeypatch: pytest.MonkeyPatch):
    from registry import settings, tokens

    monkeypatch.setenv("REGISTRY_AUTHENTICATION", "authorizer")
    settings.get_settings.cache_clear()
    monkeypatch.setattr(tokens, "MAX_TOKENS", 1)
    signed_in: dict[str, Any] = {"principal": "alice"}

    def make() -> dict[str, Any]:
        made: dict[str, Any] = recorder.http("create_token", 201, json_body={"name": "ci"}, **signed_in)
        return made

    make()
    recorder.http("create_token", 409, json_body={"name": "ci"}, **signed_in)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda now=time.time: now() + 100 * 86_400)
        made = make()  # in the place of the first, which has expired
        authorization = {"Authorization": f"Bearer {made['token']}"}
        recorder.event("authenticate_request", {"methodArn": "arn:a/prod/GET/", "headers": authorization})
        recorder.http("list_tokens", 200, **signed_in)
        recorder.http("revoke_token", 200, path={"token_id": made["token_id"]}, **signed_in)
    assert {("dynamodb:GetItem", "T"), ("dynamodb:UpdateItem", "T")} == recorder.asked["authenticate_request"]
    assert ("dynamodb:DeleteItem", "T") in recorder.asked["create_token"]
    assert recorder.refused == set()


def test_policies_are_enough_for_direct_uploads(recorder: Recorder):
    known = b"numpy\n"
    recorder.http("upload_single", 200, **form("file", "a.txt", known, **NEW, version="v1"))
    large = 17 * MIB
    files = [
        {"path": "known.txt", "size": len(known), "sha256": hashlib.sha256(known).hexdigest()},
        {"path": "small.bin", "size": 5},
        {"path": "large.bin", "size": large},
        {"path": "medium.bin", "size": 6 * MIB},
    ]
    request = {"headers": {"idempotency-key": "k"}, "json_body": {**NEW, "files": files}}
    upload = recorder.http("start_upload", 201, **request)
    recorder.http("start_upload", 201, **request)
    path = {"upload_id": upload["upload_id"]}
    more = {"files": [{"path": "more.txt", "size": len(known), "sha256": files[0]["sha256"]}]}
    recorder.http("add_files", 200, path=path, json_body=more)
    parts = {"path": "large.bin", "parts": [{"number": 1, "sha256": "0" * 64}]}
    recorder.http("sign_parts", 200, path=path, json_body=parts)
    recorder.http("get_upload", 200, path=path, query={"urls": "true"})
    recorder.http("list_uploads", 200, query=USER)
    recorder.http("complete_upload", 400, path=path)
    recorder.run_started()
    recorder.event("receive_upload", put(upload, "000001", b"hello"))
    recorder.event("receive_upload", put(upload, "000001", b"too long"))
    put(upload, "000002", bytes(large))
    put(upload, "000003", bytes(6 * MIB))
    recorder.http("complete_upload", 200, path=path)
    recorder.event("sweep_uploads", {"detail": {"all": True}})
    assert recorder.refused == set()


def test_policies_are_enough_for_multiparts_that_a_client_completes(recorder: Recorder):
    from registry.storage.client import s3

    size = 17 * MIB
    upload = recorder.http("start_upload", 201, json_body={**NEW, "files": [{"path": "large.bin", "size": size}]})
    (file,) = upload["files"]
    for part in file["multipart"]["parts"]:
        query = parse_qs(urlsplit(part["url"]).query)
        length = min(16 * MIB, size - 16 * MIB * (part["number"] - 1))
        s3().upload_part(
            Bucket="modelkeep",
            Key=f"modelkeep/uploads/alice/{upload['upload_id']}/000000",
            UploadId=query["uploadId"][0],
            PartNumber=part["number"],
            Body=bytes(length),
        )
    recorder.http("complete_upload", 200, path={"upload_id": upload["upload_id"]})
    assert recorder.refused == set()


def test_policies_are_enough_for_archives_sent_directly(recorder: Recorder, no_time: Callable[[], Any]):
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("a/model.bin", bytes(20 * MIB))
        archive.writestr("requirements.txt", "numpy")
    data = stored.getvalue()
    announced = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for wrong in (True, False):
        announced["sha256"] = "0" * 64 if wrong else hashlib.sha256(data).hexdigest()
        upload = recorder.http("start_upload", 201, json_body={**NEW, "archive": announced})
        path = {"upload_id": upload["upload_id"]}
        recorder.http("sign_parts", 200, path=path, json_body={"parts": [{"number": 1, "sha256": "0" * 64}]})
        recorder.http("list_uploads", 200, query=USER)
        recorder.http("get_upload", 200, path=path, query={"urls": "true"})
        recorder.event("receive_upload", put(upload, "archive", data))
        shown = recorder.http("get_upload", 200, path=path)
        assert shown["status"] == ("failed" if wrong else "ready"), shown
    with no_time():
        recorder.http("download_model", 307, path=MODEL)
    recorder.run_started()
    recorder.http("download_model", 307, path=MODEL)
    recorder.http("delete_model", 200, path=MODEL)
    assert recorder.refused == set()


def test_policies_are_enough_for_what_is_aborted_lost_dead_or_overdue(recorder: Recorder):
    from registry import records
    from registry.catalog import changing
    from registry.records import PostingRow, UploadRow, VersionRow

    def start(version: str) -> dict[str, Any]:
        body = {**NEW, "version": version, "files": [{"path": "a", "size": 3}]}
        return recorder.http("start_upload", 201, json_body=body)

    recorder.http("abort_upload", 200, path={"upload_id": start("a1")["upload_id"]})
    lost = start("a2")
    put(lost, "000000", b"abc")
    overdue = start("a3")
    UploadRow(f"A#{overdue['upload_id']}", "#").update(actions=[UploadRow.expires_at.set(1)])
    recorder.event("sweep_uploads", {"detail": {"all": True}})
    recorder.run_started()
    ready = VersionRow.find(*records.version_key("alice", "bert", "a2"))
    assert ready is not None and ready.status == "ready"
    # A worker that died between publication and the end.
    work = UploadRow.find(f"A#{lost['upload_id']}")
    assert work is not None
    from registry.catalog import reserving

    work.update(actions=[UploadRow.due.set((row := reserving.work_row(work, kind="upload", due=1)).sk)])
    row.save()
    recorder.event("sweep_uploads", {})
    # A delete that died after its first step, of a version whose hints nobody took away.
    assert changing.begin_delete(ready, due=1) is not None
    recorder.event("sweep_uploads", {})
    # A form whose process died: its name is taken over.
    dead = form("file", "a.txt", b"x", **NEW, version="d1")
    holder = start("d1")
    UploadRow(f"A#{holder['upload_id']}", "#").update(actions=[UploadRow.kind.set("form")])
    recorder.http("upload_single", 200, **dead)
    for name, folder in (("d2", "upload_folder"), ("d3", "start_upload"), ("d4", "sweep_uploads")):
        holder = start(name)
        UploadRow(f"A#{holder['upload_id']}", "#").update(actions=[UploadRow.kind.set("folder")])
        if folder == "upload_folder":
            zipped = zip_of(a=b"x")
            recorder.http(folder, 200, **form("zip_file", "a.zip", zipped, **NEW, version=name))
        elif folder == "start_upload":
            start(name)
        else:
            recorder.event(folder, {"detail": {"all": True}})
    # Hints that lead nowhere are taken away by whoever meets them.
    for path, endpoint, query in (
        (USER, "list_models", None),
        (MODEL, "list_versions", None),
        (USER, "search_models", {"query": "bert"}),
    ):
        for term in ("*", "m:bert", "w:ber"):
            PostingRow(f"P#alice#a#{term}", "2026-01-01T00:00:00.000000Z#bert#none", upload_id="0" * 32).save()
        recorder.http(endpoint, 200, path=path, query=query)
        assert ("dynamodb:DeleteItem", "P") in recorder.asked[endpoint]
    assert recorder.refused == set()


def test_policies_are_enough_for_the_check_of_files(recorder: Recorder):
    from registry.storage import objects

    recorder.http("upload_single", 200, **form("file", "a.txt", b"bytes", **NEW, version="v1"))
    many = {f"many__{number:04d}-{'long' * 20}.json": b"{}" for number in range(120)}  # more than fit inline
    recorder.http("upload_folder", 200, **form("zip_file", "a.zip", zip_of(empty=b"", **many), **NEW, version="v2"))
    objects.delete_object("models/alice/bert/v1/a.txt")
    objects.put_object("models/alice/bert/v2/empty", b"no longer")
    objects.put_object("models/alice/bert/v9/a.txt", b"nobody's")
    recorder.event("verify_files", {"gibibytes": 1})
    recorder.event("verify_files", {"gibibytes": 1})
    assert ("s3:ListBucket", "models") in recorder.asked["verify_files"]
    assert {action for action, _ in recorder.asked["verify_files"]} == ALLOWED["verify_files"].keys()
    assert recorder.refused == set()


def test_policies_are_enough_for_work_that_is_handed_over(recorder: Recorder, no_time: Callable[[], Any]):
    upload = recorder.http("start_upload", 201, json_body={**NEW, "archive": {"size": len(zipped := zip_of(a=b"x"))}})
    event = put(upload, "archive", zipped)
    with no_time():
        recorder.http("upload_folder", 202, **form("zip_file", "a.zip", zipped, **NEW, version="v9"))
        recorder.http("complete_upload", 202, path={"upload_id": upload["upload_id"]})
        recorder.event("receive_upload", event)
    for folder in ("upload_folder", "complete_upload", "receive_upload"):
        assert ("lambda:InvokeFunction", "receive_upload:live") in recorder.asked[folder]
    recorder.run_started()
    assert recorder.http("get_model", 200, path=MODEL, query={"version": "v9"})
    assert recorder.refused == set()


def test_policies_are_enough_for_archives_that_outlast_a_function(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, no_time: Callable[[], Any]
):
    from registry import deadlines
    from registry.uploads import long_members, sharing

    from tests.functional.test_long_members import content
    from tests.lives import lives_of

    monkeypatch.setattr(sharing, "_SHARE_BYTES", 1)
    monkeypatch.setattr(long_members, "_ALONE_BYTES", MIB)
    good = zip_of(a__big=content(40 * MIB), b=b"x" * 10_000, c=b"y" * 10_000)
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("a", b"x" * 1000)
        archive.writestr("b", b"y" * 1000)
    bad = stored.getvalue().replace(b"x" * 1000, b"z" * 1000)
    for data, version in ((good, "v1"), (good, "v2"), (bad, "v3")):
        announced = {"archive": {"size": len(data)}, "version": version}
        upload = recorder.http("start_upload", 201, json_body={**NEW, **announced})
        event = put(upload, "archive", data)
        with monkeypatch.context() as patch:
            patch.setattr(deadlines, "Deadline", lives_of(60, successors=1.0))
            recorder.event("receive_upload", event)
            if version == "v2":
                recorder.event(*recorder.started.pop(0))
                recorder.http("abort_upload", 200, path={"upload_id": upload["upload_id"]})
            recorder.run_started()
        recorder.event("sweep_uploads", {"detail": {"all": True}})
        shown = recorder.http("get_upload", 200, path={"upload_id": upload["upload_id"]})
        assert shown["status"] == {"v1": "ready", "v2": "aborted", "v3": "failed"}[version]
    assert ("s3:ListMultipartUploadParts", "models") in recorder.asked["receive_upload"]
    assert recorder.refused == set()


def test_policies_are_enough_for_what_others_were_let_to(recorder: Recorder, monkeypatch: pytest.MonkeyPatch):
    from registry import grants, settings

    monkeypatch.setenv("REGISTRY_AUTHENTICATION", "authorizer")
    settings.get_settings.cache_clear()

    def grant(place: str) -> dict[str, Any]:
        return {"path": {**USER, "grant": place}, "principal": "alice"}

    recorder.http("put_grant", 200, json_body={"role": "admin"}, **grant("bob"))
    recorder.http("put_grant", 200, json_body={"role": "read"}, **grant("bert/bob"))
    monkeypatch.setattr(grants, "MAX_GRANTS", 2)
    recorder.http("put_grant", 409, json_body={"role": "read"}, **grant("other/bob"))
    recorder.http("get_grant", 200, **grant("bob"))
    recorder.http("delete_grant", 200, **grant("bert/bob"))
    bob: dict[str, Any] = {"principal": "bob"}
    recorder.http("put_grant", 200, path={**USER, "grant": "carol"}, json_body={"role": "read"}, **bob)
    recorder.http("get_grant", 200, path={**USER, "grant": "carol"}, **bob)
    recorder.http("list_grants", 200, path=USER, **bob)
    recorder.http("delete_grant", 200, path={**USER, "grant": "carol"}, **bob)
    recorder.http("upload_single", 200, **form("file", "a.txt", b"x", **NEW, version="v1"), **bob)
    recorder.http("upload_folder", 200, **form("zip_file", "a.zip", zip_of(a=b"x"), **NEW, version="v2"), **bob)
    known = {"path": "known", "size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    files = [known, {"path": "large", "size": 17 * MIB}]
    upload = recorder.http("start_upload", 201, json_body={**NEW, "files": files}, **bob)
    assert upload["files"][0]["status"] == "stored"
    path = {"upload_id": upload["upload_id"]}
    recorder.http("add_files", 200, path=path, json_body={"files": [{**known, "path": "more"}]}, **bob)
    part = {"path": "large", "parts": [{"number": 1, "sha256": "0" * 64}]}
    recorder.http("sign_parts", 200, path=path, json_body=part, **bob)
    recorder.http("get_upload", 200, path=path, query={"urls": "true"}, **bob)
    recorder.http("list_uploads", 200, query=USER, **bob)
    recorder.http("complete_upload", 400, path=path, **bob)
    recorder.http("abort_upload", 200, path=path, **bob)
    for folder in ("get_model", "list_versions", "list_files", "download_model"):
        recorder.http(folder, 200, path=MODEL, **bob)
    for folder in ("list_models", "search_models"):
        recorder.http(folder, 200, path=USER, **bob)
    recorder.http("update_model", 200, path=MODEL, json_body={"name": "x"}, **bob)
    recorder.http("delete_model", 200, path=MODEL, query={"all": "true"}, **bob)
    asked = {folder for folder, wanted in recorder.asked.items() if ("dynamodb:BatchGetItem", "G") in wanted}
    assert asked == {folder for folder in FUNCTIONS if "G" in granted(folder).get("dynamodb:BatchGetItem", ())}
    assert recorder.refused == set()
