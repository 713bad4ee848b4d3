"""Pull, verify, diff and the ZIP by the `modelkeep` client, against a registry as it really is."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import modelkeep
import pytest
from modelkeep import Progress
from modelkeep.errors import IntegrityError, LocalFileError, NotFoundError
from modelkeep.pulling.partials import BLOCK, RANGE

from tests.end_to_end.client import Client, pattern, send_all, sha256
from tests.end_to_end.client_under_test import environment
from tests.end_to_end.conftest import Keys, s3_client
from tests.end_to_end.proxying import Proxy
from tests.end_to_end.running import Server

pytestmark = pytest.mark.needs("process")  # any target: test_client_everywhere.py

MIB = 1024 * 1024
FILES = {
    "config.json": b'{"layers": 2}',
    "empty.txt": b"",
    "weights/layer1.bin": random.Random(1).randbytes(3 * MIB + 17),
    "weights/layer2.bin": random.Random(2).randbytes(1000),
    "wörter/слова/単語.json": b"[]",
}


def publish(client: Client, files: dict[str, bytes], model_id: str = "model", **body: Any) -> Any:
    """A version of these files, by direct upload."""
    said = [{"path": path, "size": len(data), "sha256": sha256(data)} for path, data in files.items()]
    upload = client.start(model_id, files=said, **body)
    for entry in upload["files"]:
        send_all(entry, files[entry["path"]])
    client.complete(upload["upload_id"])
    client.wait(upload["upload_id"], seconds=60)
    return client.metadata(model_id, version=upload["version"])


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".modelkeep.json"
    }


def damage(server: Server, key: str) -> None:
    """Flip a bit of an object, behind the registry's back."""
    store, bucket = s3_client(server)
    data = store.get_object(Bucket=bucket, Key=key)["Body"].read()
    store.put_object(Bucket=bucket, Key=key, Body=data[:-1] + bytes([data[-1] ^ 1]))


def test_pull_verify_and_pull_again(client: Client, sdk: modelkeep.Client, tmp_path: Path) -> None:
    publish(client, FILES)
    ref, here = f"{client.user_id}/model", tmp_path / "here"
    told: list[Progress] = []
    pulled = sdk.pull(ref, here, on_progress=told.append)
    assert tree(here) == FILES
    assert pulled.bytes_fetched == pulled.bytes_total == sum(map(len, FILES.values()))
    assert (told[-1].done, told[-1].total) == (pulled.bytes_total, pulled.bytes_total)
    assert sdk.verify(here).ok
    again = sdk.pull(ref, here)
    assert (again.bytes_fetched, again.bytes_present) == (0, pulled.bytes_total)
    elsewhere = sdk.pull(ref, tmp_path / "elsewhere")
    assert (elsewhere.bytes_fetched, tree(tmp_path / "elsewhere")) == (0, FILES)  # out of the cache


def test_pull_by_pattern(client: Client, sdk: modelkeep.Client, tmp_path: Path) -> None:
    publish(client, FILES)
    pulled = sdk.pull(f"{client.user_id}/model:v1", tmp_path / "here", files=["*.json"], cache=False)
    assert pulled.paths == ["config.json", "wörter/слова/単語.json"] == sorted(tree(tmp_path / "here"))
    assert sdk.verify(tmp_path / "here").ok
    with pytest.raises(NotFoundError):
        sdk.pull(f"{client.user_id}/model:v1", tmp_path / "none", files=["*.onnx"])
    assert not (tmp_path / "none").exists()


def test_a_flipped_byte_in_the_store_is_found(
    server: Server, client: Client, sdk: modelkeep.Client, tmp_path: Path
) -> None:
    said = publish(client, FILES)
    [key] = [file["file_path"] for file in said["files"] if file["filename"] == "weights/layer1.bin"]
    damage(server, key)
    with pytest.raises(IntegrityError) as error:
        sdk.pull(f"{client.user_id}/model", tmp_path / "here")
    assert (error.value.code, error.value.exit_code) == ("damaged", 6)
    assert error.value.extra["files"] == ["weights/layer1.bin"]
    assert tree(tmp_path / "here") == {path: data for path, data in FILES.items() if path != "weights/layer1.bin"}
    assert sdk.verify(tmp_path / "here").missing == ["weights/layer1.bin"]


def test_verify_tells_what_is_damaged_missing_and_unknown(
    client: Client, sdk: modelkeep.Client, tmp_path: Path
) -> None:
    publish(client, FILES)
    ref, here = f"{client.user_id}/model:v1", tmp_path / "here"
    sdk.pull(ref, here, cache=False)
    content = bytearray((here / "weights/layer1.bin").read_bytes())
    content[2 * MIB] ^= 1
    (here / "weights/layer1.bin").write_bytes(content)
    (here / "config.json").write_bytes(b"")
    (here / "empty.txt").unlink()
    (here / "notes").mkdir()
    (here / "notes/mine.txt").write_bytes(b"mine")
    found = sdk.verify(here)
    assert (found.damaged, found.missing, found.unknown, found.ok) == (
        ["config.json", "weights/layer1.bin"],
        ["empty.txt"],
        ["notes/mine.txt"],
        False,
    )
    assert found.intact == ["weights/layer2.bin", "wörter/слова/単語.json"]
    with pytest.raises(LocalFileError, match=r"config\.json"):
        sdk.pull(ref, here)
    sdk.pull(ref, here, force=True)
    assert tree(here) == {**FILES, "notes/mine.txt": b"mine"}
    assert sdk.verify(here, ref).ok


