"""S3's events, made from SeaweedFS's change log: it has no bucket notifications, so its filer is followed."""

from __future__ import annotations

import base64
import json
import os
import queue
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.children import Child
from local.data_folder import write_private
from local.ports import LOOPBACK
from local.seaweedfs import weed
from local.servers import BUCKET, INBOX, REGION, Stack

_REPLAY_SECONDS = 60  # events before the saved position that are sent again: twice is fine, never is not
_SAVE_SECONDS = 1
_RESTART_DELAY_SECONDS = 0.5
_GATHER_SECONDS = 0.05  # of many files that arrive together, one event tells
_RECORDS_AN_EVENT = 100

Change = dict[str, Any]  # one change as `weed filer.meta.tail` prints it
Event = dict[str, Any]  # one S3 event as Lambda gets it


class EventSource:
    """Follows the inbox and hands created objects to `deliver` as the events that S3 would send: at once where one
    arrives, those of one folder, which is an upload's, together where many do."""

    def __init__(self, stack: Stack, deliver: Callable[[Event], None], *, prefix: str = INBOX) -> None:
        self._deliver = deliver
        self._prefix = prefix
        self._filer = f"{LOOPBACK}:{stack.ports.filer}.{stack.ports.filer_grpc}"
        self._folder = stack.data.path
        self._position_file = self._folder / "events-position.json"
        self._position = _read_position(self._position_file)
        self._saved_at = 0.0
        self._saved_position = self._position
        self._stopping = threading.Event()
        self._child: Child | None = None
        self._waiting: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=work, name=f"events-{work.__name__.strip('_')}", daemon=True)
            for work in (self._follow, self._hand_out)
        ]

    def start(self) -> None:
        """Follow in a thread, from a minute before where the last run ended."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop following and keep the position."""
        self._stopping.set()
        if self._child is not None:
            self._child.kill()
        self._waiting.put(None)
        for thread in self._threads:
            thread.join(2)
        self._save(at_once=True)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            process = self._start_tail()
            assert process.stdout is not None
            for change in parse_changes(line.decode() for line in process.stdout):
                event = event_of(change, prefix=self._prefix)
                if event is not None:
                    self._waiting.put(event)
                self._position = max(self._position, int(change["tsNs"]))
                self._save()
            process.wait()
            self._stopping.wait(_RESTART_DELAY_SECONDS)  # it ends when SeaweedFS does

    def _hand_out(self) -> None:
        while (event := self._waiting.get()) is not None:
            by_folder: dict[str, list[Any]] = {}
            for each in [event, *self._gathered()]:
                for record in each["Records"]:
                    by_folder.setdefault(record["s3"]["object"]["key"].rpartition("/")[0], []).append(record)
            for records in by_folder.values():
                for start in range(0, len(records), _RECORDS_AN_EVENT):
                    self._deliver({"Records": records[start : start + _RECORDS_AN_EVENT]})
            self._stopping.wait(_GATHER_SECONDS)

    def _gathered(self) -> Iterator[Event]:
        """What waits now."""
        while not self._waiting.empty():
            event = self._waiting.get()
            if event is None:
                self._waiting.put(None)
                return
            yield event

    def _start_tail(self) -> subprocess.Popen[bytes]:
        behind = max(0.0, time.time() - self._position / 1e9) if self._position else 0.0
        command = [
            weed(),
            "filer.meta.tail",
            f"-filer={self._filer}",
            f"-pathPrefix=/buckets/{BUCKET}/{self._prefix}",
            f"-timeAgo={int(behind) + _REPLAY_SECONDS}s",
        ]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._folder)}
        child = Child("events", command, folder=self._folder, environment=environment)
        self._child = child
        process = child.start(stdout=subprocess.PIPE)
        if self._stopping.is_set():  # close() may have come between
            child.kill()
        return process

    def _save(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if self._position != self._saved_position and (at_once or now - self._saved_at > _SAVE_SECONDS):
            write_private(self._position_file, json.dumps({"tsNs": self._position}))
            self._saved_at, self._saved_position = now, self._position


def parse_changes(lines: Iterable[str]) -> Iterator[Change]:
    """Cut the tail's output into changes: indented JSON, each ending with a brace in the first column."""
    buffer: list[str] = []
    for line in lines:
        if line.startswith("{"):
            buffer = []  # whatever was half printed when a tail ended
        buffer.append(line)
        if line.startswith("}"):
            try:
                yield json.loads("".join(buffer))
            except json.JSONDecodeError:
                print("An unreadable line in SeaweedFS's change log was skipped.", flush=True)
            buffer = []


def event_of(change: Change, *, prefix: str = INBOX) -> Event | None:
    """The S3 event for a change, or None if it made no object: directories, deletions, tags, ACLs, other prefixes."""
    notification = change["eventNotification"]
    old, new = notification["oldEntry"], notification["newEntry"]
    if not new or new["isDirectory"]:
        return None
    folder = notification["newParentPath"] or change["directory"]
    root = f"/buckets/{BUCKET}/"
    key = f"{folder}/{new['name']}".removeprefix(root)
    if not folder.startswith(root) or not key.startswith(prefix):
        return None
    if old and not old["isDirectory"] and _content(old) == _content(new):
        return None
    created = _extended(new, "X-Seaweedfs-Upload-Id")
    nanoseconds = int(change["tsNs"])
    size = int(new["attributes"]["fileSize"])
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": REGION,
                "eventTime": f"{datetime.fromtimestamp(nanoseconds // 10**6 / 1000, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3]
                + "Z",
                "eventName": "ObjectCreated:CompleteMultipartUpload" if created else "ObjectCreated:Put",
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "bucket": {"name": BUCKET, "arn": f"arn:aws:s3:::{BUCKET}"},
                    "object": {
                        "key": urllib.parse.quote_plus(key, safe="/"),
                        "size": size,
                        "eTag": _etag(new),
                        "sequencer": f"{nanoseconds:018X}",
                    },
                },
            }
        ]
    }


def _content(entry: dict[str, Any]) -> tuple[Any, ...]:
    """What a write changes and a tag or an ACL does not; two empty objects differ by their time alone."""
    chunks = [(chunk["fid"] or chunk["fileId"], chunk["offset"], chunk["size"]) for chunk in entry["chunks"]]
    return entry["attributes"]["mtime"], entry["attributes"]["fileSize"], entry["content"], chunks


def _etag(entry: dict[str, Any]) -> str:
    stored = _extended(entry, "Seaweed-X-Amz-ETag").strip('"')
    return stored or base64.b64decode(entry["attributes"]["md5"]).hex()


def _extended(entry: dict[str, Any], name: str) -> str:
    return base64.b64decode(entry["extended"].get(name, "")).decode()


def _read_position(path: Path) -> int:
    try:
        return int(json.loads(path.read_text())["tsNs"])
    except FileNotFoundError:
        return 0
