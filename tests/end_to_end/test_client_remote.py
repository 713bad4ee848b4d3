"""Parts of remote files, read by the libraries that people read them with; what it costs is counted at the store."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import h5py
import modelkeep
import numpy
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from modelkeep.errors import ModelkeepError, NotFoundError, UsageError
from modelkeep.remote.filesystem import ModelkeepFileSystem
from modelkeep.store import Store
from safetensors.numpy import save

from tests.end_to_end.client import Client, send_all, sha256
from tests.end_to_end.conftest import Keys, s3_client
from tests.end_to_end.running import Server

pytestmark = pytest.mark.needs("process")  # any target: test_client_everywhere.py

MIB = 1024 * 1024


class Moved:
    """What was asked of the store, and the bytes that came."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Moved:
    moved = Moved()
    get = Store.get

    def counted(self: Store, url: str, start: int, length: int, **options: Any) -> Iterator[bytes]:
        moved.requests += 1
        for chunk in get(self, url, start, length, **options):
            moved.bytes += len(chunk)
            yield chunk

    monkeypatch.setattr(Store, "get", counted)
    return moved


def publish(client: Client, files: Mapping[str, bytes], *, model_id: str = "model", version: str = "v1") -> None:
    said = [{"path": path, "size": len(data), "sha256": sha256(data)} for path, data in files.items()]
    started = client.start(model_id, version=version, name="A model", files=said)
    for entry in started["files"]:
        send_all(entry, files[entry["path"]])
    client.complete(started["upload_id"])
    client.wait(started["upload_id"], seconds=60)


def weights(seed: int, *shape: int) -> Any:
    return numpy.random.default_rng(seed).standard_normal(shape, dtype=numpy.float32)


def tensors() -> dict[str, Any]:
    """24 MB, as a small transformer has them."""
    made = {"embedding.weight": weights(0, 12_000, 256)}
    for layer in range(16):
        made[f"layer.{layer}.attention.weight"] = weights(layer, 256, 768)
        made[f"layer.{layer}.norm.bias"] = weights(layer, 256)
    made["head.scale"] = numpy.array(0.5, numpy.float32)
    return made


