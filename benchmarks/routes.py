"""What a typical request of every function asks of DynamoDB and S3: `PYTHONPATH=.:layers/registry python -m
benchmarks.routes --write docs/costs.md`; a test (tests/integration/test_costs.py) holds the document against it.

The functions run here, over the embedded SeaweedFS and DynamoDB Local, one request each; every call is counted by AWS's
own client (benchmarks/metering.py).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import io
import json
import os
import secrets
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from registry.settings import get_settings

from benchmarks.metering import Bill, Meter, event_of, put
from benchmarks.results import show
from local.ports import Ports
from local.servers import Stack, apply_environment
from tests.conftest import forget_everything

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- routes: written by benchmarks/routes.py -->", "<!-- routes: end -->"
MIB = 1024 * 1024
PAGE = 10
WORDS = {"name": "Iris forest", "description": "Sorts flowers by their leaves", "tags": "prod,botany"}
JSON_WORDS = {**WORDS, "tags": WORDS["tags"].split(",")}


@dataclass(frozen=True)
class Counted:
    """One request, and what it used."""

    function: str
    request: str
    bill: Bill

    def row(self) -> str:
        """A line of the table."""
        cells = (_calls(self.bill.table), show(self.bill.reads), show(self.bill.writes), _calls(self.bill.s3))
        return f"| `{self.function}` | {self.request} | {' | '.join(cells)} |"


def _calls(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"


def new_user() -> str:
    """Whom nobody else is, and whose name is as long as any other such one: rows are weighed."""
    return f"user-{secrets.token_hex(6)}"


class Requests:
    """One user's requests, each counted."""

    def __init__(self, meter: Meter, user_id: str) -> None:
        self._meter, self.user_id = meter, user_id
        self.user = {"user_id": user_id}

    def model(self, model_id: str) -> dict[str, str]:
        """Its place in a path."""
        return {"user_id": self.user_id, "model_id": model_id}

    def call(self, function: str, request: str, status: int = 200, **arguments: Any) -> tuple[Any, Counted]:
        """What it answered, and what it used."""
        body, bill = self._meter.call(function, status, **arguments)
        return body, Counted(function, request, bill)

    def run(self, function: str, request: str, event: dict[str, Any]) -> Counted:
        """A function that is no route."""
        handler: Callable[..., Any] = importlib.import_module(f"functions.{function}.app").lambda_handler
        bill = self._meter.invoke(function, lambda: handler(event, None), seconds=0, api=False)[1]
        return Counted(function, request, bill)

    def form(self, slot: str, filename: str, data: bytes, model_id: str, version: str) -> dict[str, Any]:
        """A request with a form."""
        fields = {**self.model(model_id), "version": version, **WORDS}
        parts = [
            f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{each}\r\n' for key, each in fields.items()
        ]
        head = f'--b\r\nContent-Disposition: form-data; name="{slot}"; filename="{filename}"\r\n\r\n'
        body = "".join(parts).encode() + head.encode() + data + b"\r\n--b--\r\n"
        return {"headers": {"content-type": "multipart/form-data; boundary=b"}, "body": body}

    def files(self, model_id: str, sizes: dict[str, int], version: str = "v1") -> dict[str, Any]:
        """A request for a direct upload."""
        files = [{"path": path, "size": size} for path, size in sizes.items()]
        return {"json_body": {**self.model(model_id), "version": version, **JSON_WORDS, "files": files}}


def count(meter: Meter, user_id: str) -> Iterator[Counted]:
    """Every function once at least, in an order in which each finds what it needs."""
    asked = Requests(meter, user_id)
    yield from _forms_and_reading(asked)
    yield from _direct(asked)
    yield from _changing(asked)
    yield from _grants(asked)
    yield asked.run("sweep_uploads", "nothing to do", {})
    yield asked.run("verify_files", "a day's run over a dozen versions", {"gibibytes": 1})
    yield _answer(asked, "answer_options", "a browser's preflight")
    yield _answer(asked, "authenticate_request", "a token of the issuer's")
    yield from _tokens(asked)


