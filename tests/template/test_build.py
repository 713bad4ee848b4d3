"""What `sam build` ships: of ours the package and one file a function, and layers that really import."""

from __future__ import annotations

import importlib.util
import marshal
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.template.loading import ROOT, functions_of, load_template

SAM = ROOT / ".venv-sam" / "bin" / "sam"
FOLDERS = sorted(functions_of(load_template()))


def logical_id(folder: str) -> str:
    return folder.title().replace("_", "") + "Function"


def make(target: str, makefile: Path, folder: Path, artifacts: Path, runtime: str = "python3.0") -> str:
    """As SAM's builder calls it; what it says."""
    artifacts.mkdir()
    command = ["make", "--silent", "--makefile", str(makefile), target]
    environment = {**os.environ, "ARTIFACTS_DIR": str(artifacts), "RUNTIME": runtime}
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_the_layer_of_our_code_is_the_package_and_nothing_else(tmp_path: Path):
    layer = ROOT / "layers" / "registry"
    said = make("build-RegistryLayer", layer / "Makefile", layer, tmp_path / "layer")
    built = {path.relative_to(tmp_path / "layer" / "python") for path in (tmp_path / "layer").rglob("*.*")}
    assert Path("registry/__init__.py") in built
    assert built == {
        path.relative_to(layer) for path in (layer / "registry").rglob("*.*") if "pycache" not in str(path)
    }
    assert [path.name for path in (tmp_path / "layer" / "python").iterdir()] == ["registry"]
    assert "No python3.0 on this machine" in said


def test_where_the_machine_has_the_targets_python_bytecode_goes_along(tmp_path: Path):
    layer, here = ROOT / "layers" / "registry", f"python3.{sys.version_info.minor}"
    made = tmp_path / "layer"
    assert not make("build-RegistryLayer", layer / "Makefile", layer, made, here)
    sources = {path.relative_to(made) for path in made.rglob("*.py")}
    compiled = {Path(importlib.util.source_from_cache(path)).relative_to(made) for path in made.rglob("*.pyc")}
    assert compiled == sources
    # It is read though its source was touched since, says where the code lies on Lambda, and has no date in it.
    settings = made / "python/registry/settings.py"
    code = Path(importlib.util.cache_from_source(str(settings))).read_bytes()
    assert int.from_bytes(code[4:8], "little") == 0b01
    assert marshal.loads(code[16:]).co_filename == "/opt/python/registry/settings.py"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_function_is_its_app_alone(folder: str, tmp_path: Path):
    makefile = ROOT / "layers" / "registry" / "Makefile"
    make(f"build-{logical_id(folder)}", makefile, ROOT / "functions" / folder, tmp_path / "built")
    assert [path.name for path in (tmp_path / "built").rglob("*")] == ["app.py"]


def test_every_function_is_built_by_that_makefile():
    for name, resource in load_template()["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            assert resource["Metadata"] == {"BuildMethod": "makefile", "ContextPath": "layers/registry"}, name


def test_compose_pins_its_images_and_listens_on_loopback_alone():
    for service in yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].values():
        tag = service["image"].rpartition(":")[2]
        assert tag[0].isdigit() or tag.startswith("RELEASE.")
        assert service["healthcheck"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.long
def test_every_function_imports_from_layers_built_for_this_machine(tmp_path: Path):
    if not SAM.exists():
        pytest.skip("the SAM CLI is not installed: make build")
    runtime = f"python3.{sys.version_info.minor}"
    machine = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    if sys.platform != "linux":
        pytest.skip("the layer is for Linux")
    command = [
        SAM,
        "build",
        "--build-dir",
        tmp_path / "build",
        "--cache-dir",
        tmp_path / "cache",
        "--parameter-overrides",
    ]
    subprocess.run(
        [*map(str, command), f"PythonRuntime={runtime} Architecture={machine}"],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "PATH": f"{SAM.parent}{os.pathsep}{os.environ['PATH']}",
            "RUNTIME": runtime,
            "ARCHITECTURE": machine,
            "SAM_CLI_TELEMETRY": "0",
            "AWS_DEFAULT_REGION": "us-east-1",
        },
        check=True,
    )
    layers = [tmp_path / "build" / layer / "python" for layer in ("DependenciesLayer", "RegistryLayer")]
    for folder in FOLDERS:
        built = tmp_path / "build" / logical_id(folder)
        # -S: none of this environment's packages, as on Lambda.
        subprocess.run(
            [sys.executable, "-S", "-c", "import app; app.lambda_handler"],
            cwd=built,
            env={"PYTHONPATH": os.pathsep.join(map(str, layers)), "PYTHONDONTWRITEBYTECODE": "1"},
            check=True,
        )
    shutil.rmtree(tmp_path / "build")