def h5_bytes() -> bytes:
    """23 MB, in the layout of Keras."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for layer in range(30):
            group = file.create_group(f"model_weights/dense_{layer}/dense_{layer}")
            group.create_dataset("kernel:0", data=weights(layer, 256, 768))
            group.create_dataset("bias:0", data=weights(layer, 768))
    return buffer.getvalue()


def test_one_tensor_of_a_safetensors_file_moves_little_more_than_the_tensor(
    client: Client, sdk: modelkeep.Client, moved: Moved
) -> None:
    data = save(tensors())
    assert len(data) > 20 * MIB
    publish(client, {"model.safetensors": data})
    ref = f"{client.user_id}/model:v1/model.safetensors"
    assert {name: info.shape for name, info in sdk.tensors(ref).items()} == {
        name: values.shape for name, values in tensors().items()
    }
    assert moved.bytes <= 64 * 1024
    moved.bytes = moved.requests = 0
    loaded = sdk.load_tensors(ref, ["layer.7.attention.weight"])
    assert list(loaded) == ["layer.7.attention.weight"]
    assert (loaded["layer.7.attention.weight"] == tensors()["layer.7.attention.weight"]).all()
    assert moved.requests == 2  # the header, the tensor
    assert moved.bytes < len(data) * 0.04
    print(f"one tensor: {moved.bytes} of {len(data)} bytes, {moved.requests} requests")
    everything = sdk.load_tensors(f"{client.user_id}/model/model.safetensors")
    assert everything.keys() == tensors().keys()
    assert all((everything[name] == values).all() for name, values in tensors().items())
    assert everything["head.scale"].shape == ()
    before = moved.bytes
    with pytest.raises(UsageError, match=r"layer\.7\.attention\.wieght") as caught:
        sdk.load_tensors(ref, ["layer.7.attention.wieght", "embedding.weight"])
    assert "layer.7.attention.weight" in str(caught.value.hint)
    assert moved.bytes - before <= 64 * 1024  # the header alone


def test_one_dataset_of_an_h5_file_moves_less_than_a_tenth(client: Client, sdk: modelkeep.Client, moved: Moved) -> None:
    data = h5_bytes()
    assert len(data) > 20 * MIB
    publish(client, {"weights.h5": data})
    with sdk.open(f"{client.user_id}/model:v1/weights.h5") as file, h5py.File(file, "r") as opened:
        kernel = opened["model_weights/dense_17/dense_17/kernel:0"][()]
    assert (kernel == weights(17, 256, 768)).all()
    print(f"one dataset: {moved.bytes} of {len(data)} bytes, {moved.requests} requests")
    assert moved.bytes < len(data) * 0.1
    assert moved.requests <= 12


def test_a_member_of_a_remote_zip(client: Client, sdk: modelkeep.Client, moved: Moved) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"shard/{number}.bin", weights(number, 64, 1024).tobytes())
    publish(client, {"data.zip": buffer.getvalue()})
    with sdk.open(f"{client.user_id}/model:v1/data.zip") as file, zipfile.ZipFile(file) as archive:
        assert len(archive.namelist()) == 20
        assert archive.read("shard/11.bin") == weights(11, 64, 1024).tobytes()
    print(f"one member: {moved.bytes} of {len(buffer.getvalue())} bytes, {moved.requests} requests")
    assert moved.bytes < len(buffer.getvalue()) * 0.2


def test_a_whole_file_is_read_in_few_requests_and_as_it_is(client: Client, sdk: modelkeep.Client, moved: Moved) -> None:
    data = weights(1, 3 * MIB).tobytes()
    publish(client, {"deep/down/file.bin": data, "empty.txt": b""})
    with sdk.open(f"{client.user_id}/model/deep/down/file.bin") as file:
        assert (file.size, file.sha256, file.name) == (
            len(data),
            sha256(data),
            f"{client.user_id}/model:v1/deep/down/file.bin",
        )
        assert b"".join(iter(lambda: file.read(100_000), b"")) == data
    assert (moved.bytes, moved.requests < 20) == (len(data), True)
    with sdk.open(f"{client.user_id}/model:v1/empty.txt") as file:
        assert file.read() == b""
    with pytest.raises(NotFoundError):
        sdk.open(f"{client.user_id}/model:v1/deep/down")
    with pytest.raises(NotFoundError):
        sdk.open(f"{client.user_id}/model:v2/empty.txt")


def test_a_damaged_object_is_found_where_it_is_read_whole(
    server: Server, client: Client, sdk: modelkeep.Client, keys: Keys
) -> None:
    data = weights(2, MIB).tobytes()
    publish(client, {"file.bin": data})
    store, bucket = s3_client(server)
    (key,) = keys(f"models/{client.user_id}/")
    store.put_object(Bucket=bucket, Key=key, Body=data[:-1] + bytes([data[-1] ^ 1]))
    with sdk.open(f"{client.user_id}/model:v1/file.bin") as file, pytest.raises(ModelkeepError) as caught:
        file.read()
    assert caught.value.code == "damaged"


def test_an_object_that_is_replaced_under_a_reader_is_noticed(
    server: Server, client: Client, sdk: modelkeep.Client, keys: Keys
) -> None:
    data = weights(3, MIB).tobytes()
    publish(client, {"file.bin": data})
    store, bucket = s3_client(server)
    (key,) = keys(f"models/{client.user_id}/")
    with sdk.open(f"{client.user_id}/model:v1/file.bin") as file:
        assert file.read(100) == data[:100]
        store.put_object(Bucket=bucket, Key=key, Body=data[::-1])
        file.seek(2 * MIB)
        with pytest.raises(ModelkeepError) as caught:
            file.read(100)
    assert caught.value.code == "replaced"


def test_a_url_that_dies_is_renewed(client: Client, sdk: modelkeep.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    data = weights(4, MIB).tobytes()
    publish(client, {"file.bin": data})
    call, asked = sdk.api.call, []

    def spoilt(method: str, path: str, **options: Any) -> Any:
        answer = call(method, path, **options)
        asked.append(path)
        if len(asked) == 1:  # as the store takes a URL whose time is over: it refuses the signature
            answer.headers["location"] = answer.headers["location"].replace("X-Amz-Expires=", "X-Amz-Expires=1")  # type: ignore[index]
        return answer

    with sdk.open(f"{client.user_id}/model:v1/file.bin") as file:
        monkeypatch.setattr(sdk.api, "call", spoilt)
        assert file.read() == data
    assert len(asked) == 2


# -- fsspec ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def options(sdk: modelkeep.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What pandas calls storage_options."""
    fsspec.register_implementation("modelkeep", ModelkeepFileSystem, clobber=True)
    monkeypatch.setenv("MODELKEEP_HOME", str(tmp_path / "home"))
    yield {"registry_url": sdk.url, "token": sdk.api._token}
    ModelkeepFileSystem.clear_instance_cache()


