"""Tensors by a file's header, and headers that lie."""

from __future__ import annotations

import json
import random
import struct
import sys
from typing import Any

import ml_dtypes
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkeep.errors import IntegrityError, ModelkeepError, UsageError
from modelkeep.names import Ref
from modelkeep.remote import RemoteFile, tensors
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tests.modelkeep.remote_fakes import REF, FakeStore, remote_of


def blob(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def load_from(store: FakeStore, names: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    def open_file(client: Any, ref: Ref) -> RemoteFile:
        return remote_of(store)

    monkeypatch.setattr(tensors, "open_file", open_file)
    return tensors.load_tensors(None, REF, names)  # type: ignore[arg-type]


KINDS = ["bool", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", "c8"]


def samples() -> dict[str, Any]:
    made = {f"a {kind}": numpy.arange(6).reshape(2, 3).astype(kind) for kind in KINDS}
    return {**made, "empty": numpy.zeros((0, 4), "f4"), "scalar": numpy.array(2.5, "f8"), "юникод": numpy.ones(3, "i1")}


def test_every_type_of_numpy_comes_as_safetensors_itself_loads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = save(samples(), metadata={"format": "np"})
    expected = load(data)
    loaded = load_from(FakeStore(data), None, monkeypatch)
    assert loaded.keys() == expected.keys()
    for name, values in expected.items():
        assert (loaded[name].dtype, loaded[name].shape) == (values.dtype, values.shape)
        assert (loaded[name] == values).all()
        assert loaded[name].flags.writeable


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_types_that_numpy_lacks_come_by_ml_dtypes(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = getattr(ml_dtypes, tensors._TYPES[dtype][1])
    values = numpy.array([0.5, 1, 2, 4], kind)
    header = {"x": {"dtype": dtype, "shape": [2, 2], "data_offsets": [0, values.nbytes]}}
    data = blob(header, values.tobytes())
    loaded = load_from(FakeStore(data), "x", monkeypatch)["x"]
    assert (loaded.dtype, loaded.shape) == (kind, (2, 2))
    assert (loaded.astype("f4") == [[0.5, 1], [2, 4]]).all()
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ModelkeepError, match="ml_dtypes") as caught:
        load_from(FakeStore(data), "x", monkeypatch)
    assert (caught.value.code, caught.value.hint) == ("missing_extra", "pip install --upgrade ml_dtypes")


def test_without_numpy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    store = FakeStore(save({"x": numpy.ones(3)}))
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ModelkeepError) as caught:
        load_from(store, None, monkeypatch)
    assert (caught.value.hint, store.asked) == ('pip install "modelkeep[tensors]"', [])


def test_unknown_types_stand_in_nobodys_way_until_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    header = {
        "odd": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]},
        "good": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
    }
    store = FakeStore(blob(header, bytes(8) + numpy.ones(2, "f4").tobytes()))
    assert (load_from(store, ["good"], monkeypatch)["good"] == 1).all()
    before = store.sent
    with pytest.raises(UsageError, match="F4"):
        load_from(store, None, monkeypatch)
    assert store.sent - before <= len(store.data)


def test_only_what_was_asked_for_is_fetched_in_its_order_and_neighbours_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {f"{number:03}": numpy.full(50_000, number, "f4") for number in range(50)}
    store = FakeStore(save(values), chunk=100_000)
    loaded = load_from(store, ["040", "003", "004", "040"], monkeypatch)
    assert list(loaded) == ["040", "003", "004"]
    assert all((loaded[name] == values[name]).all() for name in loaded)
    assert sorted(length for _, length in store.asked) == [64 * 1024, 200_000, 400_000]


def test_an_unknown_name_is_answered_with_those_like_it_before_a_tensor_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    store = FakeStore(save({f"layer.{number}.weight": numpy.ones(100_000, "f4") for number in range(3)}))
    with pytest.raises(UsageError) as caught:
        load_from(store, ["layer.1.weight", "layer.1.wight"], monkeypatch)
    assert (caught.value.code, "layer.1.weight" in str(caught.value.hint)) == ("no_such_tensor", True)
    assert store.asked == [(0, 64 * 1024)]