def test_diff_of_two_versions(client: Client, sdk: modelkeep.Client) -> None:
    publish(client, FILES, name="The first", tags=["a"], test_accuracy=0.5)
    others = {**FILES, "config.json": b'{"layers": 3}', "new.txt": b"new"}
    del others["empty.txt"]
    publish(client, others, version="v2", name="The first", tags=["a", "b"], test_accuracy=0.75)
    found = sdk.diff(f"{client.user_id}/model:v1", f"{client.user_id}/model")
    assert [file.path for file in found.only_a] == ["empty.txt"]
    assert [file.path for file in found.only_b] == ["new.txt"]
    assert [(change.path, change.a.sha256, change.b.sha256) for change in found.changed] == [
        ("config.json", sha256(FILES["config.json"]), sha256(others["config.json"]))
    ]
    assert found.same == 3
    assert found.metadata == {"tags": (["a"], ["a", "b"]), "test_accuracy": (0.5, 0.75)}
    assert not found.equal
    assert sdk.diff(f"{client.user_id}/model:v1", f"{client.user_id}/model:v1").equal


def test_pull_into_the_same_folder_has_the_other_version(client: Client, sdk: modelkeep.Client, tmp_path: Path) -> None:
    publish(client, FILES)
    others = {"config.json": b'{"layers": 3}', "weights/layer1.bin": FILES["weights/layer1.bin"]}
    publish(client, others, version="v2")
    sdk.pull(f"{client.user_id}/model:v1", tmp_path / "here")
    pulled = sdk.pull(f"{client.user_id}/model:v2", tmp_path / "here")
    assert tree(tmp_path / "here") == others
    assert pulled.bytes_fetched == len(others["config.json"])
    assert sdk.verify(tmp_path / "here").ok


def test_pull_zip_member_by_member(client: Client, sdk: modelkeep.Client, tmp_path: Path) -> None:
    publish(client, FILES)
    ref = f"{client.user_id}/model:v1"
    target = sdk.pull_zip(ref, tmp_path / "out.zip")
    with zipfile.ZipFile(target) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["out.zip"]
    assert sdk.pull_zip(ref, tmp_path / "out.zip") == target
    (tmp_path / "taken.zip").write_bytes(b"mine")
    with pytest.raises(LocalFileError):
        sdk.pull_zip(ref, tmp_path / "taken.zip")
    assert (tmp_path / "taken.zip").read_bytes() == b"mine"


def test_a_zip_of_damaged_bytes_gets_no_name(
    server: Server, client: Client, sdk: modelkeep.Client, keys: Keys, tmp_path: Path
) -> None:
    publish(client, FILES)
    assert client.get(route="/download", version="v1", redirect="true").status_code == 200  # built, and kept
    store, bucket = s3_client(server)
    [key] = keys(f"modelkeep/archives/{client.user_id}/")
    whole = bytearray(store.get_object(Bucket=bucket, Key=key)["Body"].read())
    whole[len(whole) // 2] ^= 1
    store.put_object(Bucket=bucket, Key=key, Body=bytes(whole))
    folder = tmp_path / "folder"
    with pytest.raises(IntegrityError):
        sdk.pull_zip(f"{client.user_id}/model:v1", folder / "out.zip")
    assert list(folder.iterdir()) == []


PULLER = """
import json, sys
from modelkeep import Client
pulled = Client().pull(sys.argv[1], sys.argv[2])
print(json.dumps([pulled.bytes_fetched, pulled.bytes_present]))
"""


def test_a_killed_pull_goes_on_where_it_was(server: Server, client: Client, user_id: str, tmp_path: Path) -> None:
    """kill -9 again and again: nothing half-written is visible, and each time at most a part is lost."""
    size = 160 * MIB
    files = {"large.bin": b"".join(pattern(size, seed=3))}
    publish(client, files)
    home, here = tmp_path / "home", tmp_path / "here"
    command = [sys.executable, "-c", PULLER, f"{user_id}/model:v1", str(here)]
    map_ = home / "cache/partial" / f"{sha256(files['large.bin'])}.map"

    with Proxy(f"127.0.0.1:{server.ports.s3}") as proxy:
        env = {**environment(server, user_id, home), **proxy.environment}
        for kills in range(1, 4):
            process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
            proxy.at("down", kills * 40 * MIB, process.kill)  # before the last of these bytes is passed on
            assert process.wait(300) == -9
            assert tree(here) == {}
    there = map_.read_bytes().count(1) * BLOCK
    assert there < size
    done = subprocess.run(command, env=environment(server, user_id, home), capture_output=True, check=True, timeout=300)
    fetched, present = json.loads(done.stdout)
    assert fetched + present == size
    assert fetched <= size - there + RANGE
    assert tree(here) == files


def test_a_pickle_works_after_pull(client: Client, sdk: modelkeep.Client, tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    answer = client.single("model.pkl", io.BytesIO(pickle.dumps(model)))
    assert answer.status_code == 200, answer.text
    sdk.pull(f"{client.user_id}/model", tmp_path / "here")
    loaded = pickle.loads((tmp_path / "here/model.pkl").read_bytes())
    assert loaded.predict([[10.0]])[0] == pytest.approx(21.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
def test_two_pulls_of_one_version_at_once(server: Server, client: Client, user_id: str, tmp_path: Path) -> None:
    files = {**FILES, "large.bin": random.Random(4).randbytes(40 * MIB)}
    publish(client, files)
    home = tmp_path / "home"
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "b"]  # two of them into the same folder, too
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PULLER, f"{user_id}/model:v1", str(folder)],
            env=environment(server, user_id, home),
            stdout=subprocess.PIPE,
        )
        for folder in folders
    ]
    said = [json.loads(process.communicate(timeout=300)[0]) for process in started]
    for folder in folders:
        assert tree(folder) == files
    # The large one came once; small ones may come as often as they are wanted at the same moment.
    assert sum(fetched for fetched, _ in said) < 2 * 40 * MIB