def _forms_and_reading(asked: Requests) -> Iterator[Counted]:
    small = asked.form("file", "model.onnx", b"weights", "iris", "v1")
    yield asked.call("upload_single", "one small file", **small)[1]
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for name in ("model.onnx", "config.json", "README.md"):
            archive.writestr(name, name)
    folder = asked.form("zip_file", "a.zip", zipped.getvalue(), "folder", "v1")
    yield asked.call("upload_folder", "a ZIP of three small files", **folder)[1]
    for number in range(2, PAGE + 2):
        asked.call("upload_single", "", **asked.form("file", "model.onnx", b"weights", "iris", f"v{number}"))
    iris, page = asked.model("iris"), {"limit": str(PAGE)}
    yield asked.call("get_model", "a named version", path=iris, query={"version": "v1"})[1]
    yield asked.call("get_model", "the newest version", path=iris)[1]
    yield asked.call("list_models", f"a page of {PAGE}", path=asked.user, query=page)[1]
    filters = {**page, "framework": "onnx", "tags": "prod"}
    yield asked.call("list_models", f"a page of {PAGE}, by framework and tag", path=asked.user, query=filters)[1]
    yield asked.call("list_versions", f"a page of {PAGE}", path=iris, query=page)[1]
    words = {**page, "query": "iris flowers"}
    found, searched = asked.call("search_models", f"a page of {PAGE}, by two words", path=asked.user, query=words)
    assert len(found) == PAGE
    yield searched
    yield asked.call("list_files", "files that the version's row holds", path=iris, query={"version": "v1"})[1]
    one = {"version": "v1", "filename": "model.onnx", "redirect": "true"}
    yield asked.call("download_model", "307 to one file", 307, path=iris, query=one)[1]
    whole = {"version": "v1"}
    yield asked.call("download_model", "a version of one small file, as ZIP", path=iris, query=whole)[1]


def _direct(asked: Requests) -> Iterator[Counted]:
    """A direct upload from start to end, and one that is aborted."""
    data = secrets.token_bytes(MIB)
    sizes = {"model.onnx": len(data), "config.json": 2}
    upload, started = asked.call("start_upload", "two files", 201, **asked.files("direct", sizes))
    yield started
    path = {"upload_id": upload["upload_id"]}
    more = {"files": [{"path": "README.md", "size": 3}]}
    _, added = asked.call("add_files", "one file more", path=path, json_body=more)
    yield added
    shown, got = asked.call("get_upload", "with URLs", path=path, query={"urls": "true"})
    yield got
    yield asked.call("list_uploads", "one that is open", query=asked.user)[1]
    contents = {"model.onnx": data, "config.json": b"{}", "README.md": b"abc"}
    entries = {entry["path"]: entry for entry in shown["files"]}
    for path_in, number in (("model.onnx", 0), ("config.json", 1), ("README.md", 2)):
        put(entries[path_in], contents[path_in])
        which = "the last of three files, which publishes" if number == 2 else "one of three files"
        received = asked.run("receive_upload", which, event_of(upload, number))
        if number:
            yield received
    upload, _ = asked.call("start_upload", "", 201, **asked.files("completed", sizes))
    path = {"upload_id": upload["upload_id"]}
    for entry in upload["files"]:
        put(entry, contents[entry["path"]])
    done, completed = asked.call("complete_upload", "two files that no event has told of", path=path)
    assert done["status"] == "ready", done
    yield completed
    ready = {**asked.model("completed"), "version": "v1"}
    yield asked.run("build_archive", "a version of two files", ready)
    upload, _ = asked.call("start_upload", "", 201, **asked.files("aborted", {"model.onnx": 100 * MIB}))
    path = {"upload_id": upload["upload_id"]}
    digest = hashlib.sha256(b"").hexdigest()
    part = {"path": "model.onnx", "parts": [{"number": 1, "sha256": digest}]}
    yield asked.call("sign_parts", "one part", path=path, json_body=part)[1]
    yield asked.call("abort_upload", "one file, sent in parts", path=path)[1]


