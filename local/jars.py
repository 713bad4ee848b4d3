"""DynamoDB Local's Java archives: fetched once from Maven by jgo, each checked against `dynamodb_local.lock`."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

VERSION = "3.1.0"
_LOCK = Path(__file__).with_name("dynamodb_local.lock")
_PROJECT = Path(__file__).parent.parent
_REQUEST_TIMEOUT_SECONDS = 60
_PARALLEL_DOWNLOADS = 4


class FetchError(Exception):
    """An archive could not be fetched, or is not the one that was locked."""


def jar_folder() -> Path:
    """The folder with all the archives; fetches them (53 MB) if they are not there yet."""
    cache = Path(os.environ.get("MODELKEEP_CACHE") or _PROJECT / ".cache").absolute()
    folder = cache / f"dynamodb-local-{VERSION}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    locked = [line.split() for line in _LOCK.read_text().splitlines() if line and not line.startswith("#")]
    print(f"Fetching DynamoDB Local {VERSION} from Maven (53 MB, once, under Amazon's own licence)…", flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        repository, jars = Path(temporary) / "maven", Path(temporary) / "jars"
        jars.mkdir()
        with ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
            fetched = pool.map(lambda entry: _fetch_one(entry[1], entry[0], repository), locked)
            for count, jar in enumerate(fetched, 1):
                shutil.move(jar, jars / jar.name)
                if count % 10 == 0 or count == len(locked):
                    print(f"  {count} of {len(locked)} archives", flush=True)
        try:
            jars.rename(folder)  # all or nothing, also when two processes fetch at once
        except OSError:
            if not folder.exists():
                raise


def _fetch_one(coordinates: str, sha256: str, repository: Path) -> Path:
    from jgo.maven import MavenContext

    group, artifact, version = coordinates.split(":")
    context = MavenContext(repo_cache=repository, local_repos=[], timeout=_REQUEST_TIMEOUT_SECONDS)
    jar = context.project(group, artifact).at_version(version).artifact()
    for attempt in (1, 2, 3):
        try:
            path = jar.resolve()
            break
        except Exception as exc:  # jgo raises whatever its HTTP layer raises
            if jar.cached_path:
                jar.cached_path.unlink(missing_ok=True)  # half a file
            if attempt == 3:
                raise FetchError(
                    f"Maven did not give {coordinates}: {exc}\n"
                    "The first start needs the network (HTTPS_PROXY is honoured). Then run `make run` again."
                ) from exc
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise FetchError(f"{coordinates} from Maven is not the file that {_LOCK.name} names. Nothing of it was kept.")
    return path


def write_lock() -> None:
    """Resolve DynamoDB Local's dependencies anew and write the lock: for a new version of it."""
    from jgo.maven import MavenContext
    from jgo.parse import Coordinate

    with tempfile.TemporaryDirectory() as temporary:
        context = MavenContext(repo_cache=Path(temporary))
        root = Coordinate("software.amazon.dynamodb", "DynamoDBLocal", VERSION, scope="compile")
        inputs, transitive = context.resolver.resolve([context.create_dependency(root)])
        lines = []
        for dependency in [*inputs, *transitive]:
            if dependency.scope in ("compile", "runtime") and dependency.type == "jar":
                digest = hashlib.sha256(dependency.artifact.resolve().read_bytes()).hexdigest()
                lines.append(f"{digest}  {dependency.groupId}:{dependency.artifactId}:{dependency.version}")
    header = [line for line in _LOCK.read_text().splitlines() if line.startswith("#")]
    _LOCK.write_text("\n".join([*header, *sorted(lines, key=lambda line: line.split()[1])]) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--lock"]:
        raise SystemExit("usage: python -m local.jars --lock")
    write_lock()
