"""Who may go on with an upload, which bytes it is told of, and what presigned URLs are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from registry.auth import Principal
from registry.errors import ForbiddenError
from registry.schemas.starting import StartUpload
from registry.storage import presigning
from registry.uploads import completing, showing, starting

from tests.functional.kit import (
    deliver,
    event_of,
    make_zip,
    moto_table,
    nothing_written,
    objects,
    ok,
    read_object,
    refused,
    send,
    sweep,
)

SECRET, OPEN = b"secret weights", b"open weights"


@pytest.fixture(autouse=True)
def models(api: Any, setting: Callable[..., None]) -> None:
    """alice has `open`, which others are let to, and `secret`, which they are not."""
    setting(authentication="authorizer")
    ok(api.single("open", content=OPEN, principal="alice"))
    ok(api.single("secret", content=SECRET, principal="alice"))


def file_of(content: bytes, path: str = "a") -> dict[str, Any]:
    return {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.case("N3")
def test_every_call_of_an_upload_asks_who_may_write_its_model(api):
    big = {"path": "big", "size": 40 * 2**20}
    upload = ok(api.start("open", version="u1", files=[{"path": "a", "size": 1}, big], principal="alice"), 201)
    upload_id = upload["upload_id"]
    ok(api.grant("reader", "read", principal="alice"))
    ok(api.grant("other/writer", "admin", principal="alice"))
    part = {"path": "big", "parts": [{"number": 1, "sha256": "0" * 64}]}
    calls: list[Callable[[str], Any]] = [
        lambda who: api.upload(upload_id, principal=who),
        lambda who: api.upload(upload_id, urls="true", principal=who),
        lambda who: api.add(upload_id, [{"path": "b", "size": 1}], principal=who),
        lambda who: api.sign(upload_id, principal=who, **part),
        lambda who: api.complete(upload_id, principal=who),
        lambda who: api.abort(upload_id, principal=who),
    ]
    with nothing_written():
        for who in ("mallory", "reader", "writer"):
            for call in calls:
                detail = refused(call(who), 404, "upload_not_found")
                assert "open" not in detail
        refused(api.uploads(principal="mallory"), 404)
        assert ok(api.uploads(principal="reader")) == []
        assert ok(api.uploads(principal="writer")) == []
    ok(api.grant("open/helper", "write", principal="alice"))
    assert [each["upload_id"] for each in ok(api.uploads(principal="helper"))] == [upload_id]
    for call, status in zip(calls, (200, 200, 200, 200, 400, 200), strict=True):
        assert call("helper").status == status


@pytest.mark.case("N3")
def test_a_token_for_reading_sees_uploads_and_changes_none(api):
    upload_id = ok(api.start("open", version="u1", archive={"size": 1}, principal="alice"), 201)["upload_id"]
    reads, other = Principal("alice", scope="read"), Principal("alice", models="secret")
    look = {"urls": False, "limit": 1, "cursor": None, "state": None}
    shown, _ = showing.get_upload(principal=reads, upload_id=upload_id, **look)
    assert shown.upload_id == upload_id
    assert len(showing.list_uploads(principal=reads, user_id="alice")) == 1
    assert showing.list_uploads(principal=other, user_id="alice") == []
    with nothing_written():
        for principal in (reads, other):
            with pytest.raises(ForbiddenError):
                showing.get_upload(principal=principal, upload_id=upload_id, **{**look, "urls": True})
            with pytest.raises(ForbiddenError):
                completing.complete_upload(principal=principal, upload_id=upload_id)
            with pytest.raises(ForbiddenError):
                completing.abort_upload(principal=principal, upload_id=upload_id)


def test_a_writer_uploads_into_the_namespace_and_its_owner_has_the_version(api):
    ok(api.grant("fresh/bob", "write", principal="alice"))
    upload = ok(api.start("fresh", files=[file_of(b"x")], principal="bob"), 201)
    assert (upload["user_id"], upload["files"][0]["status"]) == ("alice", "pending")
    refused(api.start("fresh", version="v1", files=[file_of(b"x")], principal="alice"), 409, "version_uploading")
    assert ok(api.upload(upload["upload_id"], principal="alice"))["upload_id"] == upload["upload_id"]
    deliver(event_of(send(upload["files"][0], b"x")))
    assert ok(api.get("fresh", principal="alice"))["file_count"] == 1
    assert list(objects("models/alice/fresh")) == ["models/alice/fresh/v1/a"]
    assert [each["model_id"] for each in ok(api.list(principal="bob"))] == ["fresh"]


@pytest.mark.case("N3")
def test_after_a_revocation_an_upload_that_was_begun_is_out_of_reach_and_ends_as_others_do(api, move_clock):
    ok(api.grant("open/bob", "write", principal="alice"))
    key = {"idempotency-key": "k"}
    request = {"version": "u1", "files": [{"path": "a", "size": 1}]}
    upload = ok(api.start("open", headers=key, principal="bob", **request), 201)
    ok(api.revoke("open/bob", principal="alice"))
    with nothing_written():
        refused(api.start("open", headers=key, principal="bob", **request), 404)
        refused(api.upload(upload["upload_id"], urls="true", principal="bob"), 404)
        refused(api.add(upload["upload_id"], [{"path": "b", "size": 1}], principal="bob"), 404)
        refused(api.complete(upload["upload_id"], principal="bob"), 404)
        refused(api.abort(upload["upload_id"], principal="bob"), 404)
    assert len(ok(api.uploads(principal="alice"))) == 1
    move_clock(8 * 86_400)
    sweep()
    assert ok(api.upload(upload["upload_id"], principal="alice"))["status"] == "aborted"
    refused(api.get("open", version="u1", principal="alice"), 404)


# -- bytes that are there already ----------------------------------------------------------------------------------


def test_bytes_of_a_model_that_must_not_be_read_are_neither_told_of_nor_attached(api):
    ok(api.grant("mine/bob", "write", principal="alice"))
    files = [file_of(SECRET, "taken"), file_of(SECRET, "again"), file_of(b"own", "own")]
    upload = ok(api.start("mine", files=files, principal="bob"), 201)
    added = ok(api.add(upload["upload_id"], [file_of(SECRET, "added")], principal="bob"))
    assert added["bytes_stored"] == 0
    shown = ok(api.upload(upload["upload_id"], urls="true", principal="bob"))
    assert {file["status"] for file in shown["files"]} == {"pending"}
    never_held = ok(api.start("mine", version="n1", files=[file_of(b"s" * len(SECRET))], principal="bob"), 201)
    alike = {"path", "sha256", "put", "size"}
    assert {k: v for k, v in shown["files"][0].items() if k not in alike} == {
        k: v for k, v in never_held["files"][0].items() if k not in alike
    }
    # Nothing is copied either: without the bytes it is never complete.
    deliver(event_of(send(shown["files"][2], b"own")))
    refused(api.complete(upload["upload_id"], principal="bob"), 400, "upload_incomplete")
    assert [key for key in objects("models/alice/mine") if read_object(key) == SECRET] == []


def test_bytes_of_a_zip_that_must_not_be_read_are_not_told_of(api):
    data = make_zip({"model.pkl": SECRET})
    ok(api.single("secret", version="zip", content=data, filename="a.zip", principal="alice"))
    ok(api.grant("mine/bob", "write", principal="alice"))
    announced = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    upload = ok(api.start("mine", archive=announced, principal="bob"), 201)
    assert upload["archive"]["status"] == "pending"
    assert upload["bytes_stored"] == 0


def test_bytes_of_a_model_that_may_be_read_are_stored_already_and_are_attached(api):
    ok(api.grant("mine/bob", "write", principal="alice"))
    ok(api.grant("open/bob", "read", principal="alice"))
    upload = ok(api.start("mine", files=[file_of(OPEN), file_of(SECRET, "b")], principal="bob"), 201)
    assert [file["status"] for file in upload["files"]] == ["stored", "pending"]
    # Where both have the same bytes, it is the model that may be read from which they are copied.
    ok(api.single("open", version="v2", content=SECRET, filename="z", principal="alice"))
    ok(api.single("secret", version="v2", content=SECRET, filename="z", principal="alice"))
    both = ok(api.start("mine", version="b1", files=[file_of(SECRET)], principal="bob"), 201)
    assert both["files"][0]["status"] == "stored"
    sources = [
        item.to_json()["Attributes"]["files"]["S"]
        for item in moto_table().all_items()
        if item.hash_key.value == f"A#{both['upload_id']}" and item.range_key.value.startswith("S#")
    ]
    assert len(sources) == 1 and "models/alice/open/v2/z" in sources[0] and "secret" not in sources[0]


def test_hidden_models_with_the_same_bytes_take_no_place_from_one_that_may_be_read(api):
    ok(api.grant("mine/bob", "write", principal="alice"))
    ok(api.grant("open/bob", "read", principal="alice"))
    for number in range(8):
        ok(api.single("secret", version=f"o{number}", content=OPEN, principal="alice"))
    assert ok(api.start("mine", files=[file_of(OPEN)], principal="bob"), 201)["files"][0]["status"] == "stored"


@pytest.mark.case("N5")
def test_a_token_for_one_model_is_told_nothing_of_the_others_bytes(api):
    request = StartUpload(user_id="alice", model_id="mine", files=[file_of(SECRET), file_of(OPEN, "b")])
    principal = Principal("alice", models="*n*")  # which "secret" is none of
    upload = starting.start_upload(principal=principal, request=request, idempotency_key=None)
    shown, _ = showing.show(upload, urls=False)
    assert [file.status for file in shown.files] == ["pending", "stored"]


# -- presigned URLs ------------------------------------------------------------------------------------------------


@pytest.fixture
def presigned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the URLs that were made."""
    keys: list[str] = []
    for name in ("presign_get", "presign_put", "presign_part"):
        original = getattr(presigning, name)

        def presign(key: str, *arguments: Any, original: Any = original, **rest: Any) -> Any:
            keys.append(key)
            return original(key, *arguments, **rest)

        monkeypatch.setattr(presigning, name, presign)
    return keys


