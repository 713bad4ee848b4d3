"""Who moves files between this machine and the store, one method each: for `transfer.py`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import Measured, measure
from benchmarks.mlflow_peer import BUCKET, DOWN, UP
from tests.end_to_end.running import PROJECT, Server

USER = "bench"
AT_ONCE = 8  # curl's connections for many files, as our client has threads
SDK = """
import sys, time
import modelkeep
phases, began = {}, time.perf_counter()
def note(progress):
    phases.setdefault(progress.phase, time.perf_counter())
with modelkeep.Client() as client:
    began = time.perf_counter()
    client.%s(sys.argv[1], sys.argv[2], **({"on_progress": note} if "%s" == "push" else {}))
    ended = time.perf_counter()
    print("CALL", ended - began)
marks = sorted(phases.items(), key=lambda each: each[1])
for (name, start), (_, end) in zip(marks, marks[1:] + [("", ended)]):
    print("PHASE", name, end - start)
"""


@dataclass
class Source:
    """A file or a folder of files, and what it must be after a journey."""

    path: Path
    size: int
    digests: dict[str, str]

    @classmethod
    def of(cls, path: Path) -> Source:
        """What lies there."""
        files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
        return cls(path, sum(each.stat().st_size for each in files), {each.name: sha256(each) for each in files})

    @property
    def files(self) -> list[Path]:
        """Each of them."""
        return [self.path] if self.path.is_file() else sorted(each for each in self.path.rglob("*") if each.is_file())

    def check(self, folder: Path) -> None:
        """All of it is there, whole; then away with it."""
        found = {path.name: path for path in folder.rglob("*") if path.is_file() and path.name in self.digests}
        if {name: sha256(path) for name, path in found.items()} != self.digests:
            raise SystemExit(f"what lies in {folder} is not what was sent")
        shutil.rmtree(folder)


def sha256(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Bench:
    """One registry, and a folder for what a run needs."""

    def __init__(self, server: Server, folder: Path) -> None:
        import boto3

        self.server, self.folder = server, folder
        said = json.loads((server.data / "credentials.json").read_text())
        self.store = f"127.0.0.1:{server.ports.s3}"
        self.s3: Any = boto3.client(
            "s3",
            endpoint_url=f"http://{self.store}",
            aws_access_key_id=said["access_key"],
            aws_secret_access_key=said["secret_key"],
            region_name="us-east-1",
        )
        self.s3.create_bucket(Bucket=BUCKET)
        self._number = 0

    def fresh(self, name: str) -> Path:
        """A folder that nobody has used."""
        self._number += 1
        made = self.folder / f"{name}-{self._number}"
        made.mkdir()
        return made

    def environment(self, home: Path, **further: str) -> dict[str, str]:
        """For our client."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELKEEP_", "AWS_"))}
        ours = {"PYTHONPATH": str(PROJECT / "client/src"), "MODELKEEP_URL": self.server.url}
        return {**kept, **ours, "MODELKEEP_HOME": str(home), **further}

    def push(self, into: Measured | None, source: Source, ref: str, home: Path, **further: str) -> None:
        """By the command."""
        command = [sys.executable, "-m", "modelkeep", "push", str(source.path), f"{USER}/{ref}"]
        measure(into, command, self.environment(home, **further))

    def push_by_sdk(self, into: Measured, source: Source, ref: str, home: Path) -> dict[str, float]:
        """By the API; how long each phase took."""
        command = [sys.executable, "-c", SDK.replace("%s", "push"), str(source.path), f"{USER}/{ref}"]
        said = measure(into, command, self.environment(home))
        lines = [line.split() for line in said.splitlines() if line.startswith("PHASE ")]
        return {name: float(seconds) for _, name, seconds in lines}

    def pull(self, into: Measured, source: Source, ref: str) -> None:
        """By the command, with nothing cached."""
        target, home = self.fresh("pulled"), self.fresh("home")
        measure(
            into,
            [sys.executable, "-m", "modelkeep", "pull", f"{USER}/{ref}", "-o", str(target)],
            self.environment(home),
        )
        source.check(target)
        shutil.rmtree(home)

    def pull_by_sdk(self, into: Measured, source: Source, ref: str) -> None:
        """By the API, with nothing cached."""
        target, home = self.fresh("pulled"), self.fresh("home")
        command = [sys.executable, "-c", SDK.replace("%s", "pull"), f"{USER}/{ref}", str(target)]
        measure(into, command, self.environment(home))
        source.check(target)
        shutil.rmtree(home)

    def curl_up(self, into: Measured, source: Source) -> None:
        """A PUT of each file, to a presigned URL."""
        lines = []
        for path in source.files:
            lines += [f'upload-file = "{path}"', f'url = "{self._sign("put_object", path)}"', 'output = "/dev/null"']
        self._curl(into, lines)

    def curl_down(self, into: Measured, source: Source) -> None:
        """A GET of each file, from a presigned URL."""
        target, lines = self.fresh("curled"), []
        for path in source.files:
            lines += [f'output = "{target / path.name}"', f'url = "{self._sign("get_object", path)}"']
        self._curl(into, lines)
        source.check(target)

    def _sign(self, operation: str, path: Path) -> str:
        return str(self.s3.generate_presigned_url(operation, Params={"Bucket": BUCKET, "Key": f"curl/{path.name}"}))

    def _curl(self, into: Measured, lines: list[str]) -> None:
        configuration = self.folder / "curl.conf"
        configuration.write_text("\n".join(lines) + "\n")
        at_once = ["-Z", "--parallel-max", str(AT_ONCE)] if len(lines) > 3 else []
        measure(into, ["curl", "-sS", "--fail", *at_once, "-K", str(configuration)], dict(os.environ))

    def mlflow_up(self, into: Measured, source: Source, python: str, environment: dict[str, str]) -> str:
        """A run with these artifacts; where they lie."""
        said = measure(into, [python, "-c", UP, str(source.path)], environment)
        return next(line.split()[1] for line in said.splitlines() if line.startswith("RUN "))

    def mlflow_down(self, into: Measured, source: Source, place: str, python: str, environment: dict[str, str]) -> None:
        """All artifacts of a run."""
        target = self.fresh("mlflowed")
        measure(into, [python, "-c", DOWN, place, str(target)], environment)
        source.check(target)

    def clean(self, client: Any, *refs: str) -> None:
        """What a run left in the store goes, so that the next one has to send it all."""
        for ref in refs:
            client.delete(f"{USER}/{ref}")
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            if keys := [{"Key": entry["Key"]} for entry in page.get("Contents", [])]:
                self.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys})


class Processor:
    """What the registry's process, the store's and the table's have taken of the processor, by name."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = self._now()

    def taken(self) -> dict[str, float]:
        """Since this was made."""
        return {name: seconds - self._before.get(name, 0.0) for name, seconds in self._now().items()}

    def _now(self) -> dict[str, float]:
        main = self._server.process
        found = {"registry": sum(main.cpu_times()[:2])}
        for child in main.children(recursive=True):
            command = " ".join(child.cmdline())
            name = "table" if "dynamodb" in command else "events" if "meta.tail" in command else "store"
            found[name] = found.get(name, 0.0) + sum(child.cpu_times()[:2])
        return found


def curl_version() -> str:
    """The program's."""
    return subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
