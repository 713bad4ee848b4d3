"""Downloads as browsers, curl and scripts make them: sizes, ranges, names, whole versions."""

from __future__ import annotations

import io
import random
import re
import shutil
import subprocess
import urllib.parse
import zipfile
from pathlib import Path

import pytest
import requests

from tests.end_to_end import making
from tests.end_to_end.client import SECONDS, Client, send_all, sha256

NAMES = [
    "модель весов.pkl",
    "a+b c.pkl",
    "100%.txt",
    "it%20is%2Fso.bin",
    "it's #1 & more; yes=no.bin",
    "模型-ü-é.onnx",
    "(x) [y] {z}, @~^$!.bin",
]
SIZE = 9 * 1024 * 1024 + 7


@pytest.fixture
def large(client: Client) -> bytes:
    data = random.Random(3).randbytes(SIZE)
    assert client.single("large.bin", data).status_code == 200
    return data


@pytest.mark.needs("unlimited")
def test_a_file_is_answered_here_with_its_length_and_type(client: Client, large: bytes) -> None:
    answer = requests.get(
        f"{client.models}/model/download", params={"filename": "large.bin"}, allow_redirects=False, timeout=SECONDS
    )
    assert (answer.status_code, answer.content) == (200, large)
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="large.bin"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Accept-Ranges"] == "bytes"


@pytest.mark.needs("unlimited")
@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=5-9", 5, 9),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1),
        ("bytes=-7", SIZE - 7, SIZE - 1),
        (f"bytes=8388000-{SIZE * 2}", 8388000, SIZE - 1),
    ],
)
@pytest.mark.parametrize("whole", [False, True], ids=["file", "version"])
def test_a_range_is_those_bytes(client: Client, large: bytes, asked: str, first: int, last: int, whole: bool) -> None:
    query = {} if whole else {"filename": "large.bin"}
    data = client.content(None) if whole else large
    if whole:  # the same places, counted in the ZIP
        last = len(data) - 1 if last >= SIZE - 1 else last
        first = len(data) - (SIZE - first) if asked == "bytes=-7" else first
        last = min(last, len(data) - 1)
    answer = requests.get(f"{client.models}/model/download", params=query, headers={"Range": asked}, timeout=SECONDS)
    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(data)}"
    assert answer.headers["Content-Length"] == str(last - first + 1)
    assert answer.content == data[first : last + 1]


@pytest.mark.needs("unlimited")
def test_a_range_beyond_the_end_is_416_and_a_stale_if_range_the_whole(client: Client, large: bytes) -> None:
    def get(**headers: str) -> requests.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return client_get(client, names)

    refused = get(Range=f"bytes={SIZE}-")
    assert (refused.status_code, refused.headers["Content-Range"]) == (416, f"bytes */{SIZE}")
    etag = get().headers["ETag"]
    assert get(Range="bytes=0-4", If_Range=etag).content == large[:5]
    assert get(Range="bytes=0-4", If_Range='"another"').content == large
    assert get(If_None_Match=etag).status_code == 304


def client_get(client: Client, headers: dict[str, str]) -> requests.Response:
    query = {"filename": "large.bin"}
    return requests.get(f"{client.models}/model/download", params=query, headers=headers, timeout=SECONDS)


@pytest.mark.needs("unlimited")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("query", ["?filename=large.bin", ""], ids=["file", "version"])
def test_curl_resumes_a_download_that_broke_off(client: Client, large: bytes, tmp_path: Path, query: str) -> None:
    data = large if query else client.content(None)
    (tmp_path / "out").write_bytes(data[: SIZE // 3])
    command = ["curl", "-sS", "-C", "-", "-o", "out", f"{client.models}/model/download{query}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == data


@pytest.mark.needs("binary")
def test_a_whole_version_opens_everywhere(client: Client, tmp_path: Path) -> None:
    contents = {**making.folder(), **{f"names/{name}": name.encode() for name in NAMES}, "empty": b""}
    assert client.folder(making.zipped(contents)).status_code == 200
    answer = client.get(route="/download")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="model-v1.zip"'
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == contents
    if shutil.which("unzip"):
        (tmp_path / "all.zip").write_bytes(answer.content)
        done = subprocess.run(["unzip", "-t", "all.zip"], cwd=tmp_path, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stdout
    assert client.content(None) == answer.content  # the same every time: a download can be resumed


@pytest.mark.needs("binary")
@pytest.mark.case("A10")
@pytest.mark.parametrize("name", NAMES)
def test_a_name_survives_upload_single_and_download(client: Client, name: str, tmp_path: Path) -> None:
    data = f"bytes of {name}".encode()
    answer = client.single(name, data)
    assert answer.status_code == 200, answer.text
    (file,) = answer.json()["files"]
    assert (file["filename"], file["file_hash"]) == (name, sha256(data))
    assert file["file_path"] == f"models/{client.user_id}/model/v1/{name}"
    downloaded = client.get(route="/download", filename=name)
    assert downloaded.content == data
    assert saved_as(downloaded) == name
    assert [file["filename"] for file in client.get(route="/files").json()] == [name]
    if shutil.which("curl"):
        (tmp_path / name).write_bytes(data)
        done = subprocess.run(
            [
                *("curl", "-sS", f"{client.url}/ai-models/upload/single", "-F", f'file=@"{name}"'),
                *("-F", f"user_id={client.user_id}", "-F", "model_id=by-curl", "-F", "name=M"),
            ],
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert client.metadata("by-curl")["files"][0]["filename"] == name


def saved_as(answer: requests.Response) -> str:
    """What a browser saves it as (RFC 6266)."""
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith("attachment; ")
    extended = re.search(r"filename\*=UTF-8''(\S+)$", disposition)
    if extended:
        return urllib.parse.unquote(extended[1])
    plain = re.search(r'filename="([^"]*)"$', disposition)
    assert plain is not None, disposition
    return plain[1]


def test_names_survive_direct_uploads_and_presigned_urls(client: Client) -> None:
    contents = {f"папка {number}/{name}": name.encode() for number, name in enumerate(NAMES)}
    started = client.start(files=[{"path": path, "size": len(data)} for path, data in contents.items()])
    for entry in started["files"]:
        send_all(entry, contents[entry["path"]])
    client.wait(started["upload_id"])
    files = client.get(route="/files", urls="true").json()
    assert {file["filename"] for file in files} == set(contents)
    for file in files:
        presigned = requests.get(file["url"], timeout=SECONDS)
        assert (presigned.status_code, presigned.content) == (200, contents[file["filename"]])
        assert saved_as(presigned) == file["filename"].rpartition("/")[2]
        assert presigned.headers["Content-Type"] == "application/octet-stream"
        redirected = client.get(route="/download", filename=file["filename"], redirect="true")
        assert redirected.history[0].status_code == 307
        assert redirected.content == contents[file["filename"]]


@pytest.mark.needs("binary")
def test_redirect_leads_to_the_whole_version_too(client: Client) -> None:
    assert client.folder(making.zipped(making.folder())).status_code == 200
    answer = client.get(route="/download", redirect="true")
    assert answer.history[0].status_code == 307
    assert answer.content == client.content(None)
    assert saved_as(answer) == "model-v1.zip"


def test_what_is_not_there_is_404(client: Client) -> None:
    assert client.single("model.pkl", b"bytes").status_code == 200
    for query in ({"filename": "other.pkl"}, {"filename": "model.pkl", "version": "v2"}, {"version": "v2"}):
        answer = client.get(route="/download", **query)
        assert answer.status_code == 404
        assert set(answer.json()) == {"detail", "code"}