@pytest.fixture
def table(client: Client) -> Any:
    """A version with a table as CSV and, of 24 MB, as Parquet."""
    columns = {f"column_{number}": weights(number, 200_000).astype("float64") for number in range(16)}
    table = pyarrow.table({"id": numpy.arange(200_000), **columns})
    parquet, csv = io.BytesIO(), io.BytesIO()
    pyarrow.parquet.write_table(table, parquet, row_group_size=50_000, compression="none")
    table.slice(0, 100).to_pandas().to_csv(csv, index=False)
    files = {"data/table.parquet": parquet.getvalue(), "data/table.csv": csv.getvalue(), "config.json": b"{}"}
    publish(client, files)
    return table


def test_pandas_reads_by_name(client: Client, table: Any, options: dict[str, Any], moved: Moved) -> None:
    where = f"modelkeep://{client.user_id}/model:v1/data"
    assert len(pandas.read_csv(f"{where}/table.csv", storage_options=options)) == 100
    moved.bytes = 0
    frame = pandas.read_parquet(f"{where}/table.parquet", columns=["column_3"], storage_options=options)
    assert (frame["column_3"].to_numpy() == table["column_3"].to_numpy()).all()
    print(f"pandas, one column of 17: {moved.bytes} bytes, {moved.requests} requests")
    assert moved.bytes < table.nbytes * 0.1
    with pytest.raises(FileNotFoundError):
        pandas.read_csv(f"{where}/none.csv", storage_options=options)


def test_pyarrow_reads_a_column(client: Client, table: Any, options: dict[str, Any], moved: Moved) -> None:
    system = fsspec.filesystem("modelkeep", **options)
    path = f"{client.user_id}/model:v1/data/table.parquet"
    read = pyarrow.parquet.read_table(path, columns=["column_3"], filesystem=system)
    assert read["column_3"].equals(table["column_3"])
    print(f"pyarrow, one column of 17: {moved.bytes} bytes, {moved.requests} requests")
    assert moved.bytes < table.nbytes * 0.1
    with system.open(path) as file:
        assert pyarrow.parquet.ParquetFile(file).metadata.num_rows == 200_000