def test_a_header_larger_than_a_block_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {f"{'x' * 100}{number}": numpy.full(2, number, "f4") for number in range(3000)}
    store = FakeStore(save(values), chunk=100_000)
    loaded = load_from(store, [f"{'x' * 100}1234"], monkeypatch)
    assert (next(iter(loaded.values())) == 1234).all()
    assert len(store.asked) == 3


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


HOSTILE = {
    "nothing": b"",
    "too short": b"\x05\0\0",
    "a length beyond the file": blob({}, length=1 << 20),
    "a length that is negative elsewhere": blob({}, length=(1 << 64) - 1),
    "no JSON": blob(b"{nonsense"),
    "other text encodings": blob("{}".encode("utf-16")),
    "bad UTF-8": blob(b'{"\xff": 1}'),
    "nested too deep": blob(b"[" * 200_000),
    "a list": blob([]),
    "a huge number": blob(b'{"x": ' + b"9" * 10_000 + b"}"),
    "a name twice": blob(
        b'{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},'
        b' "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        bytes(8),
    ),
    "an entry that is none": blob({"x": 5}, bytes(8)),
    "no dtype": blob({"x": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "a dtype that is no text": blob({"x": entry(["F32"])}, bytes(8)),
    "a negative shape": blob({"x": entry(shape=[-1, -2])}, bytes(8)),
    "a shape of fractions": blob({"x": entry(shape=[2.0])}, bytes(8)),
    "a shape of booleans": blob({"x": entry(shape=[True, 2])}, bytes(8)),
    "a shape that is no list": blob({"x": entry(shape={"2": 2})}, bytes(8)),
    "a shape that does not fit": blob({"x": entry(shape=[3])}, bytes(8)),
    "a shape larger than any": blob({"x": entry(shape=[1 << 62, 1 << 62, 0], offsets=[0, 0])}),
    "a shape of too many dimensions": blob({"x": entry(shape=[1] * 100 + [2])}, bytes(8)),
    "one offset": blob({"x": entry(offsets=[0])}, bytes(8)),
    "three offsets": blob({"x": entry(offsets=[0, 4, 8])}, bytes(8)),
    "negative offsets": blob({"x": entry(offsets=[-8, 0])}, bytes(8)),
    "offsets the wrong way": blob({"x": entry(offsets=[8, 0])}, bytes(8)),
    "offsets beyond the end": blob({"x": entry(offsets=[0, 16], shape=[4])}, bytes(8)),
    "offsets far beyond the end": blob({"x": entry(offsets=[1 << 70, (1 << 70) + 8])}, bytes(8)),
    "overlapping": blob({"x": entry(), "y": entry(offsets=[4, 12])}, bytes(12)),
    "the same bytes": blob({"x": entry(), "y": entry()}, bytes(8)),
    "a hole": blob({"x": entry(), "y": entry(offsets=[12, 20])}, bytes(20)),
    "a hole at the start": blob({"x": entry(offsets=[4, 12])}, bytes(12)),
    "bytes that are nobody's": blob({"x": entry()}, bytes(9)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_header_that_lies_is_refused_and_no_tensor_is_fetched(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FakeStore(HOSTILE[what])
    with pytest.raises(IntegrityError) as caught:
        load_from(store, None, monkeypatch)
    assert caught.value.code == "bad_safetensors"
    assert store.sent <= len(store.data)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**31), st.binary(min_size=1, max_size=3))
def test_whatever_a_damaged_header_says_the_answer_is_ours_or_safetensors_own(seed: int, noise: bytes) -> None:
    good = save({"a": numpy.arange(4, dtype="i4"), "b": numpy.ones((2, 3), "f8")})
    place = random.Random(seed).randrange(len(good) - len(noise))
    data = good[:place] + noise + good[place + len(noise) :]
    try:
        found = tensors.read_header(remote_of(FakeStore(data)))
    except IntegrityError:
        return
    try:
        expected = load(data)
    except (SafetensorError, KeyError):
        # Stricter than we are in what does not matter here (spaces, keys that nobody knows, types).
        assert all(8 < info.start <= info.start + info.size <= len(data) for info in found.values())
        return
    assert {name: info.shape for name, info in found.items()} == {name: a.shape for name, a in expected.items()}
