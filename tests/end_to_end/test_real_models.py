"""Real models go in and come out as they were: they still load, and predict the same. Loading is done here, never in
the product."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy
import pytest

from tests.end_to_end import making
from tests.end_to_end.client import Client, send_all, sha256
from tests.end_to_end.conftest import Keys


def round_trip(client: Client, name: str, data: bytes, framework: str) -> bytes:
    answer = client.single(name, data)
    assert answer.status_code == 200, answer.text
    metadata = answer.json()
    assert metadata["framework"] == framework
    assert metadata["model_type"] == "other"
    assert [(file["filename"], file["file_hash"], file["is_primary"]) for file in metadata["files"]] == [
        (name, sha256(data), True)
    ]
    returned = client.content(name)
    assert returned == data
    return returned


@pytest.mark.needs("binary")
def test_an_sklearn_pickle_predicts_the_same_after_download(client: Client) -> None:
    model = pickle.loads(round_trip(client, "model.pkl", making.pickled(), "sklearn"))
    features, _ = making.iris()
    assert (model.predict_proba(features) == making.trained().predict_proba(features)).all()


@pytest.mark.needs("binary")
def test_an_onnx_model_predicts_the_same_after_download(client: Client) -> None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load_model_from_string(round_trip(client, "model.onnx", making.onnx_bytes(), "onnx"))
    onnx.checker.check_model(model)
    features, _ = making.iris()
    labels = ReferenceEvaluator(model).run(None, {"features": features.astype(numpy.float32)})[0]
    assert (labels == making.trained().predict(features)).all()


@pytest.mark.needs("binary")
def test_safetensors_load_after_download(client: Client) -> None:
    from safetensors.numpy import load

    loaded = load(round_trip(client, "model.safetensors", making.safetensors_bytes(), "huggingface"))
    assert loaded.keys() == making.weights().keys()
    assert all((loaded[name] == values).all() for name, values in making.weights().items())


@pytest.mark.needs("binary")
def test_an_h5_file_opens_after_download(client: Client) -> None:
    import h5py

    with h5py.File(io.BytesIO(round_trip(client, "weights.h5", making.h5_bytes(), "keras"))) as file:
        for name, values in making.weights().items():
            assert (file[name.replace(".", "/")][()] == values).all()


@pytest.mark.parametrize("way", ["form", "direct"])
def test_a_zipped_folder_keeps_its_files_and_tells_what_it_is(client: Client, way: str) -> None:
    files = making.folder()
    junk = {"__MACOSX/._config.json": b"junk", "weights/.DS_Store": b"junk"}
    archive = making.zipped({**files, **junk})
    if way == "form":
        answer = client.folder(archive)
        assert answer.status_code == 200, answer.text
    else:
        started = client.start(name="A model", archive={"size": len(archive), "sha256": sha256(archive)})
        send_all(started["archive"], archive)
        client.wait(started["upload_id"])
    metadata = client.metadata()
    assert {file["filename"]: (file["file_size"], file["file_hash"]) for file in metadata["files"]} == {
        name: (len(data), sha256(data)) for name, data in files.items()
    }
    assert {file["filename"]: file["file_type"] for file in metadata["files"]} == {
        "weights/model.safetensors": "model",
        "weights/optimizer.safetensors": "model",
        "weights/head.safetensors": "model",
        "config.json": "configuration",
        "requirements.txt": "requirements",
        "README.md": "documentation",
    }
    assert metadata["framework"] == "huggingface"
    # The largest of the least deep, but not the optimizer's state.
    assert [file["filename"] for file in metadata["files"] if file["is_primary"]] == ["weights/model.safetensors"]
    assert metadata["primary_file_path"].endswith("/v1/weights/model.safetensors")
    assert metadata["dependencies"] == making.DEPENDENCIES
    assert metadata["total_size"] == sum(map(len, files.values()))
    for name, data in files.items():
        assert client.content(name) == data
    with zipfile.ZipFile(io.BytesIO(client.content(None))) as whole:
        assert {name: whole.read(name) for name in whole.namelist()} == files


@pytest.mark.needs("binary")
def test_without_structure_files_lose_their_folders(client: Client) -> None:
    answer = client.folder(making.zipped(making.folder()), preserve_structure="false")
    assert answer.status_code == 200, answer.text
    assert {file["filename"] for file in answer.json()["files"]} == {
        name.rpartition("/")[2] for name in making.folder()
    }


def test_a_refused_folder_leaves_nothing_and_frees_the_version(client: Client, keys: Keys) -> None:
    answer = client.folder(making.zipped({"good.pkl": b"good", "../evil.pkl": b"evil"}))
    assert answer.status_code == 400
    assert answer.json()["code"].startswith("archive_")
    client.assert_invisible()
    assert keys(f"models/{client.user_id}/") == []
    assert keys(f"modelkeep/uploads/{client.user_id}/") == []
    assert client.folder(making.zipped({"good.pkl": b"good"})).status_code == 200
