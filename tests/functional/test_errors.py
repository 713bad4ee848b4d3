"""What every function does alike: refusals in the contract's form, causes that stay inside, and who may call."""

from __future__ import annotations

import importlib
import json

import pytest

from tests.functional.kit import deliver, event_of, nothing_written, objects, ok, refused, send
from tests.functional.routes import TOKEN_ID

# Every function with a route: how to call it for alice's model `m`, as somebody.
CALLS = {
    "upload_single": lambda api, upload_id, who: api.single("new", principal=who),
    "upload_folder": lambda api, upload_id, who: api.folder({"a": b"1"}, "new", principal=who),
    "get_model": lambda api, upload_id, who: api.get(principal=who),
    "list_models": lambda api, upload_id, who: api.list(principal=who),
    "list_versions": lambda api, upload_id, who: api.versions(principal=who),
    "search_models": lambda api, upload_id, who: api.search("m", principal=who),
    "list_files": lambda api, upload_id, who: api.files(urls="true", principal=who),
    "download_model": lambda api, upload_id, who: api.download(filename="model.pkl", principal=who),
    "update_model": lambda api, upload_id, who: api.update(changes={"name": "x"}, principal=who),
    "delete_model": lambda api, upload_id, who: api.delete(principal=who),
    "start_upload": lambda api, upload_id, who: api.start("new", archive={"size": 1}, principal=who),
    "get_upload": lambda api, upload_id, who: api.upload(upload_id, urls="true", principal=who),
    "list_uploads": lambda api, upload_id, who: api.uploads(principal=who),
    "add_files": lambda api, upload_id, who: api.add(upload_id, [{"path": "b", "size": 1}], principal=who),
    "sign_parts": lambda api, upload_id, who: api.sign(
        upload_id, path="big", parts=[{"number": 1, "sha256": "0" * 64}], principal=who
    ),
    "complete_upload": lambda api, upload_id, who: api.complete(upload_id, principal=who),
    "abort_upload": lambda api, upload_id, who: api.abort(upload_id, principal=who),
    "put_grant": lambda api, upload_id, who: api.grant("m/bob", principal=who),
    "get_grant": lambda api, upload_id, who: api.granted("carol", principal=who),
    "delete_grant": lambda api, upload_id, who: api.revoke("carol", principal=who),
    "list_grants": lambda api, upload_id, who: api.grants(principal=who),
    "create_token": lambda api, upload_id, who: api.call("create_token", json_body={"name": "T"}, principal=who),
    "list_tokens": lambda api, upload_id, who: api.call("list_tokens", principal=who),
    "revoke_token": lambda api, upload_id, who: api.call("revoke_token", path={"token_id": TOKEN_ID}, principal=who),
}
OWN = ("create_token", "list_tokens")  # which can name nothing of another's
USE_CASES = {
    "upload_single": "registry.uploads.forms:upload_single",
    "upload_folder": "registry.uploads.forms:upload_folder",
    "get_model": "registry.versions:get_model",
    "list_models": "registry.versions:list_models",
    "list_versions": "registry.versions:list_versions",
    "search_models": "registry.versions:list_models",
    "list_files": "registry.versions:list_files",
    "download_model": "registry.downloads:download_model",
    "update_model": "registry.versions:update_model",
    "delete_model": "registry.deleting:delete_model",
    "start_upload": "registry.uploads.starting:start_upload",
    "get_upload": "registry.uploads.showing:get_upload",
    "list_uploads": "registry.uploads.showing:list_uploads",
    "add_files": "registry.uploads.starting:add_files",
    "sign_parts": "registry.uploads.showing:sign_parts",
    "complete_upload": "registry.uploads.completing:complete_upload",
    "abort_upload": "registry.uploads.completing:abort_upload",
    "put_grant": "registry.grants:put_grant",
    "get_grant": "registry.grants:get_grant",
    "delete_grant": "registry.grants:delete_grant",
    "list_grants": "registry.grants:list_grants",
    "create_token": "registry.tokens:create_token",
    "list_tokens": "registry.tokens:list_tokens",
    "revoke_token": "registry.tokens:revoke_token",
}


@pytest.fixture
def world(api):
    """alice has a version of `m` and an open upload, and lets carol read; the upload's id."""
    ok(api.single())
    ok(api.grant("carol"))
    files = [{"path": "a", "size": 1}, {"path": "big", "size": 40 * 2**20}]
    return ok(api.start("open", files=files, query={"urls": "false"}), 201)["upload_id"]


def test_the_table_names_every_function_with_a_route():
    from pathlib import Path

    folders = {path.parent.name for path in Path("functions").glob("*/app.py") if "router" in path.read_text()}
    assert folders == set(CALLS) == set(USE_CASES)


