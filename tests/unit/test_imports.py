"""What each function imports from others: the exact set, as every package costs time at every cold start."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTIONS = sorted(each.parent.name for each in ROOT.glob("functions/*/app.py"))

# pynamodb and what it needs (botocore with dateutil, six, jmespath, urllib3).
TABLE = {"pynamodb", "botocore", "dateutil", "six", "jmespath", "urllib3", "typing_extensions"}
# Of botocore it is the bare package here, without a module: Powertools says who it is in requests.
LOGS = {"aws_lambda_powertools", "botocore", "jmespath", "typing_extensions"}
TOKENS = {"jwt", "cryptography", "_cffi_backend"}
# fastapi and what it needs; mangum between it and Lambda.
HTTP = {
    "annotated_doc",
    "annotated_types",
    "anyio",
    "fastapi",
    "mangum",
    "opentelemetry",
    "pydantic",
    "pydantic_core",
    "python_multipart",
    "starlette",
    "typing_extensions",
    "typing_inspection",
}
# isal: who reads, writes or unpacks ZIPs, or hashes what goes into the store.
BYTES = {"isal"}
WORKERS = ("receive_upload", "sweep_uploads", "build_archive", "verify_files")
WITH_BYTES = ("abort_upload", "complete_upload", "download_model", "upload_folder", "upload_single", *WORKERS)
WITH_PATHS = ("add_files", "start_upload")  # which hold a path against the rules of ZIPs

CHILD = """
import json, sys
before = set(sys.modules)
import functions.{name}.app
tops = set()
for name, module in list(sys.modules.items()):
    if name not in before and "site-packages" in (getattr(module, "__file__", None) or ""):
        tops.add(name.partition(".")[0])
# urllib3 asks `backports` for zstd; the tests' environment has a package of that name, with another thing in it.
if not any(name.startswith("backports.") for name in sys.modules):
    tops.discard("backports")
unwanted = [name for name in ("boto3", "s3transfer", "aws_xray_sdk") if name in sys.modules]
made = []
if "botocore.session" in sys.modules:
    import gc
    from botocore.client import BaseClient
    from botocore.session import Session
    gc.unfreeze()
    made = [str(each) for each in gc.get_objects() if isinstance(each, (BaseClient, Session))]
forms = "registry.web.forms" in sys.modules or "registry.schemas.forms" in sys.modules
print(json.dumps([sorted(tops), unwanted, made, forms]))
"""


def expected(name: str) -> set[str]:
    if name == "answer_options":
        return set()
    if name == "authenticate_request":
        return LOGS | TOKENS
    if name in WORKERS:
        return TABLE | LOGS | BYTES
    return TABLE | LOGS | HTTP | (BYTES if name in (*WITH_BYTES, *WITH_PATHS) else set())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_imports_these_packages_and_no_other(name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("REGISTRY_", "AWS_"))}
    environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'layers/registry'}"
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(name=name)], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    packages, unwanted, made, forms = json.loads(done.stdout)
    assert set(packages) - {"certifi"} == expected(name)  # which botocore takes where it is installed: not in the layer
    assert not unwanted, "these are imported at first use"
    assert not made, "clients are made at first use"
    assert forms == name.startswith("upload_")


# What runs code that is in a model's file, or would only be wanted to load one.
LOADERS = {
    *("pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "numpy", "torch"),
    *("tensorflow", "keras", "h5py", "onnx", "onnxruntime", "safetensors", "sklearn", "transformers", "gguf", "yaml"),
}


@pytest.mark.case("M12")
def test_nothing_that_is_deployed_imports_what_loads_models() -> None:
    sources = [*ROOT.glob("functions/**/*.py"), *ROOT.glob("layers/registry/**/*.py")]
    assert len(sources) > 100
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            imported = []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "__import__"), source
            tops = {name.partition(".")[0] for name in imported}
            assert not tops & LOADERS, source
