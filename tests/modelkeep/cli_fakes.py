"""A client that answers from memory, the command over it, and a terminal to run that in."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import modelkeep.client
import pytest
from click.testing import CliRunner, Result
from modelkeep.cli.program import app
from modelkeep.config import Config, check_url
from modelkeep.names import parse_ref
from modelkeep.progress import Progress
from modelkeep.results import Change, Deleted, Difference, File, Pulled, Upload, Verification, Version

PROJECT = Path(__file__).parents[2]
FILE = {
    "filename": "weights/model.pt",
    "file_path": "models/alice/bert/v1/weights/model.pt",
    "file_size": 1_500_000,
    "file_type": "model",
    "file_hash": "ab" * 32,
    "content_type": "application/octet-stream",
    "is_primary": True,
    "description": None,
}


def version_of(version: str = "v1", /, **said: Any) -> Version:
    """A version as the registry says it."""
    raw: dict[str, Any] = {
        "model_id": "bert",
        "user_id": "alice",
        "name": "BERT",
        "description": "Reads.\nWell.",
        "version": version,
        "framework": "pytorch",
        "model_type": "nlp",
        "algorithm": None,
        "files": [FILE],
        "primary_file_path": FILE["file_path"],
        "input_shape": None,
        "output_shape": None,
        "num_parameters": None,
        "model_size_mb": 1.43,
        "training_dataset": None,
        "training_accuracy": 0.9,
        "validation_accuracy": None,
        "test_accuracy": None,
        "training_loss": None,
        "python_version": None,
        "dependencies": [],
        "hardware_requirements": None,
        "tags": ["a"],
        "custom_metadata": {"lr": 0.1},
        "created_at": "2026-11-26T10:00:00.000000Z",
        "updated_at": "2026-11-26T10:00:00.000000Z",
        "is_active": True,
        "is_production_ready": False,
        "status": "ready",
        "file_count": 1,
        "total_size": 1_500_000,
        **said,
    }
    return Version.from_json(raw, etag='"e1"')


def upload_of(**said: Any) -> Upload:
    """An open upload, with a URL that nobody may see."""
    put = {"url": "http://store/x?X-Amz-Signature=secret", "headers": {}}
    raw: dict[str, Any] = {
        "upload_id": "01UPLOAD",
        "user_id": "alice",
        "model_id": "bert",
        "version": "v1",
        "status": "uploading",
        "created_at": "2026-11-26T10:00:00Z",
        "expires_at": "2026-12-03T10:00:00Z",
        "code": None,
        "detail": None,
        "file_count": 1,
        "bytes_total": 3_000_000,
        "bytes_stored": 1_000_000,
        "files": [{"path": "a", "size": 3, "status": "pending", "put": put}],
        **said,
    }
    return Upload.from_json(raw)


class FakeClient:
    """Answers, or raises `error`; `calls` are what it was asked."""

    error: ClassVar[BaseException | None] = None
    calls: ClassVar[list[tuple[Any, ...]]] = []
    found: ClassVar[list[Version]] = [version_of("v2"), version_of("v1")]

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.config = Config()
        self.url = check_url(url) if url else self.config.url()

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def _asked(self, *call: Any) -> None:
        FakeClient.calls.append(call)
        if FakeClient.error is not None:
            raise FakeClient.error

    def get(self, ref: Any) -> Version:
        self._asked("get", str(parse_ref(ref)))
        return self.found[0]

    def models(self, user_id: str, **filters: Any) -> Iterator[Version]:
        self._asked("models", user_id, {name: value for name, value in filters.items() if value})
        yield from self.found

    def search(self, user_id: str, query: str, **filters: Any) -> Iterator[Version]:
        self._asked("search", user_id, query)
        yield from self.found

    def files(self, ref: Any, *, urls: bool = False) -> Iterator[File]:
        self._asked("files", str(ref))
        yield from self.found[0].files

    def versions(self, ref: Any) -> Iterator[Version]:
        self._asked("versions", str(ref))
        yield from self.found

    def update(self, ref: Any, *, if_match: str | None = None, **fields: Any) -> Version:
        self._asked("update", str(ref), if_match, fields)
        return self.found[0]

    def delete(self, ref: Any, *, all_versions: bool = False, purge: bool = False) -> Deleted:
        self._asked("delete", str(ref), all_versions, purge)
        return Deleted("alice", "bert", ["v1"], "deleted")

    def uploads(self, user_id: str) -> list[Upload]:
        self._asked("uploads", user_id)
        return [upload_of()]

    def upload(self, upload_id: str) -> Upload:
        self._asked("upload", upload_id)
        return upload_of()

    def abort(self, upload_id: str) -> Upload:
        self._asked("abort", upload_id)
        return upload_of(status="aborted")

    def push(self, path: Any, ref: Any, *, on_progress: Any, on_upload: Any, **options: Any) -> Version:
        FakeClient.calls.append(("push", str(path), str(ref), options))
        if os.environ.get("FAKE_UP_TO_DATE"):
            return self.found[0]
        on_progress(Progress("hash", 3_000_000, 3_000_000))
        on_upload(upload_of())
        on_progress(Progress("send", 1_000_000, 3_000_000, 1_000_000))
        if FakeClient.error is not None:
            raise FakeClient.error
        if os.environ.get("FAKE_WAITS"):
            time.sleep(60)
        for done in range(1_100_000, 3_000_000, 100_000):
            time.sleep(0.01)  # a rate takes time
            on_progress(Progress("send", done, 3_000_000, 1_000_000))
        on_progress(Progress("send", 3_000_000, 3_000_000, 1_000_000))
        return self.found[0]

    def resume(self, upload_id: str, path: Any, *, on_progress: Any, **options: Any) -> Version:
        self._asked("resume", upload_id, str(path), options)
        return self.found[0]

    def pull(self, ref: Any, directory: Any, *, files: Any, cache: bool, force: bool, on_progress: Any) -> Pulled:
        self._asked("pull", str(ref), directory, files, cache, force)
        on_progress(Progress("fetch", 1_500_000, 1_500_000, 500_000))
        return Pulled(self.found[0], Path("bert"), ["weights/model.pt"], 1_500_000, 1_000_000, 500_000)

    def pull_zip(self, ref: Any, path: Any, *, on_progress: Any) -> Path:
        self._asked("pull_zip", str(ref), path)
        return Path("bert-v1.zip")

    def verify(self, directory: Any, ref: Any, *, on_progress: Any) -> Verification:
        self._asked("verify", str(directory), ref)
        damaged = ["b.bin"] if os.environ.get("FAKE_DAMAGED") else []
        return Verification(self.found[0], Path(directory), ["a.bin"], damaged, [], ["mine.txt"])

    def diff(self, a: Any, b: Any) -> Difference:
        self._asked("diff", str(a), str(b))
        if a == b:
            return Difference(self.found[0], self.found[0], [], [], [], 1, {})
        old = File.from_json(FILE)
        new = replace(old, sha256="cd" * 32)
        gone, more = replace(old, path="old.txt"), replace(old, path="new.txt")
        changes = [Change(old.path, old, new)]
        return Difference(
            self.found[1], self.found[0], [gone], [more], changes, 4, {"name": ("Old", self.found[0].name)}
        )


@contextmanager
def faked(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """Commands are over the fake, in a folder of their own with an empty folder `model`."""
    monkeypatch.setattr(modelkeep.client, "Client", FakeClient)
    monkeypatch.setenv("MODELKEEP_HOME", str(folder / "home"))
    for name in ("MODELKEEP_URL", "MODELKEEP_TOKEN", "MODELKEEP_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    (folder / "model").mkdir()
    FakeClient.calls.clear()
    try:
        yield
    finally:
        FakeClient.error = None


def run(*arguments: str, stdin: str | None = None) -> Result:
    """`modelkeep ARGUMENTS` in this process, over the fake."""
    return CliRunner().invoke(app, list(arguments), input=stdin)


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a process of its own gets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELKEEP_", "FAKE_"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "client/src")]),
        "MODELKEEP_HOME": str(home),
        "TERM": "xterm-256color",
        "COLUMNS": "120",
        **more,
    }


def command(*arguments: str) -> list[str]:
    """`modelkeep ARGUMENTS` over the fake, in a process of its own."""
    code = "import sys; from tests.modelkeep import cli_fakes; cli_fakes.main()"
    return [sys.executable, "-c", code, *arguments]


def main() -> None:
    """The command over the fake."""
    from modelkeep.__main__ import main as command

    modelkeep.client.Client = FakeClient  # type: ignore[misc,assignment]
    FakeClient.found = [version_of("v2", name=os.environ.get("FAKE_NAME", "BERT")), version_of("v1")]
    command()
