"""Files from this machine to the store and back: the client against MLflow's and curl.

All send to one store, that of `make run`, in one run, taking turns; the very first round is not counted. MLflow's
tracking server (one worker, sqlite) hands out `s3://` places and its client talks to the store itself
(`--no-serve-artifacts`): by default all bytes would go through its server, which is slower. curl sends plain PUTs to,
and gets from, presigned URLs: no digest, no parts, what the store can do (one connection for one file, eight for many).

In the numbers: the process from start to end (interpreter and imports too) and, where a Python API is timed, the call
alone; processor time and largest resident size of that process, as the kernel tells. `push` and `pull` begin with an
empty home: hashing is in the numbers, and at the end of `push` the version is visible and its digests have been
verified; at the end of `pull` too. MLflow's and curl's transfers verify nothing. Files come from the page cache.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import modelkeep
from modelkeep.config import Config, Home

from benchmarks import content, mlflow_peer, results, stores
from benchmarks.contending import USER, Bench, Processor, Source, curl_version
from benchmarks.measuring import Measured, measure
from benchmarks.results import OURS, Result
from tests.end_to_end.proxying import Proxy
from tests.end_to_end.running import running

_PART_MB = 16 * 1024 * 1024 / 1e6
_NAMES = {
    "curl up": "`curl`, PUT",
    "push": "`modelkeep push`",
    "push sdk": "`Client().push`",
    "mlflow up": "MLflow, up",
    "curl down": "`curl`, GET",
    "pull": "`modelkeep pull`",
    "pull sdk": "`Client().pull`",
    "mlflow down": "MLflow, down",
}
Peer = tuple[str, dict[str, str]]  # MLflow's Python, and the environment of its client


@dataclass
class Rounds:
    """What was seen of each, and where the time of `Client().push` went, round by round."""

    seen: dict[str, Measured]
    phases: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    processor: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def transfers(bench: Bench, source: Source, rounds: int, mlflow: Peer | None, *, first: bool) -> Rounds:
    """The source up and down by each, taking turns. Of the `first` source our commands beside our calls, and one round
    more, that is not counted: nothing is warm before."""
    names = {key: name for key, name in _NAMES.items() if mlflow is not None or "mlflow" not in key}
    names = {key: name for key, name in names.items() if first or key not in ("push", "pull")}
    found, warm = (Rounds({key: Measured(name) for key, name in names.items()}) for _ in range(2))
    uncounted = 1 if rounds > 1 and first else 0
    with modelkeep.Client(bench.server.url, config=_config(bench.fresh("home"))) as client:
        for number in range(rounds + uncounted):
            into = found if number >= uncounted else warm
            seen = into.seen
            bench.curl_up(seen["curl up"], source)
            bench.curl_down(seen["curl down"], source)
            bench.clean(client)
            if first:
                bench.push(seen["push"], source, f"pushed:r{number}", bench.fresh("home"))
                bench.pull(seen["pull"], source, f"pushed:r{number}")
                bench.clean(client, f"pushed:r{number}")
            if mlflow is not None:
                place = bench.mlflow_up(seen["mlflow up"], source, *mlflow)
                bench.mlflow_down(seen["mlflow down"], source, place, *mlflow)
                bench.clean(client)
            processor = Processor(bench.server)
            for phase, seconds in bench.push_by_sdk(
                seen["push sdk"], source, f"sdk:r{number}", bench.fresh("home")
            ).items():
                into.phases[phase].append(seconds)
            for name, seconds in processor.taken().items():
                into.processor[name].append(seconds)
            bench.pull_by_sdk(seen["pull sdk"], source, f"sdk:r{number}")
            bench.clean(client, f"sdk:r{number}")
    return found


def again(bench: Bench, source: Source, rounds: int) -> tuple[dict[str, Measured], int]:
    """The same file once more, as the version that it is and as a further one, and how many bytes of it were sent."""
    home = bench.fresh("home")
    seen = {name: Measured(name) for name in ("same, command", "same, call", "further, call")}
    bench.push(None, source, "again:first", home)
    for number in range(rounds):
        bench.push(seen["same, command"], source, "again:first", home)
        bench.push_by_sdk(seen["same, call"], source, "again:first", home)
        bench.push_by_sdk(seen["further, call"], source, f"again:call{number}", home)
    with Proxy(bench.store) as proxy, modelkeep.Client(bench.server.url, config=_config(home)) as client:
        bench.push(None, source, "again:counted", home, **proxy.environment)
        client.delete(f"{USER}/again", all_versions=True)
        return seen, proxy.up


def killed(bench: Bench, source: Source) -> tuple[int, int]:
    """A push that is killed at half: bytes sent before, and bytes sent by the same command after."""
    home = bench.fresh("home")
    with Proxy(bench.store) as proxy:
        command = [sys.executable, "-m", "modelkeep", "push", str(source.path), f"{USER}/killed:v1"]
        environment = bench.environment(home, **proxy.environment)
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        proxy.at("up", source.size // 2, process.kill)
        _, said = process.communicate()
        if process.returncode != -9:
            raise SystemExit(f"a push ended with {process.returncode} before it was killed: {said.decode()}")
        proxy.settle()
        before = proxy.up
        measure(None, command, environment)
        return before, proxy.up - before


def report(result: Result, what: str, slug: str, source: Source, found: Rounds, *, goals: bool) -> None:
    """The tables, charts and goals of one source."""
    seen, rows = found.seen, []
    push, pull = ("push", "pull") if "push" in seen else ("push sdk", "pull sdk")
    for key, each in seen.items():
        ours = seen[pull if "pull" in key or "down" in key else push]
        wall = each.median("wall")
        rows.append(
            [
                each.name,
                f"{wall:.2f}",
                f"{min(each.wall):.2f} to {max(each.wall):.2f}",
                f"{each.median('call'):.2f}" if each.call else "",
                f"{source.size / 1e6 / wall:.0f}",
                f"{results.median_ratio(each.wall, ours.wall):.2f}",
                f"{each.median('cpu'):.2f}",
                f"{max(each.mib):.0f}",
            ]
        )
    columns = ["", "process, s", "from, to", "the call alone, s", "MB/s", "x our time", "CPU s", "peak MiB"]
    result.table(f"{what}, up and down", columns, rows)
    for way, title, keys in (
        ("up", "to the registry", (push, "mlflow up", "curl up")),
        ("down", "from the registry", (pull, "mlflow down", "curl down")),
    ):
        labels = (f"{OURS}, verified", "MLflow", "curl alone")
        bars = {
            label: source.size / 1e6 / seen[key].median("wall")
            for label, key in zip(labels, keys, strict=True)
            if key in seen
        }
        result.chart(f"transfer-{slug}-{way}", f"{what} {title}", "MB/s", bars)
    if goals and "mlflow up" in seen:
        ratio = results.median_ratio(seen["mlflow up"].wall, seen["push"].wall)
        result.goal(f"{what} to visible and verified: ≥ 2 x MLflow's speed", ratio, 2.0, " x", at_least=True)
    if goals:
        ratio = results.median_ratio(seen["curl up"].wall, seen["push"].wall)
        result.goal(f"{what} to visible and verified: ≥ 0.85 x curl's plain PUT", ratio, 0.85, " x", at_least=True)
    profile = [[f"phase `{name}`, s", median(seconds)] for name, seconds in found.phases.items()]
    profile += [["processor of the client, s", seen["push sdk"].median("cpu")]]
    profile += [[f"processor of the {name}, s", median(seconds)] for name, seconds in found.processor.items()]
    call, both = seen["push sdk"].median("call"), sum(median(each) for each in found.processor.values())
    profile += [["the call, s", call], ["processors busy meanwhile", (both + seen["push sdk"].median("cpu")) / call]]
    result.table(f"{what}: where the time of `Client().push` goes (medians)", ["", ""], profile)


def report_resuming(
    result: Result, source: Source, again: tuple[dict[str, Measured], int], killed: tuple[int, int]
) -> None:
    """What did not have to move."""
    seen, sent = again
    before, after = killed
    seconds = seen["same, call"].median("call")
    rows = [
        ["the same content again, as the version that it is: the call, s", f"{seconds:.3f}"],
        ["the same: the command, s", f"{seen['same, command'].median('wall'):.2f}"],
        ["the same content as a further version, which the store copies: sent, bytes", str(sent)],
        ["the same: the call, s", f"{seen['further, call'].median('call'):.2f}"],
        ["killed at half: sent before, MB", f"{before / 1e6:.1f}"],
        ["killed at half: sent after, MB", f"{after / 1e6:.1f}"],
        ["killed at half: sent in all beyond the file, MB", f"{(before + after - source.size) / 1e6:.1f}"],
    ]
    result.table(f"What does not move twice, of {source.size / 1e6:.0f} MB", ["", ""], rows)
    result.goal("the same content again: 0 bytes sent", sent, 0, " bytes")
    result.goal("the same content again: < 0.3 s (`Client().push`)", seconds, 0.3, " s")
    goal = "killed at half, the same command sends ≤ the rest + one part"
    result.goal(goal, after / 1e6, round((source.size - before) / 1e6 + _PART_MB, 1), " MB")


def main() -> None:
    """Measures and writes the result."""
    options = results.arguments(__doc__)
    options.add_argument("--store", default="seaweedfs", help="seaweedfs or minio (%(default)s)")
    options.add_argument("--size", type=results.megabytes, help="of the one file: 500MB")
    options.add_argument("--rounds", type=int, help="of each, beside the one that is not counted")
    options.add_argument(
        "--mlflow", metavar="PYTHON", help="that of an environment with mlflow and boto3; else left out"
    )
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers end with us
    size = chosen.size or {"tiny": 48_000_000, "small": 100_000_000, "full": 500_000_000}[chosen.sizes]
    count = {"tiny": 30, "small": 60, "full": 1_000}[chosen.sizes]
    rounds = chosen.rounds or (1 if chosen.sizes == "tiny" else 5)
    versions = {**stores.versions(chosen.store, "boto3", "urllib3"), "curl": curl_version()}
    result = Result(f"Client, on {stores.TITLES[chosen.store]}", notes=results.notes_of(__doc__), versions=versions)
    result.notes.append(f"Medians of {rounds} rounds; ratios are the medians of each round's.")
    with tempfile.TemporaryDirectory(prefix="modelkeep-bench-") as name:
        folder = Path(name)
        one = Source.of(content.write_file(folder / "model.bin", size))
        many = Source.of(content.write_folder(folder / "many", count, 100_000))
        with running(folder, "--store", chosen.store) as server:
            bench = Bench(server, folder)
            sources = [(f"{size / 1e6:.0f} MB", "one", one), (f"{count:,} files of 100 kB", "many", many)]
            with _mlflow(chosen.mlflow, bench, result) as peer:
                for what, slug, source in sources:
                    taking_part = None if chosen.sizes == "tiny" and source is many else peer  # it starts for seconds
                    found = transfers(bench, source, rounds, taking_part, first=source is one)
                    report(result, what, f"{slug}-{chosen.store}", source, found, goals=source is one)
            report_resuming(result, one, again(bench, one, rounds), killed(bench, one))
    result.write(chosen.json)


@contextmanager
def _mlflow(python: str | None, bench: Bench, result: Result) -> Iterator[Peer | None]:
    if python is None:
        yield None
        return
    result.versions["MLflow"] = mlflow_peer.versions(python)
    with mlflow_peer.mlflow_server(python, bench.server, bench.fresh("mlflow")) as environment:
        yield python, environment


def _config(home: Path) -> Config:
    return Config(Home(home, home / "state", home / "cache"))


if __name__ == "__main__":
    main()
