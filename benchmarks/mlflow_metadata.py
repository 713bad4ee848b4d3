"""Metadata by HTTP, beside MLflow's: get, search and create among 1,000 and 12,000 versions.

Ours is `python -m local`, as `make run` starts it (one process, DynamoDB Local); theirs `mlflow server` with one worker
over sqlite (several workers stall kept connections for 40 ms, which is not to count as our win). Every request is a new
connection to 127.0.0.1 in both, and takes turns. The same versions are in both (benchmarks/filling.py): MLflow has the
name, description, framework and tags of each; a page has 100. MLflow's database is filled through its own classes and
kept in `.cache/bench`; that is not in the figures. Times are medians of the rounds' medians, ratios medians of the
rounds' ratios.

`create` is one row in MLflow; ours is an upload of a small file, with its bytes stored and its digest verified, so that
it does more.

MLflow lives in an environment of its own (benchmarks/transfer.py); --mlflow names its Python.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from benchmarks import filling, metadata, results
from benchmarks.contending import Processor
from benchmarks.measuring import machine
from benchmarks.mlflow_peer import mlflow_server, versions
from benchmarks.results import OURS, Result
from tests.end_to_end.running import Server, running

SIZES = {"tiny": (300,), "small": (1_000,), "full": (1_000, 12_000)}
ROUNDS, CALLS = {"tiny": 2, "small": 5, "full": 5}, {"tiny": 2, "small": 7, "full": 7}
GOAL = 2.0
THEIRS = "MLflow"
FILL = """
import json, sys
from mlflow.store.model_registry.dbmodels import models
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
kinds = [models.SqlRegisteredModel, models.SqlModelVersion, models.SqlModelVersionTag]
with SqlAlchemyStore(f"sqlite:///{sys.argv[1]}").ManagedSessionMaker() as session:
    for kind, rows in zip(kinds, json.load(open(sys.argv[2]))):
        session.bulk_insert_mappings(kind, rows)
