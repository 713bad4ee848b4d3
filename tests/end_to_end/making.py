"""Real models, made by the libraries that people make them with, and folders of them."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from functools import cache
from typing import Any

REQUIREMENTS = """\
# what this model needs
scikit-learn>=1.4  # trained with 1.5
--extra-index-url https://example.com/simple
safetensors==0.4.5 \\
    --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000

numpy
"""
DEPENDENCIES = ["scikit-learn>=1.4", "safetensors==0.4.5", "numpy"]


@cache
def iris() -> tuple[Any, Any]:
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True)


@cache
def trained() -> Any:
    """A classifier, trained here and now."""
    from sklearn.linear_model import LogisticRegression

    features, labels = iris()
    return LogisticRegression(max_iter=500).fit(features, labels)


def pickled() -> bytes:
    return pickle.dumps(trained())


@cache
def onnx_bytes() -> bytes:
    """The same classifier as ONNX."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    inputs = [("features", FloatTensorType([None, 4]))]
    converted = convert_sklearn(trained(), initial_types=inputs, options={"zipmap": False})
    return bytes(converted.SerializeToString())


def weights(*, rows: int = 64) -> dict[str, Any]:
    import numpy

    generator = numpy.random.default_rng(rows)
    return {
        "layer.weight": generator.standard_normal((rows, 32), dtype=numpy.float32),
        "layer.bias": generator.standard_normal(rows, dtype=numpy.float32),
    }


def safetensors_bytes(*, rows: int = 64) -> bytes:
    from safetensors.numpy import save

    return bytes(save(weights(rows=rows)))


def h5_bytes() -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in weights().items():
            file.create_dataset(name.replace(".", "/"), data=values, compression="gzip")
    return buffer.getvalue()


def folder() -> dict[str, bytes]:
    """A model as people keep it."""
    return {
        "weights/model.safetensors": safetensors_bytes(rows=512),
        "weights/optimizer.safetensors": safetensors_bytes(rows=1024),
        "weights/head.safetensors": safetensors_bytes(rows=16),
        "config.json": b'{"hidden_size": 32}',
        "requirements.txt": REQUIREMENTS.encode(),
        "README.md": "# Модель\n".encode(),
    }


def zipped(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def opened(data: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(data))
