"""SeaweedFS's changes become S3's events. `filer_changes.txt` was captured from `weed filer.meta.tail`, 4.48."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote_plus

import pytest

from local.events import Event, EventSource, event_of, parse_changes
from local.ports import Ports

CAPTURED = Path(__file__).with_name("filer_changes.txt")


@pytest.fixture(scope="module")
def changes() -> list[dict]:
    return list(parse_changes(CAPTURED.read_text().splitlines(keepends=True)))


def record_of(change: dict) -> dict | None:
    event = event_of(change)
    return event["Records"][0] if event else None


def test_every_object_that_was_written_gives_one_event_and_nothing_else_does(changes):
    records = [record for change in changes if (record := record_of(change))]
    seen = [
        (unquote_plus(r["s3"]["object"]["key"]).removeprefix("modelkeep/uploads/u/"), r["s3"]["object"]["size"])
        for r in records
    ]
    assert seen == [
        ("x y+é", 50),
        ("small", 1),
        ("x y+é", 6),  # overwritten
        ("x y+é", 6),  # … with the same bytes; then tagged: no event
        ("multi", 12_582_912),
        ("multi", 10_485_760),
        ("copied", 10_485_760),  # then given an ACL: no event
        ("small", 1),  # copied onto itself
        ("deep/er/empty", 0),
        ("deep/er/empty", 0),
        ("presigned ü&=+%41.bin", 3_000_000),
        ("posted", 3),
    ]


def test_an_event_has_the_shape_that_lambda_gets(changes):
    record = next(record for change in changes if (record := record_of(change)))
    assert record == {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-11-23T16:56:00.456Z",
        "eventName": "ObjectCreated:Put",
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": "modelkeep", "arn": "arn:aws:s3:::modelkeep"},
            "object": {
                "key": "modelkeep/uploads/u/x+y%2B%C3%A9",
                "size": 50,
                "eTag": "f02699bd2dc47b1764fa902c19feb767",
                "sequencer": record["s3"]["object"]["sequencer"],
            },
        },
    }


def test_a_finished_multipart_upload_says_so_and_has_its_own_kind_of_etag(changes):
    record = next(r for change in changes if (r := record_of(change)) and r["s3"]["object"]["key"].endswith("multi"))
    assert record["eventName"] == "ObjectCreated:CompleteMultipartUpload"
    assert record["s3"]["object"]["eTag"] == "3f9502713c3f1989d8872463872a7e26-2"


def test_sequencers_ascend_as_strings(changes):
    sequencers = [r["s3"]["object"]["sequencer"] for change in changes if (r := record_of(change))]
    assert sequencers == sorted(sequencers)
    assert len({len(sequencer) for sequencer in sequencers}) == 1


def test_objects_outside_the_prefix_give_no_event(changes):
    assert [event_of(change, prefix="modelkeep/uploads/other/") for change in changes] == [None] * len(changes)


def test_a_change_cut_off_by_the_end_of_a_tail_is_dropped_and_the_next_is_read(changes):
    text = CAPTURED.read_text()
    lines = text[:700].splitlines(keepends=True) + text.splitlines(keepends=True)
    assert list(parse_changes(lines)) == changes


def test_objects_that_arrive_together_are_told_together_but_not_those_of_two_uploads(tmp_path):
    told: list[Event] = []
    stack = SimpleNamespace(ports=Ports.free(), data=SimpleNamespace(path=tmp_path))
    source = EventSource(stack, told.append)
    keys = [f"modelkeep/uploads/u/{upload}/{number}" for number in range(150) for upload in ("one", "two")]
    for key in keys:
        source._waiting.put({"Records": [{"s3": {"object": {"key": key}}}]})
    source._waiting.put(None)
    source._hand_out()
    found = [[record["s3"]["object"]["key"] for record in event["Records"]] for event in told]
    assert [len(each) for each in found] == [100, 50, 100, 50]
    assert all(len({key.rpartition("/")[0] for key in each}) == 1 for each in found)
    assert sorted(key for each in found for key in each) == sorted(keys)