def test_a_version_is_a_folder(client: Client, options: dict[str, Any], tmp_path: Path) -> None:
    files = {"config.json": b"{}", "data/a.csv": b"a\n1\n", "data/deep/b.csv": b"b\n2\n", "empty": b""}
    publish(client, files)
    publish(client, {"config.json": b'{"v": 2}'}, version="v2")
    system = fsspec.filesystem("modelkeep", **options)
    user, top = client.user_id, f"{client.user_id}/model:v1"
    assert system.ls(f"modelkeep://{user}", detail=False) == [top, f"{user}/model:v2"]
    assert system.ls(top, detail=False) == [f"{top}/config.json", f"{top}/data", f"{top}/empty"]
    assert system.ls(f"{top}/data/", detail=False) == [f"{top}/data/a.csv", f"{top}/data/deep"]
    assert sorted(system.find(top)) == sorted(f"{top}/{path}" for path in files)
    assert system.glob(f"{user}/model:*/config.json") == [f"{top}/config.json", f"{user}/model:v2/config.json"]
    assert system.glob(f"modelkeep://{top}/**/*.csv") == [f"{top}/data/a.csv", f"{top}/data/deep/b.csv"]
    assert [(folder, sorted(folders), sorted(names)) for folder, folders, names in system.walk(top)] == [
        (top, ["data"], ["config.json", "empty"]),
        (f"{top}/data", ["deep"], ["a.csv"]),
        (f"{top}/data/deep", [], ["b.csv"]),
    ]
    info = system.info(f"{top}/data/a.csv")
    assert (info["type"], info["size"], info["sha256"], info["version"]) == ("file", 4, sha256(b"a\n1\n"), "v1")
    assert system.isdir(top)
    assert system.isdir(f"{top}/data")
    assert system.isfile(f"{top}/empty")
    absent = [f"{top}/data/x", f"{user}/model:v9", f"{user}/other", f"{user}/mo del", f"{top}/config.json/x"]
    assert [system.exists(path) for path in absent] == [False] * 5
    # Without a version: the newest, as it is now.
    assert system.cat(f"{user}/model/config.json") == b'{"v": 2}'
    publish(client, {"config.json": b'{"v": 3}'}, version="v3")
    assert system.cat(f"{user}/model/config.json") == b'{"v": 3}'
    # fsspec asks for folders' bytes too.
    assert system.cat(top, recursive=True, on_error="omit") == {f"{top}/{path}": data for path, data in files.items()}
    assert system.cat_file(f"{top}/data/a.csv", 1, -1) == b"\n1"
    assert system.cat_ranges([f"{top}/data/a.csv", f"{top}/config.json", f"{top}/none"], [0, 1, 0], [1, 2, 1])[:2] == [
        b"a",
        b"}",
    ]
    with fsspec.open(f"modelkeep://{top}/data/deep/b.csv", "rt", **options) as file:
        assert file.read() == "b\n2\n"
    system.get(top, str(tmp_path / "out"), recursive=True)
    fetched = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*")}
    assert {name: path.read_bytes() for name, path in fetched.items() if path.is_file()} == files


def test_nothing_can_be_written(client: Client, options: dict[str, Any], tmp_path: Path) -> None:
    publish(client, {"config.json": b"{}"})
    system = fsspec.filesystem("modelkeep", **options)
    top = f"{client.user_id}/model:v1"
    (tmp_path / "new").write_bytes(b"new")
    tries: list[Callable[[], Any]] = [
        lambda: system.open(f"{top}/new", "wb"),
        lambda: system.open(f"{top}/config.json", "ab"),
        lambda: system.put(str(tmp_path / "new"), f"{top}/new"),
        lambda: system.pipe(f"{top}/new", b"new"),
        lambda: system.mkdir(f"{top}/folder"),
        lambda: system.makedirs(f"{top}/folder"),
        lambda: system.rm(f"{top}/config.json"),
        lambda: system.rm(top, recursive=True),
        lambda: system.mv(f"{top}/config.json", f"{top}/other"),
        lambda: system.cp(f"{top}/config.json", f"{top}/other"),
        lambda: system.touch(f"{top}/new"),
        lambda: pandas.DataFrame({"a": [1]}).to_csv(f"modelkeep://{top}/new.csv", storage_options=options),
    ]
    for each in tries:
        with pytest.raises(UsageError, match="modelkeep push"):
            each()
    system.invalidate_cache()
    assert system.find(top) == [f"{top}/config.json"]
    assert system.cat(f"{top}/config.json") == b"{}"