"""


@dataclass(frozen=True)
class Side:
    """One registry with so many versions."""

    url: str
    user_id: str
    names: list[tuple[str, str]]

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        """One request on a connection of its own."""
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": kind} if body else {})
            answer = connection.getresponse()
            read = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise SystemExit(f"{method} {path}: {answer.status} {read[:500]!r}")
        return json.loads(read)


def full(found: list[Any], size: int) -> None:
    """A page that is not full would be no comparison."""
    if len(found) != size:
        raise SystemExit(f"a page has {len(found)} versions, not {size}")


def our_uses(side: Side, page: int) -> dict[str, Callable[[int], None]]:
    """What is asked of ours."""
    user = f"/ai-models/{side.user_id}"

    def get(number: int) -> None:
        model_id, version = side.names[number % len(side.names)]
        side.ask("GET", f"{user}/{quote(model_id)}?version={version}")

    def create(number: int) -> None:
        fields = {"user_id": side.user_id, "model_id": side.names[0][0], "version": f"b{number}", "name": "Bench"}
        head = "--b\r\nContent-Disposition: form-data; name="
        body = "".join(f'{head}"{key}"\r\n\r\n{value}\r\n' for key, value in fields.items())
        body += f'{head}"file"; filename="model.pt"\r\n\r\n{number}\r\n--b--\r\n'
        side.ask("POST", "/ai-models/upload/single", body.encode(), "multipart/form-data; boundary=b")

    def search(**asked: str) -> Callable[[int], None]:
        return lambda number: full(
            side.ask("GET", f"/ai-models/search/{side.user_id}?{urlencode({**asked, 'limit': page})}"), page
        )

    return {
        "get a version": get,
        "search: a word of the name": search(query="image"),
        "search: a framework": search(framework="pytorch"),
        "create a version": create,
    }


def their_uses(side: Side, page: int) -> dict[str, Callable[[int], None]]:
    """The same of MLflow."""
    api = "/api/2.0/mlflow/model-versions"

    def get(number: int) -> None:
        name, version = side.names[number % len(side.names)]
        side.ask("GET", f"{api}/get?{urlencode({'name': name, 'version': version.removeprefix('v')})}")

    def create(number: int) -> None:
        asked = {"name": side.names[0][0], "source": f"s3://mlflow/bench/{number}", "description": "Bench"}
        side.ask("POST", f"{api}/create", json.dumps(asked).encode())

    def search(condition: str) -> Callable[[int], None]:
        query = urlencode({"filter": condition, "max_results": page})
        return lambda number: full(side.ask("GET", f"{api}/search?{query}")["model_versions"], page)

    return {
        "get a version": get,
        "search: a word of the name": search("name ILIKE '%image%'"),
        "search: a framework": search("tags.framework = 'pytorch'"),
        "create a version": create,
    }


def mlflow_database(python: str, size: int) -> tuple[Path, list[tuple[str, str]]]:
    """MLflow's file with so many versions, kept for the next run; and their names."""
    numbers: dict[str, int] = {}
    made = [filling.make_upload(metadata.user_of(size), place, numbers)[0] for place in reversed(range(size))]
    names = [(upload.model_id, upload.version) for upload in reversed(made)]
    told = hashlib.sha256(f"{versions(python)} {[upload.fields for upload in made]}".encode()).hexdigest()[:12]
    kept = metadata.ROOT / ".cache/bench" / f"mlflow-{size}-{told}.db"
    if kept.exists():
        return kept, names
    kept.parent.mkdir(parents=True, exist_ok=True)
    for other in kept.parent.glob(f"mlflow-{size}-*"):
        other.unlink()
    rows: list[list[dict[str, Any]]] = [[{"name": name, "creation_time": 0} for name in numbers], [], []]
    for place, upload in zip(reversed(range(size)), made, strict=True):
        key = {"name": upload.model_id, "version": int(upload.version.removeprefix("v"))}
        when = int(time.time() * 1_000) - 60_000 * place
        told_of = {"description": upload.fields["description"], "source": f"s3://mlflow/{upload.prefix}"}
        rows[1].append({**key, **told_of, "creation_time": when, "last_updated_time": when})
        tags = {"framework": upload.fields["framework"], **dict.fromkeys(upload.fields["tags"], "true")}
        rows[2] += [{**key, "key": tag, "value": value} for tag, value in tags.items()]
    unfinished = kept.with_suffix(".making")
    unfinished.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as told_rows:
        json.dump(rows, told_rows)
        told_rows.flush()
        command = [python, "-c", FILL, str(unfinished.absolute()), told_rows.name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"MLflow's database was not filled:\n{done.stderr[-3000:]}")
    unfinished.rename(kept)
    return kept, names


def measure(sides: dict[str, dict[int, Side]], page: int, rounds: int, calls: int) -> dict[str, Any]:
    """Median milliseconds of each round, by use, side and size."""
    uses = {
        (who, size): (our_uses if who == OURS else their_uses)(side, page)
        for who, by_size in sides.items()
        for size, side in by_size.items()
    }
    found: dict[str, dict[tuple[str, int], list[float]]] = {}
    numbers = itertools.count()
    for round_number, name in itertools.product(range(rounds + 1), next(iter(uses.values()))):
        taken: dict[tuple[str, int], list[float]] = {key: [] for key in uses}
        for _ in range(calls):
            for key, by_name in uses.items():
                began = time.perf_counter()
                by_name[name](next(numbers))
                taken[key].append(1_000 * (time.perf_counter() - began))
        for key, times in taken.items() if round_number else ():  # the first round fills caches
            found.setdefault(name, {}).setdefault(key, []).append(statistics.median(times))
    return found


