"""What a file is by its path: type, framework, the primary one, what its requirements name."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import files
from registry.files import StoredFile

settings.register_profile("unhurried", deadline=None)  # others work on this machine too
settings.load_profile("unhurried")


def stored(path: str, size: int = 1) -> StoredFile:
    return StoredFile(path, size, "0" * 64, "etag")


def primary(*paths: str | tuple[str, int]) -> str | None:
    listed = [stored(path) if isinstance(path, str) else stored(*path) for path in paths]
    chosen = {files.choose_primary(random.Random(seed).sample(listed, len(listed))) for seed in range(5)}
    assert len(chosen) == 1, "the order in which files come decides"
    return chosen.pop()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        *[
            (f"m{suffix}", "model")
            for suffix in [".pkl", ".joblib", ".onnx", ".h5", ".hdf5", ".pb", ".pth", ".pt", ".bin", ".safetensors"]
        ],
        ("M.PKL", "model"),
        ("a.b/c.PtH", "model"),
        ("config.json", "configuration"),
        ("a/b.yaml", "configuration"),
        ("a/b.yml", "configuration"),
        ("requirements.txt", "requirements"),
        ("w/requirements-dev.txt", "requirements"),
        ("Requirements.TXT", "requirements"),
        ("notes.txt", "documentation"),
        ("requirements/notes.txt", "documentation"),
        ("my-requirements.txt", "documentation"),
        ("README.md", "documentation"),
        ("requirements.md", "documentation"),
        ("model", "other"),
        ("pkl", "other"),
        (".pkl", "other"),
        ("model.pkl.bak", "other"),
        ("model.pkl/readme", "other"),
        ("page.html", "other"),
        ("model.", "other"),
    ],
)
def test_a_files_type_is_told_by_its_name(path, kind):
    assert files.type_of(path) == kind


@pytest.mark.parametrize(
    ("path", "framework"),
    [
        ("m.pkl", "sklearn"),
        ("m.joblib", "sklearn"),
        ("m.onnx", "onnx"),
        ("m.h5", "keras"),
        ("m.hdf5", "keras"),
        ("m.pb", "tensorflow"),
        ("m.pth", "pytorch"),
        ("m.pt", "pytorch"),
        ("m.bin", "huggingface"),
        ("m.safetensors", "huggingface"),
        ("a.pt/M.ONNX", "onnx"),
        ("m.json", "other"),
        ("m", "other"),
        (None, "other"),
    ],
)
def test_the_primary_files_extension_tells_the_framework(path, framework):
    assert files.detect_framework(path) == framework


def test_the_only_file_is_the_primary_one_whatever_it_is():
    assert primary("readme.md") == "readme.md"
    assert primary("w/optimizer.pt") == "w/optimizer.pt"


def test_no_model_file_no_primary_one():
    assert primary("a.json", "b.txt") is None
    assert files.choose_primary([]) is None


def test_the_least_deep_model_file_is_the_primary_one():
    assert primary("w/x/big.pt", ("top.pkl", 1), ("w/bigger.pt", 99)) == "top.pkl"
    assert primary(("a/b/c.pt", 99), "a/z.pt", "readme.md") == "a/z.pt"
    assert primary(("a/model.pt", 9), ("optimizer.pt", 1)) == "optimizer.pt"  # depth comes first


@pytest.mark.parametrize(
    "beside", ["optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state_0.pth", "Optimizer.bin"]
)
def test_what_training_leaves_beside_a_model_comes_last(beside):
    assert primary((beside, 10**9), ("model.bin", 1)) == "model.bin"
    assert primary((f"w/{beside}", 10**9), ("w/model.bin", 1)) == "w/model.bin"
    assert primary((beside, 1), "config.json") == beside


def test_then_the_largest_is_the_primary_one_and_ties_are_broken_by_path():
    assert primary(("a.pt", 5), ("b.pt", 7), ("c.pt", 6)) == "b.pt"
    assert primary(("b.pt", 7), ("a.pt", 7)) == "a.pt"
    assert primary(("optimizer_a.pt", 7), ("optimizer.pt", 7), ("optimizer_z.pt", 6)) == "optimizer.pt"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["a.pt", "b.pt", "w/a.pt", "w/c.bin", "optimizer.pt", "w/rng_state.pth", "x.md", "y/z.json"]
            ),
            st.integers(0, 3),
        ),
        min_size=1,
        unique_by=lambda pair: pair[0],
    )
)
def test_the_primary_file_is_the_first_by_the_rule(listed):
    chosen = files.choose_primary([stored(*pair) for pair in listed])
    models = [pair for pair in listed if files.type_of(pair[0]) == "model"]
    if len(listed) == 1:
        assert chosen == listed[0][0]
    elif not models:
        assert chosen is None
    else:
        depth = min(path.count("/") for path, _ in models)
        left = [pair for pair in models if pair[0].count("/") == depth]
        beside = ("optimizer", "scheduler", "training_args", "rng_state")
        left = [pair for pair in left if not pair[0].rsplit("/")[-1].startswith(beside)] or left
        size = max(size for _, size in left)
        assert chosen == min(path for path, each in left if each == size)


def test_the_least_deep_requirements_are_found():
    assert files.find_requirements(["a/b/requirements.txt", "z/requirements.txt", "a/requirements-dev.txt"]) == (
        "z/requirements.txt"
    )
    assert files.find_requirements(["a/requirements.txt", "requirements.txt"]) == "requirements.txt"
    assert files.find_requirements(["requirements.in", "x.txt"]) is None


def test_requirements_are_a_line_each_without_what_is_not_theirs():
    text = (
        "# all of it\r\nnumpy==1.26  # pinned\n\n  torch>=2 ; python_version < '3.12'\n-r other.txt\n"
        "--index-url https://user:secret@example.com/simple\n-e .\n"
        "scipy==1 --hash=sha256:aa \\\n    --hash=sha256:bb\npkg @ https://example.com/pkg.whl#sha256=1\n   \t\n"
    )
    assert files.parse_requirements(text) == [
        "numpy==1.26",
        "torch>=2 ; python_version < '3.12'",
        "scipy==1",
        "pkg @ https://example.com/pkg.whl#sha256=1",
    ]


@given(st.text(max_size=2_000))
def test_any_text_gives_requirements_that_metadata_can_hold(text):
    from registry.schemas.requests import VersionFields

    found = files.parse_requirements(text)
    assert VersionFields(dependencies=found).dependencies == found


def test_at_most_500_requirements_are_read():
    assert len(files.parse_requirements("\n".join(f"p{number}" for number in range(2_000)))) == 500


@given(st.text(), st.integers(0), st.one_of(st.none(), st.integers(0, 2**32 - 1)), st.one_of(st.none(), st.text()))
def test_unpacking_undoes_packing(path, size, crc32, description):
    file = StoredFile(path, size, "ab" * 32, "e", crc32, description)
    assert StoredFile.unpack(file.pack()) == file


def test_content_types_are_for_programs_and_never_empty():
    assert files.content_type_of("a.json") == "application/json"
    assert files.content_type_of("a.md") == "text/markdown"
    assert files.content_type_of("a.yml") == "application/yaml"
    for path in ("a", "a.safetensors", "a.unknownkind", ".json"):
        assert files.content_type_of(path) == "application/octet-stream"
