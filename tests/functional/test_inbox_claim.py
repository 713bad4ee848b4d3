"""The inbox belongs to one installation: another one on the same bucket starts nothing there and deletes nothing."""

from __future__ import annotations

import json

import pytest

from tests.functional.kit import (
    BUCKET,
    CLAIM,
    deliver,
    event_of,
    nothing_written,
    objects,
    ok,
    read_object,
    refused,
    send,
)

STRAY = "modelkeep/uploads/bob/0198f0a1b2c300000000000000000001/000000"
FILES = [{"path": "a.bin", "size": 1}]


@pytest.fixture(autouse=True)
def unclaimed(on_moto):
    """As at the first use of a process, on a bucket that nobody has claimed."""
    from registry.storage import claiming
    from registry.storage.client import s3

    s3().delete_object(Bucket=BUCKET, Key=CLAIM)
    claiming.claim_inbox.cache_clear()
    yield
    s3().delete_object(Bucket=BUCKET, Key=CLAIM)
    claiming.claim_inbox.cache_clear()


def new_process() -> None:
    from registry.storage import claiming

    claiming.claim_inbox.cache_clear()


def put(key: str, data: bytes = b"x") -> str:
    from registry.storage.client import s3

    s3().put_object(Bucket=BUCKET, Key=key, Body=data)
    return key


def holder() -> str | None:
    from botocore.exceptions import ClientError

    try:
        return json.loads(read_object(CLAIM))["installation"]
    except ClientError:
        return None


def starts(api):
    """Every way to begin an upload."""
    return [
        lambda: api.start(files=FILES),
        lambda: api.start(archive={"size": 9}),
        lambda: api.folder({"a.bin": b"x"}),
        api.single,
    ]


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_the_first_upload_claims_an_empty_inbox_by_the_tables_name(api, number):
    assert starts(api)[number]().status in (200, 201)
    assert holder() == "modelkeep"
    new_process()
    assert ok(api.start("other", files=FILES), 201)


def test_an_installation_may_have_a_name_of_its_own(api, setting):
    setting(installation="123456789012/us-east-1/modelkeep")
    ok(api.start(files=FILES), 201)
    assert holder() == "123456789012/us-east-1/modelkeep"


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_an_inbox_of_another_installation_is_refused_and_nothing_left(api, setting, number):
    setting(installation="theirs")
    ok(api.start("first", files=FILES), 201)
    setting(installation="ours")
    new_process()
    with nothing_written():
        answer = starts(api)[number]()
        detail = refused(answer, 503, "inbox_taken")
    assert all(word in detail for word in ("'theirs'", "'ours'", "another bucket", BUCKET, CLAIM))
    assert int(answer.headers["retry-after"]) > 0
    assert holder() == "theirs"


@pytest.mark.parametrize("key", [STRAY, "modelkeep/uploads/readme.txt"])
@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_an_inbox_that_is_not_empty_and_nobodys_is_refused_and_nothing_left(api, number, key):
    put(key)
    with nothing_written():
        detail = refused(starts(api)[number](), 503, "inbox_not_empty")
    assert "modelkeep/uploads/" in detail and BUCKET in detail
    assert holder() is None


def test_a_refusal_is_not_remembered(api):
    from registry.storage.client import s3

    put(STRAY)
    refused(api.start(files=FILES), 503, "inbox_not_empty")
    s3().delete_object(Bucket=BUCKET, Key=STRAY)
    ok(api.start(files=FILES), 201)


def test_uploads_from_before_there_were_claims_show_whose_the_inbox_is(api):
    from registry.storage.client import s3

    upload = ok(api.start(files=FILES), 201)
    s3().delete_object(Bucket=BUCKET, Key=CLAIM)
    new_process()
    put(STRAY)
    send(upload["files"][0], b"x")
    ok(api.start("other", files=FILES), 201)
    assert holder() == "modelkeep"


@pytest.mark.parametrize("key", ["modelkeep/uploads/_probe/0123", "modelkeep/uploads/"])
def test_what_a_dead_probe_or_a_console_left_is_no_upload(api, key):
    put(key)
    ok(api.start(files=FILES), 201)


def test_a_process_looks_once(api, monkeypatch):
    from registry.storage.client import s3

    ok(api.start(files=FILES), 201)
    new_process()
    asked = []
    get_object = s3().get_object
    monkeypatch.setattr(s3(), "get_object", lambda **named: asked.append(named["Key"]) or get_object(**named))
    for model_id in ("b", "c", "d"):
        ok(api.start(model_id, files=FILES), 201)
    assert asked == [CLAIM]


def test_events_of_anothers_inbox_are_ignored_with_a_warning(api, setting, caplog):
    setting(installation="theirs")
    ok(api.start(files=FILES), 201)
    setting(installation="ours")
    new_process()
    put(STRAY)
    with nothing_written():
        deliver(event_of(STRAY))
    assert STRAY in objects()
    assert [record.code for record in caplog.records if record.levelname == "WARNING"] == ["inbox_taken"]


def test_what_lies_in_an_inbox_that_nobody_has_claimed_is_not_deleted(api):
    put(STRAY)
    with nothing_written():
        deliver(event_of(STRAY))
    assert STRAY in objects() and holder() is None


def test_what_nobody_knows_in_our_own_inbox_is_deleted(api):
    ok(api.start(files=FILES), 201)
    new_process()
    deliver(event_of(put(STRAY)))
    assert STRAY not in objects()


def test_ended_uploads_of_ours_need_no_claim_to_be_cleaned_up(api):
    upload = ok(api.start(files=FILES), 201)
    ok(api.abort(upload["upload_id"]))
    put(CLAIM, b'{"installation": "theirs"}')
    new_process()
    deliver(event_of(send(upload["files"][0], b"x")))
    assert objects() == {}


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b'"x"'])
def test_a_claim_that_nobody_can_read_is_anothers(api, text):
    put(CLAIM, text)
    refused(api.start(files=FILES), 503, "inbox_taken")
    assert read_object(CLAIM) == text


def test_a_zip_that_is_refused_before_it_is_read_claims_first(api):
    refused(api.folder(b"no zip"), 400)
    assert holder() == "modelkeep"
