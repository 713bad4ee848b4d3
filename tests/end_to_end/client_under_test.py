"""The `modelkeep` client against the suite's registry: in this process, or its command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import modelkeep
from modelkeep.config import Config, Home

from tests.end_to_end.running import PROJECT, Server
from tests.end_to_end.targets import Target

# Where the target's name is one of *.localhost, which not every system's resolver knows.
RESOLVING = (
    "-c",
    "import runpy; from tests.end_to_end.targets import resolve_localhost; resolve_localhost(); "
    "runpy.run_module('modelkeep', run_name='__main__', alter_sys=True)",
)


def home_in(folder: Path) -> Home:
    """As MODELKEEP_HOME=folder has it."""
    return Home(folder, folder / "state", folder / "cache")


def sdk(server: Server | Target, user_id: str, home: Path) -> modelkeep.Client:
    """A client of the registry as that user, who remembers in `home`."""
    token = server.token(user_id) if isinstance(server, Target) and server.issuer else None
    return modelkeep.Client(server.url, token, config=Config(home_in(home)))


def environment(server: Server | Target, user_id: str, home: Path) -> dict[str, str]:
    """What a shell has where the command runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELKEEP_")}
    token = {"MODELKEEP_TOKEN": server.token(user_id)} if isinstance(server, Target) and server.issuer else {}
    return {
        **kept,
        **token,
        "PYTHONPATH": os.pathsep.join([str(PROJECT / "client/src"), str(PROJECT)]),
        "MODELKEEP_URL": server.url,
        "MODELKEEP_HOME": str(home),
    }


def start(
    server: Server | Target, user_id: str, home: Path, *arguments: str, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """`modelkeep ARGUMENTS`, without a terminal, still running. `variables`: further ones of its environment."""
    return subprocess.Popen(
        [sys.executable, *(RESOLVING if isinstance(server, Target) else ("-m", "modelkeep")), *arguments],
        env={**environment(server, user_id, home), **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    server: Server | Target,
    user_id: str,
    home: Path,
    *arguments: str,
    seconds: float = 120,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """`modelkeep ARGUMENTS`, without a terminal, to its end, whatever that is."""
    process = start(server, user_id, home, *arguments, variables=variables)
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
