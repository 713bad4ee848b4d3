"""`pip install ./client`, as a user does it: into an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "client"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment's folder of programs. What the client needs is there already: it is what we are tested with."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-deps"]
    subprocess.run([*pip, str(CLIENT)], check=True, timeout=300)
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(ours + "\n")
    return folder / "bin"


def run(program: Path, *arguments: str) -> str:
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True, timeout=300).stdout


def test_the_command_is_there(installed: Path) -> None:
    assert run(installed / "modelkeep", "--version").split()[0] == "modelkeep"
    assert "push" in run(installed / "modelkeep", "--help")


def test_the_package_is_typed_and_without_the_server(installed: Path) -> None:
    shown = run(installed / "python", "-I", "-c", "import modelkeep; print(modelkeep.__file__)")
    package = Path(shown.strip()).parent
    assert (package / "py.typed").is_file()
    assert not (package.parent / "registry").exists()


def test_fsspec_finds_the_file_system(installed: Path) -> None:
    assert "ModelkeepFileSystem" in run(
        installed / "python", "-I", "-c", "import fsspec; print(fsspec.get_filesystem_class('modelkeep'))"
    )
