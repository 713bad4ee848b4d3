"""What an event says, in both shapes that S3 has for it."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from registry.uploads.receiving import read_record

EVENTS = Path(__file__).parent.parent / "events"
KEYS = ["inbox/a b", "inbox/a+b", "inbox/a%40b", "inbox/a@b", "inbox/ü/%2F%20+ ", "inbox/100%"]


@pytest.mark.parametrize("key", KEYS)
def test_a_notification_encodes_its_key_and_eventbridge_does_not(key):
    notification = {"s3": {"bucket": {"name": "b"}, "object": {"key": quote_plus(key, safe="/")}}}
    assert read_record(notification) == ("b", key)
    bridged = {"source": "aws.s3", "detail": {"bucket": {"name": "b"}, "object": {"key": key}}}
    assert read_record(bridged) == ("b", key)


def test_both_events_to_try_the_function_with_say_the_same():
    notification = json.loads((EVENTS / "receive_upload.json").read_text())["Records"][0]
    bridged = json.loads((EVENTS / "receive_upload_eventbridge.json").read_text())
    assert read_record(notification) == read_record(bridged)


@pytest.mark.parametrize("record", [{}, {"detail": {}}, {"s3": {}}, {"detail": {"bucket": {"name": "b"}}}])
def test_what_is_neither_is_an_error(record):
    with pytest.raises(KeyError):
        read_record(record)