def processor_time(side: Side, page: int, server: Server, calls: int) -> list[list[object]]:
    """Milliseconds that each process takes for a request of ours, on average, by use."""
    rows: list[list[object]] = []
    for name, use in our_uses(side, page).items():
        processor = Processor(server)
        for number in range(calls):
            use(1_000_000 + number)  # versions that `measure` has not made
        taken = processor.taken()
        rows.append([name, *(1_000 * taken.get(process, 0.0) / calls for process in ("registry", "table", "store"))])
    return rows


def run(sizes: str, python: str | None) -> Result:
    """The whole benchmark; without MLflow only ours."""
    counts, page = SIZES[sizes], 100 if min(SIZES[sizes]) >= 1_000 else 20
    kept = metadata.filled(counts)
    result = Result("Metadata by HTTP, beside MLflow")
    result.notes = [*results.notes_of(__doc__), machine()]
    with tempfile.TemporaryDirectory(prefix="modelkeep-bench-") as folder, ExitStack() as stack:
        shutil.copytree(kept, Path(folder) / "data", ignore=shutil.ignore_patterns("lock", "run", "logs"))
        server = stack.enter_context(running(Path(folder)))
        sides: dict[str, dict[int, Side]] = {OURS: {}}
        for size in counts:
            numbers: dict[str, int] = {}
            user_id = metadata.user_of(size)
            made = [filling.make_upload(user_id, place, numbers)[0] for place in reversed(range(size))]
            names = [(upload.model_id, upload.version) for upload in reversed(made)]
            sides[OURS][size] = Side(f"http://127.0.0.1:{server.ports.api}", user_id, names)
            if python:
                database, names = mlflow_database(python, size)
                own = Path(folder) / f"mlflow-{size}"
                own.mkdir()
                shutil.copy(database, own / "mlflow.db")
                environment = stack.enter_context(mlflow_server(python, server, own))
                theirs = Side(environment["MLFLOW_TRACKING_URI"], "", names)
                sides.setdefault(THEIRS, {})[size] = theirs
        found = measure(sides, page, ROUNDS[sizes], CALLS[sizes])
        spent = processor_time(sides[OURS][counts[-1]], page, server, 5 * CALLS[sizes])
    if python:
        result.versions = {"MLflow": versions(python)}
    report(result, counts, found)
    title = f"Where the time of ours goes at {counts[-1]:,} versions: processor time of a request, ms"
    result.table(title, ["", "the registry", "DynamoDB Local", "the store"], spent)
    return result


def report(result: Result, counts: tuple[int, ...], found: dict[str, Any]) -> None:
    """The table, the goals, the chart."""
    rows, bars = [], {}
    for name, by_key in found.items():
        for size in counts:
            ours, theirs = by_key[OURS, size], by_key.get((THEIRS, size))
            ratio = results.median_ratio(theirs, ours) if theirs else None
            row = [name, f"{size:,}", statistics.median(ours), statistics.median(theirs) if theirs else None, ratio]
            rows.append(row)
            if size == counts[-1] and theirs and ratio and not name.startswith("create"):
                result.goal(f"{name} at {size:,}: {THEIRS}'s p50 over ours", ratio, GOAL, " times", at_least=True)
                bars |= {f"{OURS}: {name}": statistics.median(ours), f"{THEIRS}: {name}": statistics.median(theirs)}
    result.table("p50 of a request on a new connection, ms", ["", "versions", OURS, THEIRS, f"{THEIRS} / {OURS}"], rows)
    if bars:
        result.chart("metadata-mlflow", f"Metadata by HTTP at {counts[-1]:,} versions", "ms (p50)", bars)


def main() -> None:
    """Measure and write."""
    parser = results.arguments(__doc__)
    parser.add_argument("--mlflow", metavar="PYTHON", help="the Python of an environment that has mlflow and boto3")
    chosen = parser.parse_args()
    run(chosen.sizes, chosen.mlflow).write(chosen.json)


if __name__ == "__main__":
    main()
