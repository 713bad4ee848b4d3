"""Each function does something that it needs, and is refused something that it does not: by its own role, by IAM as
MiniStack enforces it. What it enforces is listed in docs/deploy.md; the policies as texts are tests/template's."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.deployed.account import MiniStack
from tests.deployed.stack import RUNTIME, STACK, Deployed

Attempt = tuple[str, str, dict[str, Any]]  # service, operation, parameters
Try = Callable[[str, Attempt], str]
PROBE = """
import boto3
from botocore.exceptions import ClientError

def handler(event, context):
    try:
        getattr(boto3.client(event["service"]), event["operation"])(**event["parameters"])
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "done"
"""
DENIED = {"AccessDenied", "AccessDeniedException", "403"}
KINDS = ("M", "A", "G", "T", "TK", "WK")
M, A, G, T, TK, WK = ({"pk": {"S": f"{kind}#nobody"}, "sk": {"S": "-"}} for kind in KINDS)


def get(key: dict[str, Any]) -> Attempt:
    return "dynamodb", "get_item", {"TableName": "TABLE", "Key": key}


def put(key: dict[str, Any]) -> Attempt:
    return "dynamodb", "put_item", {"TableName": "TABLE", "Item": key}


def delete(key: dict[str, Any]) -> Attempt:
    return "dynamodb", "delete_item", {"TableName": "TABLE", "Key": key}


def query(pk: str) -> Attempt:
    condition = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": pk}}}
    return "dynamodb", "query", {"TableName": "TABLE", **condition}


def batch_get(key: dict[str, Any]) -> Attempt:
    return "dynamodb", "batch_get_item", {"RequestItems": {"TABLE": {"Keys": [key]}}}


def read(key: str) -> Attempt:
    return "s3", "get_object", {"Bucket": "BUCKET", "Key": key}


def write(key: str) -> Attempt:
    return "s3", "put_object", {"Bucket": "BUCKET", "Key": key, "Body": b"bytes"}


def remove(key: str) -> Attempt:
    return "s3", "delete_object", {"Bucket": "BUCKET", "Key": key}


def listed(prefix: str) -> Attempt:
    return "s3", "list_objects_v2", {"Bucket": "BUCKET", "Prefix": prefix}


def invoke(name: str) -> Attempt:
    return "lambda", "invoke", {"FunctionName": f"{STACK}-{name}", "Qualifier": "live", "InvocationType": "Event"}


MODEL, INBOX, ARCHIVE = "models/nobody/m/v1/f", "modelkeep/uploads/nobody/u/0", "modelkeep/archives/nobody/z"
OTHERS = "warehouse/table.parquet"  # the bucket may be shared
# What a function may do, and what it may not though others may: the one that would hurt most.
CASES: dict[str, tuple[Attempt | None, Attempt]] = {
    "abort_upload": (get(A), write(MODEL)),
    "add_files": (batch_get(M), put(M)),
    "answer_options": (None, get(M)),
    "authenticate_request": (get(T), put(T)),
    "build_archive": (write(ARCHIVE), write(MODEL)),
    "complete_upload": (write(MODEL), read(OTHERS)),
    "delete_grant": (delete(G), put(G)),
    "create_token": (put(T), get(T)),
    "delete_model": (remove(MODEL), read(MODEL)),
    "download_model": (query("F#nobody"), remove(MODEL)),
    "get_grant": (get(G), put(G)),
    "get_model": (get(M), read(MODEL)),
    "get_upload": (write(INBOX), write(MODEL)),
    "list_files": (query("F#nobody"), write(INBOX)),
    "list_grants": (query("G#nobody"), get(G)),
    "list_models": (batch_get(M), put(M)),
    "list_tokens": (batch_get(T), put(T)),
    "list_uploads": (listed("modelkeep/uploads/"), listed("models/")),
    "list_versions": (batch_get(M), get(M)),
    "put_grant": (put(G), delete(G)),
    "receive_upload": (write(MODEL), invoke("build_archive")),
    "revoke_token": (delete(TK), put(T)),
    "search_models": (query("P#nobody"), put(M)),
    "sign_parts": (write(INBOX), remove(INBOX)),
    "start_upload": (write(INBOX), write(MODEL)),
    "sweep_uploads": (remove(INBOX), write(MODEL)),
    "update_model": (get(M), ("dynamodb", "delete_table", {"TableName": "TABLE"})),
    "upload_folder": (write(INBOX), read(ARCHIVE)),
    "upload_single": (write(MODEL), write(INBOX)),
    "verify_files": (query("F#nobody"), write(MODEL)),
}


@pytest.fixture(scope="module")
def attempt(ministack: MiniStack, stack: Deployed) -> Iterator[Try]:
    """Has a probe try something in a function's role: "done", or the error's code."""
    client = ministack.client("lambda")
    made: list[str] = []
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("probe.py", PROBE)

    def attempt(function: str, what: Attempt) -> str:
        name = f"probe-{function}"
        if name not in made:
            configured = client.get_function_configuration(FunctionName=f"{STACK}-{function}")
            client.create_function(
                FunctionName=name,
                Runtime=RUNTIME,
                Role=configured["Role"],
                Handler="probe.handler",
                Timeout=60,
                Code={"ZipFile": buffer.getvalue()},
            )
            made.append(name)
            client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        service, operation, parameters = what
        text = (
            json.dumps(parameters, default=bytes.decode).replace("BUCKET", stack.bucket).replace("TABLE", stack.table)
        )
        event = {"service": service, "operation": operation, "parameters": json.loads(text)}
        answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode())
        said = json.load(answer["Payload"])
        assert isinstance(said, str), said
        return said

    yield attempt
    for name in made:
        client.delete_function(FunctionName=name)


def test_every_function_has_a_case(ministack: MiniStack) -> None:
    pages = ministack.client("lambda").get_paginator("list_functions").paginate()
    names = {each["FunctionName"] for page in pages for each in page["Functions"]}
    assert {name.removeprefix(f"{STACK}-") for name in names if name.startswith(STACK)} == CASES.keys()


@pytest.mark.parametrize("function", CASES)
def test_a_function_may_do_its_work_and_nothing_else(attempt: Try, function: str) -> None:
    allowed, forbidden = CASES[function]
    assert attempt(function, forbidden) in DENIED
    if allowed is None:  # it may do nothing; that it runs shows that the refusal is not that of its credentials
        assert attempt(function, ("sts", "get_caller_identity", {})) == "done"
    else:
        assert attempt(function, allowed) not in DENIED
