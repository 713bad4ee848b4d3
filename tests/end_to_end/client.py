"""What a client does in a direct upload, by `requests` alone: start, send, look, go on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import requests

from tests.end_to_end.targets import read_target

PART = 16 * 1024 * 1024
SECONDS = 60  # of a request: what hangs longer is a failure
# How much longer than `make run` a target may take: where each function starts cold, and one by one.
_TARGET = read_target()
PATIENCE = 1.0 if _TARGET is None else _TARGET.patience
_T = TypeVar("_T")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def eventually(look: Callable[[], _T], wanted: Callable[[_T], bool], *, seconds: float = 60) -> _T:
    """Look again and again until it is as wanted; the last look, whatever it is, after `seconds` (of `make run`)."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        seen = look()
        if wanted(seen) or time.monotonic() > end:
            return seen
        time.sleep(0.05)


class Client:
    """The registry at a URL, for one user."""

    def __init__(self, url: str, user_id: str) -> None:
        self.url = url
        self.user_id = user_id
        self.models = f"{url}/ai-models/{user_id}"

    def start(self, model_id: str = "model", *, headers: dict[str, str] | None = None, **body: Any) -> Any:
        """Start a direct upload that has to succeed."""
        answer = self.try_start(model_id, headers=headers, **body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def try_start(self, model_id: str = "model", *, headers: dict[str, str] | None = None, **body: Any) -> Any:
        body = {"user_id": self.user_id, "model_id": model_id, "version": "v1", **body}
        return requests.post(f"{self.url}/ai-models/upload/direct", json=body, headers=headers, timeout=SECONDS)

    def upload(self, upload_id: str, *, urls: bool = False) -> Any:
        """The upload as it is now."""
        query = {"urls": "true"} if urls else None
        answer = requests.get(f"{self.url}/ai-models/upload/{upload_id}", params=query, timeout=SECONDS)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def parts(self, upload_id: str, path: str | None, digests: dict[int, str]) -> Any:
        """URLs of parts that carry their digests."""
        body = {"parts": [{"number": number, "sha256": digest} for number, digest in digests.items()]}
        if path is not None:
            body["path"] = path  # type: ignore[assignment]
        answer = requests.post(f"{self.url}/ai-models/upload/{upload_id}/parts", json=body, timeout=SECONDS)
        assert answer.status_code == 200, answer.text
        return answer.json()["parts"]

    def complete(self, upload_id: str, *, seconds: float = SECONDS) -> requests.Response:
        return requests.post(f"{self.url}/ai-models/upload/{upload_id}/complete", timeout=seconds)

    def abort(self, upload_id: str) -> requests.Response:
        return requests.delete(f"{self.url}/ai-models/upload/{upload_id}", timeout=SECONDS)

    def wait(self, upload_id: str, status: str = "ready", *, seconds: float = 60) -> Any:
        """The upload once it has this status; a failure if it has not in time."""
        seen = eventually(lambda: self.upload(upload_id), lambda upload: upload["status"] == status, seconds=seconds)
        assert seen["status"] == status, seen
        return seen

    def get(self, model_id: str = "model", route: str = "", **query: Any) -> requests.Response:
        return requests.get(f"{self.models}/{model_id}{route}", params=query, timeout=SECONDS)

    def metadata(self, model_id: str = "model", **query: Any) -> Any:
        answer = self.get(model_id, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def content(self, filename: str | None, model_id: str = "model", **query: Any) -> bytes:
        """The bytes of a file, or of the whole version's ZIP."""
        answer = self.get(model_id, "/download", **({"filename": filename} if filename else {}), **query)
        assert answer.status_code == 200, answer.text
        return answer.content

    def single(self, name: str, data: Any, model_id: str = "model", **fields: Any) -> requests.Response:
        """Upload one file by form."""
        body = {"user_id": self.user_id, "model_id": model_id, "name": "A model", **fields}
        return requests.post(
            f"{self.url}/ai-models/upload/single", data=body, files={"file": (name, data)}, timeout=SECONDS
        )

    def folder(self, data: Any, model_id: str = "model", **fields: Any) -> requests.Response:
        """Upload a ZIP by form."""
        body = {"user_id": self.user_id, "model_id": model_id, "name": "A model", **fields}
        return requests.post(
            f"{self.url}/ai-models/upload/folder",
            data=body,
            files={"zip_file": ("folder.zip", data, "application/zip")},
            timeout=SECONDS,
        )

    def assert_invisible(self, model_id: str = "model") -> None:
        """No route knows of the model."""
        for route in ("", "/files", "/download"):
            assert self.get(model_id, route).status_code == 404
            assert self.get(model_id, route, version="v1").status_code == 404
        assert model_id not in [each["model_id"] for each in requests.get(self.models, timeout=SECONDS).json()]


def send(put: dict[str, Any], data: bytes) -> requests.Response:
    """One PUT, with the headers that were said and no others of ours."""
    return requests.put(put["url"], data=data, headers=put["headers"], timeout=SECONDS)


def send_all(entry: dict[str, Any], data: bytes) -> None:
    """All that the registry asks for of one file, or of the archive."""
    if "put" in entry:
        answer = send(entry["put"], data)
        assert answer.status_code == 200, answer.text
    if "multipart" in entry:
        size = entry["multipart"]["part_size"]
        for part in entry["multipart"]["parts"]:
            answer = send(part, data[(part["number"] - 1) * size : part["number"] * size])
            assert answer.status_code == 200, answer.text


def send_file(entry: dict[str, Any], path: Path, *, numbers: Iterable[int] | None = None) -> None:
    """The parts of a file on disk, one in memory at a time."""
    size = entry["multipart"]["part_size"]
    with path.open("rb") as file:
        for part in entry["multipart"]["parts"]:
            if numbers is None or part["number"] in numbers:
                file.seek((part["number"] - 1) * size)
                answer = send(part, file.read(size))
                assert answer.status_code == 200, answer.text


def pattern(size: int, *, seed: int = 0) -> Iterator[bytes]:
    """Bytes that no compression shrinks and no offset repeats, made quickly: a block, and its number written in."""
    import random

    block = bytearray(random.Random(seed).randbytes(1024 * 1024))
    for number in range(-(-size // len(block))):
        block[:8] = number.to_bytes(8, "big")
        yield bytes(block[: size - number * len(block)])


def write_pattern(path: Path, size: int, *, seed: int = 0) -> Path:
    with path.open("wb") as file:
        for chunk in pattern(size, seed=seed):
            file.write(chunk)
    return path