@pytest.mark.parametrize("function", CALLS)
def test_an_exception_that_nobody_expected_is_a_500_that_tells_no_cause(api, monkeypatch, caplog, function):
    def explode(**arguments):
        raise RuntimeError("secret cause: table modelkeep is on fire")

    module, _, name = USE_CASES[function].partition(":")
    monkeypatch.setattr(importlib.import_module(module), name, explode)
    answer = CALLS[function](api, "0" * 32, None)
    detail = refused(answer, 500)
    request_id = answer.headers["x-request-id"]
    assert request_id and request_id in detail
    assert "secret" not in json.dumps(answer.body) and "RuntimeError" not in json.dumps(answer.body)
    (failure,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert failure.request_id == request_id
    assert "secret cause" in str(failure.exc_info[1])


@pytest.mark.case("N15")
@pytest.mark.parametrize("function", CALLS)
def test_without_the_authorizers_word_it_is_a_401_and_nothing_happens(api, world, setting, function):
    setting(authentication="authorizer")
    with nothing_written():
        refused(CALLS[function](api, world, None), 401)


@pytest.mark.case("N1", "N3")
@pytest.mark.parametrize("function", sorted(CALLS.keys() - OWN))
def test_what_is_anothers_is_not_there_and_nothing_happens(api, world, setting, function):
    setting(authentication="authorizer")
    with nothing_written():
        answer = CALLS[function](api, world, "mallory")
        if function in ("list_models", "search_models"):
            assert ok(answer) == []
        else:
            refused(answer, 404)
            assert "mallory" not in answer.body["detail"]


@pytest.mark.parametrize("function", CALLS)
def test_what_is_ones_own_works_as_without_authentication(api, setting, function):
    setting(authentication="authorizer")
    ok(api.single(principal="alice"))
    files = [{"path": "a", "size": 1}, {"path": "big", "size": 40 * 2**20}]
    upload = ok(api.start("open", files=files, principal="alice"), 201)
    ok(api.grant("carol", principal="alice"))
    answer = CALLS[function](api, upload["upload_id"], "alice")
    if function == "complete_upload":
        refused(answer, 400, "upload_incomplete")
    elif function == "revoke_token":
        refused(answer, 404, "token_not_found")  # there is none yet
    else:
        assert answer.status in (200, 201), answer


def test_anothers_model_that_exists_and_one_that_does_not_are_answered_alike(api, world, setting):
    setting(authentication="authorizer")
    exists, not_there = api.get("m", principal="mallory"), api.get("x", principal="mallory")
    assert exists.body["code"] == not_there.body["code"]
    assert exists.body["detail"].replace("'m'", "'x'") == not_there.body["detail"]
    known, unknown = api.upload(world, principal="mallory"), api.upload("0" * 32, principal="mallory")
    assert known.body["code"] == unknown.body["code"]
    assert known.body["detail"].replace(world, "0" * 32) == unknown.body["detail"]


@pytest.mark.case("N15")
def test_no_header_of_the_clients_own_says_who_it_is(api, world, setting):
    setting(authentication="authorizer")
    claims = {"x-user-id": "alice", "authorization": "Bearer alice", "x-amzn-principal": "alice"}
    with nothing_written():
        refused(api.download(filename="model.pkl", headers=claims), 401)
        refused(api.download(filename="model.pkl", headers=claims, principal="mallory"), 404)


def test_nobodys_upload_conflict_carries_no_upload_of_another_principal(api, setting):
    first = ok(api.start(version="v1", files=[{"path": "a", "size": 1}]), 201)  # by "anybody"
    setting(authentication="authorizer")
    answer = api.start(version="v1", files=[{"path": "a", "size": 1}], principal="alice")
    refused(answer, 409)
    assert first["upload_id"] not in json.dumps(answer.body)


def test_bytes_of_anothers_version_are_not_stored_for_the_caller(api, setting):
    import hashlib

    setting(authentication="authorizer")
    ok(api.single(content=b"secret weights", principal="alice"))
    api.user_id = "mallory"
    wanted = {"path": "a", "size": 14, "sha256": hashlib.sha256(b"secret weights").hexdigest()}
    upload = ok(api.start(files=[wanted], principal="mallory"), 201)
    assert upload["files"][0]["status"] == "pending"


def test_a_part_of_an_anonymous_upload_stays_the_namespaces_own(api, setting):
    setting(authentication="authorizer")
    upload = ok(api.start(files=[{"path": "a", "size": 1}], principal="alice"), 201)
    deliver(event_of(send(upload["files"][0], b"x")))
    assert list(objects()) == ["models/alice/m/v1/a"]
    refused(api.get(principal="mallory"), 404)
    assert ok(api.get(principal="alice"))["file_count"] == 1


def test_a_path_or_method_that_is_no_route_is_refused_in_the_contracts_form(api):
    import functions.get_model.app as app

    def send_raw(method: str, path: str):
        event = {
            "resource": path,
            "path": path,
            "httpMethod": method,
            "headers": {"host": "api.example.com"},
            "multiValueHeaders": {"host": ["api.example.com"]},
            "queryStringParameters": None,
            "multiValueQueryStringParameters": None,
            "pathParameters": None,
            "requestContext": {"stage": "prod", "requestId": "id", "path": path, "httpMethod": method},
            "body": None,
            "isBase64Encoded": False,
        }
        answer = app.lambda_handler(event, None)
        return answer["statusCode"], json.loads(answer["body"])

    for method, path, status in [
        ("GET", "/", 404),
        ("GET", "/ai-models/a/b/c/d", 404),
        ("GET", "/ai-models/alice/m/", 404),
        ("POST", "/ai-models/alice/m", 405),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
    ]:
        answered, body = send_raw(method, path)
        assert answered == status, path
        assert isinstance(body["detail"], str) and isinstance(body["code"], str)


def test_every_answer_carries_a_request_id_of_its_own(api):
    ids = {api.get().headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3 and all(ids)
