"""All benchmarks, one after another, each in processes of its own; then `RESULTS.md` and the charts.

`make bench`. With SIZES=tiny only that all of them run and that their figures are sane: goals are for larger sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import measuring, rendering, results, stores

FOLDER = Path(__file__).parent
KEPT = FOLDER.parent / ".cache/bench/results"  # the last result of each run, for those that are not run again
_SECONDS = 1_800  # of one benchmark: it hangs


@dataclass(frozen=True)
class Benchmark:
    """A module of this folder."""

    module: str
    on_stores: bool  # takes --store, and runs on each
    mlflow: bool = False  # takes --mlflow PYTHON


BENCHMARKS = (
    Benchmark("ingest", on_stores=True),
    Benchmark("archive", on_stores=True),
    Benchmark("transfer", on_stores=True, mlflow=True),
    Benchmark("metadata", on_stores=False),
    Benchmark("mlflow_metadata", on_stores=False, mlflow=True),
)


def plan(sizes: str, here: list[str]) -> Iterator[tuple[Benchmark, list[str]]]:
    """Each run with its options. The second store gets less: it is there to show that nothing hangs on the first."""
    for benchmark in BENCHMARKS:
        mlflow = ["--mlflow", sys.executable] if benchmark.mlflow else []
        if not benchmark.on_stores:
            yield benchmark, ["--sizes", sizes, *mlflow]
            continue
        for number, store in enumerate(here):
            less = "small" if sizes == "full" and number else sizes
            yield benchmark, ["--sizes", less, "--store", store, *mlflow]


def kept_as(benchmark: Benchmark, options: list[str]) -> Path:
    """Where the result of a run is kept."""
    words = [each for each in options if not each.startswith("--") and each != sys.executable]
    return KEPT / f"{'-'.join([benchmark.module, *words])}.json"


def run(benchmark: Benchmark, options: list[str]) -> dict[str, Any]:
    """One of them; SystemExit with its name if it fails."""
    began, measured = time.monotonic(), f"{commit()}, {measuring.now()}, load before {os.getloadavg()[0]:.1f}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        command = [sys.executable, "-m", f"benchmarks.{benchmark.module}", "--json", str(path), *options]
        shown = " ".join([benchmark.module, *options]).replace(sys.executable, "PYTHON")
        print(f"{shown} …", flush=True)
        with subprocess.Popen(command) as process:
            try:
                process.wait(_SECONDS)
            except BaseException:  # an interrupt has reached it too, and it takes its servers with it
                process.terminate()
                raise
        if process.returncode or not path.exists():
            raise SystemExit(f"The benchmark {shown} failed: exit status {process.returncode}")
        result: dict[str, Any] = json.loads(path.read_text())
    results.check(result)
    result["notes"].append(f"Run at {measured}, in {time.monotonic() - began:.0f} s.")
    KEPT.mkdir(parents=True, exist_ok=True)
    kept_as(benchmark, options).write_text(json.dumps(result))
    met = sum(goal["met"] for goal in result["goals"])
    print(f"  {time.monotonic() - began:.0f} s; goals met: {met} of {len(result['goals'])}", flush=True)
    return result


def commit() -> str:
    """Of what is measured."""
    said = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=FOLDER, capture_output=True, text=True)
    return f"commit {said.stdout.strip() or 'unknown'}"


def facts(sizes: str) -> list[str]:
    """When, and on what."""
    small = [] if sizes == "full" else ["Too small to say more than that all of it runs: goals are for full sizes."]
    return [
        *small,
        f"{measuring.machine()}. Clients, functions and stores share these processors.",
        f"Sizes: {sizes}. Below each benchmark stands when it ran, at which commit.",
        "Seconds are of this machine; ratios of what ran in turns in one run say more, and processor time most.",
    ]


def common_versions() -> dict[str, str]:
    """Of what all of them stand on."""
    import importlib.metadata
    import ssl

    curl = subprocess.run(["curl", "--version"], capture_output=True, text=True).stdout.split()
    named = {each: importlib.metadata.version(each) for each in ("boto3", "botocore", "fastapi", "pynamodb", "urllib3")}
    return {**named, "Python": platform.python_version(), "OpenSSL": ssl.OPENSSL_VERSION.split()[1], "curl": curl[1]}


def main() -> None:
    """Runs, renders, says where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=results.SIZES, default="full")
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="NAME", help="these; of the others, what is kept of their last run"
    )
    parser.add_argument("--stores", nargs="*", help="some of those that are here")
    parser.add_argument(
        "--into", type=Path, help="where RESULTS.md and charts/ go; tiny runs: a folder that is removed"
    )
    chosen = parser.parse_args()
    here = [name for name in stores.available() if not chosen.stores or name in chosen.stores]
    left_out = [
        f"{stores.TITLES[name]}, which is not here (`make minio`)." for name in stores.TITLES if name not in here
    ]
    found: list[dict[str, Any]] = []
    if chosen.sizes == "tiny":
        here = here[:1]
    for benchmark, options in plan(chosen.sizes, here):
        if not chosen.only or benchmark.module in chosen.only:
            found.append(run(benchmark, options))
        elif kept_as(benchmark, options).exists():
            found.append(json.loads(kept_as(benchmark, options).read_text()))
        else:
            left_out.append(f"`{kept_as(benchmark, options).stem}`, which has not been run.")
    found[-1]["versions"] |= common_versions()
    with tempfile.TemporaryDirectory() as temporary:
        into = chosen.into or (Path(temporary) if chosen.sizes == "tiny" else FOLDER)
        charts = into / "charts"
        shutil.rmtree(charts, ignore_errors=True)
        charts.mkdir(parents=True)
        for chart in [chart for result in found for chart in result["charts"]]:
            rendering.draw(chart, charts)
        text = rendering.render(found, facts=facts(chosen.sizes), left_out=left_out)
        (into / "RESULTS.md").write_text(text)
        print(text if chosen.sizes == "tiny" else f"Written: {into / 'RESULTS.md'}, {charts}", flush=True)
    print(f"{len(found)} passed, 0 failed")


if __name__ == "__main__":
    main()