@pytest.mark.case("N4")
def test_a_url_is_signed_for_the_key_on_record_and_never_for_what_a_client_says(api, presigned):
    hostile = ["../../secret/v1/model.pkl", "models/alice/secret/v1/model.pkl", "/model.pkl", "..\\secret", "", "\0"]
    for filename in hostile[:-2]:
        refused(api.download("open", filename=filename, redirect="true", principal="alice"), 404, "file_not_found")
    for path in [*hostile[:1], *hostile[2:]]:  # a key may be a path: it lies below the version
        refused(api.start("new", files=[{"path": path, "size": 1}], principal="alice"), 400)
    assert presigned == []
    api.download("open", filename="model.pkl", redirect="true", principal="alice")
    ok(api.files("open", urls="true", principal="alice"))
    assert presigned == ["models/alice/open/v1/model.pkl"] * 2
    presigned.clear()
    files = [{"path": "models/alice/secret/v1/model.pkl", "size": 1}, {"path": "big", "size": 40 * 2**20}]
    upload = ok(api.start("new", files=files, principal="alice"), 201)
    refused(
        api.sign(upload["upload_id"], path="../a", parts=[{"number": 1, "sha256": "0" * 64}], principal="alice"), 404
    )
    inbox = f"modelkeep/uploads/alice/{upload['upload_id']}/"
    assert set(presigned) == {f"{inbox}000000", f"{inbox}000001"}


@pytest.mark.case("N4")
def test_no_url_is_signed_for_who_may_not(api, presigned):
    big = {"path": "big", "size": 40 * 2**20}
    upload_id = ok(api.start("open", version="u1", files=[big], principal="alice", query={"urls": "false"}), 201)[
        "upload_id"
    ]
    ok(api.grant("reader", "read", principal="alice"))
    ok(api.grant("open/bob", "write", principal="alice"))
    for who in ("mallory", "bob"):
        refused(api.download("secret", filename="model.pkl", redirect="true", principal=who), 404)
        refused(api.download("secret", redirect="true", principal=who), 404)
        refused(api.files("secret", urls="true", principal=who), 404)
        refused(api.start("secret", version="n1", files=[big], principal=who), 404)
    for who in ("mallory", "reader"):
        refused(api.upload(upload_id, urls="true", principal=who), 404)
        refused(api.sign(upload_id, path="big", parts=[{"number": 1, "sha256": "0" * 64}], principal=who), 404)
    refused(api.start("open", version="n1", files=[big], principal="reader"), 403)
    assert presigned == []