def _changing(asked: Requests) -> Iterator[Counted]:
    iris, version = asked.model("iris"), {"version": "v1"}
    changes = {"validation_accuracy": 0.9}
    yield asked.call("update_model", "a metric", path=iris, query=version, json_body=changes)[1]
    changes = {"tags": ["prod", "garden"]}
    yield asked.call("update_model", "a tag for another", path=iris, query=version, json_body=changes)[1]
    yield asked.call("delete_model", "a version of one file", path=iris, query=version)[1]
    purged = {"version": "v2", "purge": "true"}
    yield asked.call("delete_model", "a version of one file, for good", path=iris, query=purged)[1]


def _grants(asked: Requests) -> Iterator[Counted]:
    place = {**asked.user, "grant": "iris/bob"}
    yield asked.call("put_grant", "to read one model", path=place, json_body={"role": "read"})[1]
    yield asked.call("get_grant", "one", path=place)[1]
    yield asked.call("list_grants", "one that there is", path=asked.user)[1]
    yield asked.call("delete_grant", "the only one of its grantee", path=place)[1]


def _tokens(asked: Requests) -> Iterator[Counted]:
    """For which somebody has to be signed in."""
    with mock.patch.dict(os.environ, {"REGISTRY_AUTHENTICATION": "authorizer"}):
        get_settings.cache_clear()
        body = {"json_body": {"name": "nightly training"}}
        made, created = asked.call("create_token", "the first of its user", 201, **body)
        yield created
        headers = {"Authorization": f"Bearer {made['token']}"}
        event = {"methodArn": "arn:aws:execute-api:us-east-1:0:api/prod/GET/ai-models/alice", "headers": headers}
        yield asked.run("authenticate_request", "a token of the registry's, an hour after it was last used", event)
        yield asked.run("authenticate_request", "a token of the registry's", event)
        yield asked.call("list_tokens", "one token")[1]
        path = {"token_id": made["token_id"]}
        yield asked.call("revoke_token", "a token", path=path)[1]
    get_settings.cache_clear()


def _answer(asked: Requests, function: str, request: str) -> Counted:
    """A request that has nothing to ask, whatever it is answered."""
    event = json.loads((ROOT / f"tests/events/{function}.json").read_text())
    counted = Counted(function, request, Bill())
    with suppress(Exception):  # nobody is known here
        counted = asked.run(function, request, event)
    return counted


def table(counted: list[Counted]) -> str:
    """The document's part, in Markdown."""
    head = [
        "| function | request | DynamoDB calls | read units | write units | S3 calls |",
        "|---|---|---|--:|--:|---|",
    ]
    return "\n".join([*head, *(each.row() for each in sorted(counted, key=lambda each: each.function))])


def prepare() -> None:
    """What a process does once, which is not in the table: it probes the store, and claims the inbox."""
    from registry.storage import copying, multiparts
    from registry.uploads import inbox

    copying.digest_method()
    multiparts.lists_digests()
    inbox.claim()


def documented(document: Path) -> str:
    """What stands between its markers."""
    return document.read_text().partition(BEGIN)[2].partition(END)[0].strip()


def limits_of_lambda(environment: dict[str, str]) -> dict[str, str]:
    """Without `make run`'s own limits."""
    return {name: value for name, value in environment.items() if not name.endswith(("_LIMIT_BYTES", "_SECONDS"))}


def main() -> None:
    """Count, and print the table or write it into a document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="the document between whose markers the table goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelkeep-routes-") as folder, Stack(Path(folder), Ports.free()) as stack:
        apply_environment(limits_of_lambda(stack.environment()))
        forget_everything()
        from registry import records

        records.create_table()
        prepare()
        with Meter().installed() as meter:
            text = table(list(count(meter, new_user())))
    if arguments.write is None:
        sys.stdout.write(f"{text}\n")
        return
    document = arguments.write.read_text()
    before, _, rest = document.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{arguments.write} has not the lines {BEGIN} and {END}")
    arguments.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
