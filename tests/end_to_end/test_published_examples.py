"""The published document's examples, unchanged in form: curl without -L, and `requests`, with no header of ours."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.end_to_end import making
from tests.end_to_end.client import sha256
from tests.end_to_end.running import Server

pytestmark = pytest.mark.needs("binary")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
BASE = "http://localhost:8000"
METADATA_TEXT = (
    "model_id user_id name description version framework model_type algorithm files primary_file_path input_shape "
    "output_shape num_parameters model_size_mb training_dataset training_accuracy validation_accuracy test_accuracy "
    "training_loss python_version dependencies hardware_requirements tags custom_metadata created_at updated_at "
    "is_active is_production_ready status file_count total_size"
)
METADATA_KEYS = set(METADATA_TEXT.split())
FILE_KEYS = {
    "filename",
    "file_path",
    "file_size",
    "file_type",
    "file_hash",
    "content_type",
    "is_primary",
    "description",
}


class Shell:
    """A terminal in a folder of its own: commands as they are printed, only the port is another."""

    def __init__(self, server: Server, user_id: str, folder: Path) -> None:
        self.server = server
        self.user_id = user_id
        self.folder = folder
        self.model = making.pickled()
        (folder / "model.pkl").write_bytes(self.model)
        (folder / "model_folder.zip").write_bytes(making.zipped(making.folder()))

    def run(self, *command: str) -> bytes:
        words = [word.replace(BASE, self.server.url).replace("user123", self.user_id) for word in command]
        assert "-L" not in words
        done = subprocess.run([words[0], "-sS", *words[1:]], cwd=self.folder, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *command: str) -> Any:
        return json.loads(self.run(*command))

    def upload_single(self) -> Any:
        return self.json(
            *("curl", "-X", "POST", "http://localhost:8000/ai-models/upload/single"),
            *("-F", "file=@model.pkl"),
            *("-F", "user_id=user123"),
            *("-F", "model_id=sentiment-classifier"),
            *("-F", "name=Sentiment Classifier"),
            *("-F", "description=A simple sentiment classification model"),
            *("-F", "version=v1"),
            *("-F", "framework=sklearn"),
            *("-F", "model_type=classification"),
            *("-F", "algorithm=LogisticRegression"),
            *("-F", "is_primary=true"),
            *("-F", "tags=nlp,sentiment,production"),
            *("-F", "training_accuracy=0.95"),
            *("-F", "validation_accuracy=0.92"),
            *("-F", "test_accuracy=0.91"),
            *("-F", "training_loss=0.15"),
            *("-F", "python_version=3.9"),
            *("-F", "hardware_requirements=CPU"),
        )

    def upload_folder(self) -> Any:
        return self.json(
            *("curl", "-X", "POST", "http://localhost:8000/ai-models/upload/folder"),
            *("-F", "zip_file=@model_folder.zip"),
            *("-F", "user_id=user123"),
            *("-F", "model_id=bert-model"),
            *("-F", "name=BERT Model"),
            *("-F", "framework=huggingface"),
            *("-F", "model_type=nlp"),
            *("-F", "tags=bert,nlp"),
            *("-F", "preserve_structure=true"),
        )


@pytest.fixture
def shell(server: Server, user_id: str, tmp_path: Path) -> Shell:
    return Shell(server, user_id, tmp_path)


@needs_curl
def test_curl_uploads_a_single_file_and_gets_the_whole_metadata(shell: Shell) -> None:
    answer = shell.upload_single()
    assert answer.keys() == METADATA_KEYS
    (file,) = answer["files"]
    assert file.keys() == FILE_KEYS
    key = f"models/{shell.user_id}/sentiment-classifier/v1/model.pkl"
    assert file == {
        "filename": "model.pkl",
        "file_path": key,
        "file_size": len(shell.model),
        "file_type": "model",
        "file_hash": sha256(shell.model),
        "content_type": file["content_type"],
        "is_primary": True,
        "description": None,
    }
    assert answer["primary_file_path"] == key
    given = {
        "model_id": "sentiment-classifier",
        "user_id": shell.user_id,
        "name": "Sentiment Classifier",
        "description": "A simple sentiment classification model",
        "version": "v1",
        "framework": "sklearn",
        "model_type": "classification",
        "algorithm": "LogisticRegression",
        "tags": ["nlp", "sentiment", "production"],
        "training_accuracy": 0.95,
        "validation_accuracy": 0.92,
        "test_accuracy": 0.91,
        "training_loss": 0.15,
        "python_version": "3.9",
        "hardware_requirements": "CPU",
    }
    assert {name: answer[name] for name in given} == given
    assert (answer["is_active"], answer["is_production_ready"], answer["status"]) == (True, False, "ready")
    assert answer["created_at"] == answer["updated_at"]
    assert answer["created_at"].endswith("Z")
    assert (answer["file_count"], answer["total_size"]) == (1, len(shell.model))
    assert answer["model_size_mb"] == pytest.approx(len(shell.model) / 1_048_576)


@needs_curl
def test_curl_uploads_a_second_time_and_is_told_that_it_exists(shell: Shell) -> None:
    shell.upload_single()
    answer = shell.upload_single()
    assert answer["detail"] == "Model with this ID and version already exists"


@needs_curl
def test_curl_uploads_a_folder(shell: Shell) -> None:
    answer = shell.upload_folder()
    assert answer.keys() == METADATA_KEYS
    assert {file["filename"]: file["file_hash"] for file in answer["files"]} == {
        name: sha256(data) for name, data in making.folder().items()
    }
    assert (answer["framework"], answer["model_type"], answer["tags"]) == ("huggingface", "nlp", ["bert", "nlp"])


@needs_curl
def test_curl_gets_lists_and_searches(shell: Shell) -> None:
    single, folder = shell.upload_single(), shell.upload_folder()
    get = "http://localhost:8000/ai-models/user123/sentiment-classifier"
    assert shell.json("curl", get) == single
    assert shell.json("curl", "-X", "GET", f"{get}?version=v1") == single
    assert shell.json("curl", f"{get}?version=latest") == single

    def found(query: str) -> list[str]:
        return [each["model_id"] for each in shell.json("curl", f"http://localhost:8000/ai-models/{query}")]

    newest, oldest = folder["model_id"], single["model_id"]
    assert found("user123") == [newest, oldest]
    assert found("user123?skip=0&limit=10") == [newest, oldest]
    assert found("user123?skip=1&limit=1") == [oldest]
    assert found("user123?framework=sklearn") == [oldest]
    assert found("user123?model_type=nlp&tags=bert") == [newest]
    assert found("user123?tags=nlp,sentiment") == [oldest]
    assert found("user123?framework=sklearn&model_type=classification&tags=production&limit=5") == [oldest]
    assert found("search/user123?query=sentiment") == [oldest]
    assert found("search/user123?query=bert&framework=huggingface&model_type=nlp&tags=bert") == [newest]
    assert found("search/user123?query=bert&framework=sklearn") == []
    assert found("somebody-who-does-not-exist") == []


@needs_curl
def test_curl_downloads_a_file_and_the_whole_version(shell: Shell) -> None:
    shell.upload_single()
    shell.upload_folder()
    download = "http://localhost:8000/ai-models/user123/sentiment-classifier/download"
    (shell.folder / "model.pkl").unlink()
    shell.run("curl", "-O", "-J", f"{download}?filename=model.pkl")
    assert (shell.folder / "model.pkl").read_bytes() == shell.model
    shell.run("curl", "-X", "GET", f"{download}?filename=model.pkl&version=v1", "-o", "downloaded.pkl")
    assert (shell.folder / "downloaded.pkl").read_bytes() == shell.model
    shell.run("curl", "-O", "-J", "http://localhost:8000/ai-models/user123/bert-model/download?version=v1")
    with zipfile.ZipFile(shell.folder / "bert-model-v1.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == making.folder()
    shell.run("curl", "http://localhost:8000/ai-models/user123/bert-model/download", "-o", "all.zip")
    assert (shell.folder / "all.zip").read_bytes() == (shell.folder / "bert-model-v1.zip").read_bytes()
    shell.run(
        *("curl", "-O", "-J"),
        "http://localhost:8000/ai-models/user123/bert-model/download?filename=weights/model.safetensors",
    )
    assert (shell.folder / "model.safetensors").read_bytes() == making.folder()["weights/model.safetensors"]


@needs_curl
def test_curl_updates_the_metadata(shell: Shell) -> None:
    before = shell.upload_single()
    changes = {
        "name": "Updated Sentiment Classifier",
        "description": "Better",
        "tags": ["nlp", "v2"],
        "test_accuracy": 0.97,
        "is_production_ready": True,
        "custom_metadata": {"team": "growth"},
    }
    after = shell.json(
        *("curl", "-X", "PUT", "http://localhost:8000/ai-models/user123/sentiment-classifier?version=v1"),
        *("-H", "Content-Type: application/json"),
        *("-d", json.dumps(changes)),
    )
    assert after == {**before, **changes, "updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]
    assert shell.json("curl", "http://localhost:8000/ai-models/user123/sentiment-classifier") == after


@needs_curl
def test_curl_deletes(shell: Shell) -> None:
    shell.upload_single()
    model = "http://localhost:8000/ai-models/user123/sentiment-classifier"
    assert shell.json("curl", "-X", "DELETE", f"{model}?version=v1") == {
        "user_id": shell.user_id,
        "model_id": "sentiment-classifier",
        "versions": ["v1"],
        "status": "deleted",
    }
    assert shell.json("curl", model)["code"]
    assert shell.upload_single()["status"] == "ready"  # the version is free


@needs_curl
def test_curl_lists_the_files(shell: Shell) -> None:
    files = shell.upload_folder()["files"]
    assert shell.json("curl", "http://localhost:8000/ai-models/user123/bert-model/files?version=v1") == files


def test_requests_uploads_a_file_named_by_its_whole_path(server: Server, user_id: str, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(making.pickled())
    with open(tmp_path / "model.pkl", "rb") as opened:  # noqa: PTH123  # as the document has it
        files = {"file": ("/home/me/models/model.pkl", opened)}
        data = {
            "user_id": user_id,
            "model_id": "my-model",
            "name": "My Model",
            "description": "",
            "framework": "sklearn",
            "model_type": "classification",
            "is_primary": "true",
            "tags": "a,b",
            "training_accuracy": "0.95",
        }
        response = requests.post(f"{server.url}/ai-models/upload/single", files=files, data=data)
    assert response.status_code == 200, response.text
    assert response.json()["files"][0]["filename"] == "model.pkl"
    assert response.json()["training_accuracy"] == 0.95
    assert response.json()["description"] is None


@pytest.mark.parametrize("sent", ["C:\\Users\\me\\model.pkl", "..\\..\\model.pkl", "../../etc/model.pkl", "model.pkl"])
def test_the_file_name_is_the_last_segment_of_what_was_sent(server: Server, user_id: str, sent: str) -> None:
    boundary = "boundary"
    body = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {"user_id": user_id, "model_id": "m", "name": "M"}.items()
    )
    file = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{sent}"\r\n\r\nbytes\r\n'
    answer = requests.post(
        f"{server.url}/ai-models/upload/single",
        data=(file + body + f"--{boundary}--\r\n").encode(),  # the file before the fields
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["files"][0]["filename"] == "model.pkl"


def test_requests_sends_python_values_in_the_form(server: Server, user_id: str) -> None:
    data = {"user_id": user_id, "model_id": "m", "name": "M", "is_primary": True, "training_accuracy": 0.5, "tags": ""}
    files = {"file": ("model.pkl", io.BytesIO(b"bytes"))}
    response = requests.post(f"{server.url}/ai-models/upload/single", files=files, data=data, timeout=60)
    assert response.status_code == 200, response.text
    assert (response.json()["training_accuracy"], response.json()["tags"]) == (0.5, [])


def test_requests_goes_through_a_models_life(server: Server, user_id: str, tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(making.zipped(making.folder()))
    base = f"{server.url}/ai-models"
    with open(tmp_path / "model.zip", "rb") as opened:  # noqa: PTH123
        response = requests.post(
            f"{base}/upload/folder",
            files={"zip_file": opened},
            data={"user_id": user_id, "model_id": "m", "name": "M", "preserve_structure": "true"},
            timeout=60,
        )
    assert response.status_code == 200, response.text
    listed = requests.get(f"{base}/{user_id}", params={"skip": 0, "limit": 10, "framework": "huggingface"}, timeout=60)
    assert listed.json() == [response.json()]
    found = requests.get(f"{base}/search/{user_id}", params={"query": "m", "tags": ""}, timeout=60)
    assert found.json() == listed.json()
    answer = requests.get(
        f"{base}/{user_id}/m/download",
        params={"filename": "config.json"},
        stream=True,
        allow_redirects=False,
        timeout=60,
    )
    assert b"".join(answer.iter_content(8192)) == making.folder()["config.json"]
    assert 'filename="config.json"' in answer.headers["Content-Disposition"]
    updated = requests.put(f"{base}/{user_id}/m", json={"description": "new", "tags": ["x"]}, timeout=60)
    assert updated.json()["description"] == "new"
    assert requests.get(f"{base}/{user_id}", params={"tags": "X"}, timeout=60).json() == [updated.json()]
    assert requests.delete(f"{base}/{user_id}/m", timeout=60).json()["status"] == "deleted"
    assert requests.get(f"{base}/{user_id}/m", timeout=60).status_code == 404
    assert requests.get(f"{base}/{user_id}", timeout=60).json() == []
