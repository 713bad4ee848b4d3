"""`make verify`, and a data folder that is copied: the backup of `make run`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end import making
from tests.end_to_end.client import PART, Client, pattern, send, send_all, sha256
from tests.end_to_end.conftest import s3_client
from tests.end_to_end.running import PROJECT, Server, environment, running

pytestmark = pytest.mark.needs("process")
DAMAGED = "damaged: keepsake/damaged v1 model.bin"


def verify(server: Server) -> tuple[int, str]:
    """As the make target does."""
    settings = {"MODELKEEP_DATA": str(server.data), "MODELKEEP_PORT": str(server.ports.api)}
    done = subprocess.run(
        [sys.executable, "-m", "local.verify"],
        cwd=PROJECT,
        env={**environment(), **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_copied_folder_is_the_whole_registry_and_is_verified(tmp_path: Path) -> None:
    large = b"".join(pattern(PART + 1))
    (tmp_path / "first").mkdir()
    with running(tmp_path / "first") as first:
        client = Client(first.url, "keepsake")
        assert client.single("old.pkl", making.pickled(), "published", tags="x,y").status_code == 200
        assert client.folder(making.zipped(making.folder()), "folder").status_code == 200
        assert client.single("model.bin", b"D" * 300, "damaged").status_code == 200
        upload = client.start("parts", files=[{"path": "large.bin", "size": len(large), "sha256": sha256(large)}])
        part = upload["files"][0]["multipart"]["parts"][0]
        assert send(part, large[:PART]).status_code == 200
        before = {name: client.metadata(name) for name in ("published", "folder", "damaged")}
        status, said = verify(first)  # beside the servers that run
        assert (status, "All is as recorded." in said) == (0, True), said
        assert "3 versions" in said

        first.kill()
        second = Server(tmp_path / "second")
        second.data.parent.mkdir()
        subprocess.run(["cp", "-a", str(first.data), str(second.data)], check=True)
        status, said = verify(second)  # by servers of its own
        assert (status, "All is as recorded." in said) == (0, True), said
        try:
            second.start()
            client = Client(second.url, "keepsake")
            assert {name: client.metadata(name) for name in before} == before
            assert client.content("old.pkl", "published") == making.pickled()
            entry = client.upload(upload["upload_id"], urls=True)["files"][0]
            assert entry["multipart"]["stored_parts"] == [1]
            send_all(entry, large)
            assert client.complete(upload["upload_id"]).json()["status"] == "ready"
            assert client.content("large.bin", "parts") == large
            store, bucket = s3_client(second)
            store.put_object(Bucket=bucket, Key=before["damaged"]["files"][0]["file_path"], Body=b"d" * 300)
            status, said = verify(second)
            assert status == 1 and DAMAGED in said and "Not all is as recorded." in said, said
        finally:
            second.kill()


def test_where_there_is_nothing_to_verify_that_is_no_all_clear(tmp_path: Path) -> None:
    status, said = verify(Server(tmp_path))
    assert status == 2 and "There is no registry" in said
    assert not (tmp_path / "data").exists()
