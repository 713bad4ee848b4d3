"""What a file is, told by its path alone: files are never opened, loaded or believed."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from registry.schemas.words import Framework

FileType = Literal["model", "configuration", "requirements", "documentation", "other"]

FRAMEWORK_BY_SUFFIX: dict[str, Framework] = {
    ".pkl": "sklearn",
    ".joblib": "sklearn",
    ".onnx": "onnx",
    ".h5": "keras",
    ".hdf5": "keras",
    ".pb": "tensorflow",
    ".pth": "pytorch",
    ".pt": "pytorch",
    ".bin": "huggingface",
    ".safetensors": "huggingface",
}
# What training leaves beside a model; such a file is the primary one only if there is no other.
_BESIDE_A_MODEL = ("optimizer", "scheduler", "training_args", "rng_state")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file whose bytes lie under its version's prefix and hash to `sha256`; `crc32` where it is known."""

    path: str
    size: int
    sha256: str
    etag: str
    crc32: int | None = None
    description: str | None = None

    def pack(self) -> list[Any]:
        """The shortest JSON that holds it: a version may have 50,000."""
        return [self.path, self.size, self.sha256, self.etag, self.crc32, self.description]

    @classmethod
    def unpack(cls, packed: list[Any]) -> StoredFile:
        """The inverse of `pack`."""
        return cls(*packed)


def name_of(path: str) -> str:
    """The last segment."""
    return path.rsplit("/", 1)[-1]


def suffix_of(path: str) -> str:
    """`.onnx` of `a/B.ONNX`; empty where there is none."""
    name = name_of(path).lower()
    return name[name.rindex(".") :] if "." in name[1:] else ""


def type_of(path: str) -> FileType:
    """The contract's `file_type`."""
    suffix = suffix_of(path)
    if suffix in FRAMEWORK_BY_SUFFIX:
        return "model"
    if suffix in (".json", ".yaml", ".yml"):
        return "configuration"
    if suffix == ".txt":
        return "requirements" if name_of(path).lower().startswith("requirements") else "documentation"
    return "documentation" if suffix == ".md" else "other"


def content_type_of(path: str) -> str:
    """A MIME type for programs to read; downloads never send it as the answer's own (docs/design.md, section 4)."""
    known = {
        ".json": "application/json",
        ".yaml": "application/yaml",
        ".yml": "application/yaml",
        ".md": "text/markdown",
    }
    suffix = suffix_of(path)
    return known.get(suffix) or mimetypes.types_map.get(suffix) or "application/octet-stream"


def choose_primary(files: Iterable[StoredFile]) -> str | None:
    """The path of the primary file: the only one; else among model files the least deep, then not one that training
    leaves beside a model, then the largest (ties by path); None where no file is a model."""
    candidates = list(files)
    if len(candidates) == 1:
        return candidates[0].path
    models = [file for file in candidates if type_of(file.path) == "model"]
    if not models:
        return None

    def rank(file: StoredFile) -> tuple[int, bool, int, str]:
        beside = name_of(file.path).lower().startswith(_BESIDE_A_MODEL)
        return file.path.count("/"), beside, -file.size, file.path

    return min(models, key=rank).path


def detect_framework(primary: str | None) -> Framework:
    """The framework that the primary file's extension tells, or other."""
    return FRAMEWORK_BY_SUFFIX.get(suffix_of(primary), "other") if primary else "other"


def find_requirements(paths: Iterable[str]) -> str | None:
    """The least deep `requirements.txt`, whose lines fill `dependencies`."""
    found = [path for path in paths if name_of(path) == "requirements.txt"]
    return min(found, key=lambda path: (path.count("/"), path), default=None)


def parse_requirements(text: str) -> list[str]:
    """The requirements of a `requirements.txt`: a line each, without comments, options and hashes; at most 500."""
    joined = re.sub(r"\\\r?\n", " ", text)
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
    wanted = (re.split(r"\s+--", line)[0].strip() for line in lines if line and not line.startswith("-"))
    return [line[:256] for line in wanted if line and line.isprintable()][:500]


def disposition(filename: str) -> str:
    """A Content-Disposition that saves under this name and can't break out of its header (RFC 6266, RFC 5987)."""
    plain = re.sub(r"[^A-Za-z0-9 ._()@+=,-]", "_", filename)
    if plain == filename:
        return f'attachment; filename="{filename}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
