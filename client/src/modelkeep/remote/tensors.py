"""Single tensors of a safetensors file, by ranges: its header says where each lies. The header is not believed.

The format: https://github.com/huggingface/safetensors#format. Eight bytes, the header's length (little-endian); the
header, JSON; the tensors' bytes, one after the other without holes.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from modelkeep.errors import IntegrityError, ModelkeepError, UsageError
from modelkeep.names import Ref
from modelkeep.remote import RemoteFile, open_file

if TYPE_CHECKING:
    import numpy

    from modelkeep.client import Client

MAX_HEADER = 100_000_000  # bytes, by the format
_MAX_DIMENSIONS = 32  # numpy's
# How many bytes an element has, and what numpy (little-endian) or ml_dtypes calls it.
_TYPES = {
    "BOOL": (1, "?"),
    "U8": (1, "u1"),
    "I8": (1, "i1"),
    "U16": (2, "<u2"),
    "I16": (2, "<i2"),
    "F16": (2, "<f2"),
    "U32": (4, "<u4"),
    "I32": (4, "<i4"),
    "F32": (4, "<f4"),
    "U64": (8, "<u8"),
    "I64": (8, "<i8"),
    "F64": (8, "<f8"),
    "C64": (8, "<c8"),
    "BF16": (2, "bfloat16"),
    "F8_E4M3": (1, "float8_e4m3fn"),
    "F8_E5M2": (1, "float8_e5m2"),
    "F8_E4M3FNUZ": (1, "float8_e4m3fnuz"),
    "F8_E5M2FNUZ": (1, "float8_e5m2fnuz"),
    "F8_E8M0": (1, "float8_e8m0fnu"),
}


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as the header has it: its type (`F32`, `BF16`, …), its shape, and where its bytes begin in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int  # bytes


def load_tensors(client: Client, ref: Ref, names: Iterable[str] | None) -> dict[str, numpy.ndarray[Any, Any]]:
    """These tensors (None: all) in the order asked for; bfloat16 and float8 need `ml_dtypes`. UsageError for a name
    that is none, before a tensor's byte is fetched; IntegrityError for a file that is no good safetensors file."""
    import_numpy()
    with open_file(client, ref) as file:
        header = read_header(file)
        wanted = list(header) if names is None else list(dict.fromkeys([names] if isinstance(names, str) else names))
        for name in wanted:
            if name not in header:
                raise _unknown(name, header, file)
        arrays = {name: _empty(name, header[name]) for name in wanted}
        file.fill_ranges([(header[name].start, _bytes_of(array)) for name, array in arrays.items() if array.size])
        return arrays


def read_infos(client: Client, ref: Ref) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file; no byte of theirs is fetched."""
    with open_file(client, ref) as file:
        return read_header(file)


def import_numpy() -> Any:
    """The module; ModelkeepError where it is not installed."""
    try:
        import numpy
    except ImportError as error:
        raise ModelkeepError(
            "tensors need numpy", code="missing_extra", hint='pip install "modelkeep[tensors]"'
        ) from error
    return numpy


def read_header(file: RemoteFile) -> dict[str, TensorInfo]:
    """The tensors by name, in the file's order; IntegrityError for a header that does not fit the file."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if file.size < 8 or length > min(MAX_HEADER, file.size - 8):
        raise _bad(file, "it does not begin with a header")
    raw = file.read(length)
    try:
        said = json.loads(raw.decode("utf-8"), object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        raise _bad(file, "its header is not JSON") from error
    if not isinstance(said, dict):
        raise _bad(file, "its header is not a JSON object")
    said.pop("__metadata__", None)
    begin = 8 + length
    found = {name: _info(file, name, entry, begin) for name, entry in said.items()}
    end = begin
    for name, info in sorted(found.items(), key=lambda each: (each[1].start, each[1].size)):
        if info.start != end:
            raise _bad(file, f"{name!r} does not begin where the tensor before it ends")
        end += info.size
    if end != file.size:
        raise _bad(file, f"its tensors have {end - begin} bytes, and it holds {file.size - begin}")
    return dict(sorted(found.items(), key=lambda each: (each[1].start, each[1].size)))


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name twice")
    return made


def _info(file: RemoteFile, name: str, entry: Any, begin: int) -> TensorInfo:
    said = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = said.get("dtype"), _counts(said.get("shape")), _counts(said.get("data_offsets"))
    if not isinstance(dtype, str) or shape is None or offsets is None or len(offsets) != 2:
        raise _bad(file, f"{name!r} has no good dtype, shape and data_offsets")
    first, last = offsets
    if not first <= last <= file.size - begin:
        raise _bad(file, f"{name!r} lies outside the file")
    # numpy multiplies the others too where one is zero.
    if len(shape) > _MAX_DIMENSIONS or math.prod(filter(None, shape)) >= 1 << 56:
        raise _bad(file, f"{name!r} has an impossible shape")
    if dtype in _TYPES and math.prod(shape) * _TYPES[dtype][0] != last - first:
        raise _bad(file, f"{name!r} has other bytes than its dtype and shape say")
    return TensorInfo(dtype, shape, begin + first, last - first)


def _counts(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, list) and all(type(each) is int and each >= 0 for each in value):
        return tuple(value)
    return None


def _empty(name: str, info: TensorInfo) -> numpy.ndarray[Any, Any]:
    if info.dtype not in _TYPES:
        raise UsageError(f"{name!r} is of type {info.dtype}, which numpy does not have", code="bad_dtype")
    called = _TYPES[info.dtype][1]
    np = import_numpy()
    if "float" not in called:
        return cast("numpy.ndarray[Any, Any]", np.empty(info.shape, called))
    try:
        import ml_dtypes

        return cast("numpy.ndarray[Any, Any]", np.empty(info.shape, getattr(ml_dtypes, called)))
    except (ImportError, AttributeError) as error:
        raise ModelkeepError(
            f"{name!r} is of type {info.dtype}, which numpy has only with ml_dtypes",
            code="missing_extra",
            hint="pip install --upgrade ml_dtypes",
        ) from error


def _bytes_of(array: numpy.ndarray[Any, Any]) -> memoryview:
    return memoryview(array.reshape(-1).view("u1"))  # type: ignore[arg-type]


def _unknown(name: str, header: dict[str, TensorInfo], file: RemoteFile) -> UsageError:
    near = difflib.get_close_matches(name, header, n=3) or list(header)[:3]
    hint = f"It has {len(header)} tensors" + (f", among them {', '.join(near)}." if near else ".")
    return UsageError(f"{file.name} has no tensor {name!r}", code="no_such_tensor", hint=hint)


def _bad(file: RemoteFile, why: str) -> IntegrityError:
    return IntegrityError(
        f"{file.name} is not a good safetensors file: {why}",
        code="bad_safetensors",
        hint="It was published so: tell its owner.",
    )
