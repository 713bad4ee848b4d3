"""kill -9 of the whole server, at the worst moments: nothing that was acknowledged is lost, and no client need help."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from tests.end_to_end import making
from tests.end_to_end.client import PART, Client, eventually, pattern, send, send_all, sha256
from tests.end_to_end.conftest import keys_below, s3_client
from tests.end_to_end.running import Server, running

pytestmark = pytest.mark.needs("process")
RECOVERY_SECONDS = 300  # a dead worker's lease has to run out first; what takes this long never comes
MEMBERS = 800
LARGE = 2 * PART + PART // 2


@dataclass
class Scene:
    """A server that was killed twice, what was under way, and what came of it."""

    server: Server
    uploads: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    recovery: dict[str, float] = field(default_factory=dict)
    form_stored: bool = False

    def client(self, user_id: str = "killed") -> Client:
        return Client(self.server.url, user_id)


FILES = {"model.onnx": b"model" * 100_000, "config.json": b"{}", "notes/readme.md": b"# read me"}
MANY_MEMBERS = {f"part-{number % 5}/{number}.bin": f"{number} ".encode() * 3000 for number in range(MEMBERS)}
MEMBERS_OF_ZIP = {path: data for path, data in MANY_MEMBERS.items() if path.startswith("part-1/")}


@pytest.fixture(scope="module")
def large() -> bytes:
    return b"".join(pattern(LARGE))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, large: bytes) -> Iterator[Scene]:
    with running(tmp_path_factory.mktemp("killed")) as server:
        scene = Scene(server)
        client = scene.client()
        assert client.single("old.pkl", making.pickled(), "published", tags="x,y").status_code == 200
        assert client.folder(making.zipped(making.folder()), "published-folder").status_code == 200
        scene.before = {name: client.metadata(name) for name in ("published", "published-folder")}

        files = [{"path": path, "size": len(data), "sha256": sha256(data)} for path, data in FILES.items()]
        archive = making.zipped(MEMBERS_OF_ZIP)
        many = making.zipped(MANY_MEMBERS)
        scene.uploads = {
            "files": client.start("files", files=files),
            "archive": client.start("archive", archive={"size": len(archive), "sha256": sha256(archive)}),
            "parts": client.start("parts", files=[{"path": "large.bin", "size": LARGE, "sha256": sha256(large)}]),
            "unpacking": client.start("unpacking", archive={"size": len(many)}),
        }
        part = scene.uploads["parts"]["files"][0]["multipart"]["parts"][0]
        assert send(part, large[:PART]).status_code == 200
        # One that is being worked on: its worker dies while it holds the lease.
        send_all(scene.uploads["unpacking"]["archive"], many)
        look = functools.partial(client.upload, scene.uploads["unpacking"]["upload_id"])
        eventually(look, lambda upload: upload["status"] != "uploading")
        for entry in scene.uploads["files"]["files"]:
            send_all(entry, FILES[entry["path"]])
        # And two of which the store has just said 200: nobody can have looked at them yet, or hardly. Which of them the
        # server had come to when it died depends on the machine, and what has to come of them does not; a death at
        # each write in turn is tests/integration/test_death.py.
        send_all(scene.uploads["archive"]["archive"], archive)
        server.kill()
        server.start()

        # And a form whose bytes are on their way to the store: its version is reserved.
        store, _ = s3_client(server)
        prefix = f"models/{client.user_id}/form/"
        with ThreadPoolExecutor(1) as pool:
            form = pool.submit(client.single, "model.bin", large * 3, "form")
            parts = functools.partial(store.list_multipart_uploads, Bucket="modelkeep", Prefix=prefix)
            eventually(parts, lambda answer: "Uploads" in answer or form.done())
            server.kill()
            with contextlib.suppress(requests.RequestException):  # it may have been done just before
                scene.form_stored = form.result().status_code == 200
        server.start()
        started = time.monotonic()
        scene.form_stored = scene.form_stored or _retry_form(client, large)
        for name in ("files", "archive", "unpacking"):
            _note_recovery(scene, name, started)
        print(f"\nkill -9: starts {server.starts}, recovery {scene.recovery}")
        yield scene


def _note_recovery(scene: Scene, name: str, started: float) -> None:
    upload_id = scene.uploads[name]["upload_id"]
    left = RECOVERY_SECONDS - (time.monotonic() - started)
    last = eventually(
        lambda: scene.client().upload(upload_id), lambda upload: upload["status"] == "ready", seconds=max(1, left)
    )
    scene.recovery[name] = time.monotonic() - started if last["status"] == "ready" else float("inf")


def _retry_form(client: Client, data: bytes) -> bool:
    answer = eventually(
        lambda: client.single("model.bin", data, "form"),
        lambda answer: answer.status_code == 200,
        seconds=RECOVERY_SECONDS,
    )
    return answer.status_code == 200


@pytest.mark.parametrize("name", ["files", "archive", "unpacking"])
def test_what_had_arrived_becomes_ready_without_the_client(scene: Scene, name: str) -> None:
    assert scene.recovery[name] <= RECOVERY_SECONDS, scene.client().upload(scene.uploads[name]["upload_id"])


@pytest.mark.parametrize(
    ("name", "contents"), [("files", FILES), ("archive", MEMBERS_OF_ZIP), ("unpacking", MANY_MEMBERS)]
)
def test_every_byte_is_there_after_the_kill(scene: Scene, name: str, contents: dict[str, bytes]) -> None:
    client = scene.client()
    client.wait(scene.uploads[name]["upload_id"], seconds=RECOVERY_SECONDS)
    files = client.get(name, "/files").json()
    assert {file["filename"]: file["file_hash"] for file in files} == {
        path: sha256(data) for path, data in contents.items()
    }
    with making.opened(client.content(None, name)) as archive:
        assert {member: archive.read(member) for member in archive.namelist()} == contents


def test_a_client_in_the_middle_of_its_parts_goes_on_after_the_kill(scene: Scene, large: bytes) -> None:
    client = scene.client()
    entry = client.upload(scene.uploads["parts"]["upload_id"], urls=True)["files"][0]
    assert entry["multipart"]["stored_parts"] == [1]
    assert [part["number"] for part in entry["multipart"]["parts"]] == [2, 3]
    send_all(entry, large)
    complete = functools.partial(client.complete, scene.uploads["parts"]["upload_id"])
    # As every client does: a database that keeps it waiting for 24 s makes it a 500, and it can be sent again.
    answer = eventually(complete, lambda answer: answer.status_code < 500, seconds=RECOVERY_SECONDS)
    assert answer.status_code in (200, 202), answer.text
    client.wait(scene.uploads["parts"]["upload_id"])
    assert client.content("large.bin", "parts") == large


def test_what_was_published_is_unchanged_after_the_kill(scene: Scene) -> None:
    client = scene.client()
    for name, metadata in scene.before.items():
        assert client.metadata(name) == metadata
    assert client.content("old.pkl", "published") == making.pickled()
    found = requests.get(
        f"{client.url}/ai-models/search/killed", params={"query": "published", "tags": "X"}, timeout=60
    )
    assert found.json() == [scene.before["published"]]


def test_a_form_that_the_kill_cut_off_can_be_sent_again(scene: Scene, large: bytes) -> None:
    assert scene.form_stored
    client = scene.client()
    assert client.content("model.bin", "form") == large
    # Of the first attempt nothing is left.
    look = functools.partial(keys_below, scene.server, f"models/{client.user_id}/form/")
    (file,) = client.metadata("form")["files"]
    assert eventually(look, lambda found: len(found) == 1, seconds=RECOVERY_SECONDS) == [file["file_path"]]


def test_a_killed_server_starts_again_without_help(scene: Scene) -> None:
    assert len(scene.server.starts) == 3
