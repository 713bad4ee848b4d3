"""The client against MLflow's and curl: a file up and down, the same content again, and a push that is killed at half.

PYTHONPATH=.:layers/registry:client/src .venv/bin/python benchmarks/client_transfer.py [--mlflow PYTHON] [--size 500]
    [--runs 5] [--write FILE]

MLflow lives in an environment of its own, never in the project's:
    python -m venv /tmp/mlflow-env && /tmp/mlflow-env/bin/pip install mlflow boto3
and PYTHON is /tmp/mlflow-env/bin/python. Without --mlflow it is left out.

All three send to one store, the SeaweedFS of `make run`, in one run, taking turns, so that a slow minute of the machine
falls on all. MLflow's tracking server (one worker, sqlite) hands out `s3://` places and its client talks to the store
itself (`--no-serve-artifacts`): by default all bytes would go through its server, which is slower. curl sends one plain
PUT to, and gets from, a presigned URL: no digest, no parts, what one connection to the store can do.

In the numbers: the process from start to end (interpreter and imports too) and, where a Python API is timed, the call
alone; processor time and largest resident size of that process, as the kernel tells. `push` and `pull` begin with an
empty home: hashing is in the numbers, and at the end of `push` the version is visible and its digest has been verified;
at the end of `pull` too. MLflow's and curl's transfers verify nothing. The file comes from the page cache in all cases.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import modelkeep
from modelkeep.config import Config, Home

from benchmarks.measuring import Measured, machine, measure
from benchmarks.mlflow_peer import BUCKET, DOWN, UP, mlflow_server, versions
from tests.end_to_end.client import file_sha256, write_pattern
from tests.end_to_end.conftest import s3_client
from tests.end_to_end.proxying import Proxy
from tests.end_to_end.running import PROJECT, Server, running

USER = "bench"
SDK = """
import sys, time
import modelkeep
with modelkeep.Client() as client:
    began = time.perf_counter()
    {call}
    print("CALL", time.perf_counter() - began)
"""


class Bench:
    """One registry, one file, and a folder for what a run needs."""

    def __init__(self, server: Server, folder: Path, size: int) -> None:
        self.server, self.folder = server, folder
        self.path = write_pattern(folder / "model.bin", size)
        self.digest = file_sha256(self.path)
        self.s3, self.bucket = s3_client(server)
        self.s3.create_bucket(Bucket=BUCKET)
        self.store = f"127.0.0.1:{server.ports.s3}"
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

    def push(self, into: Measured | None, ref: str, home: Path, **further: str) -> None:
        """By the command."""
        command = [sys.executable, "-m", "modelkeep", "push", str(self.path), f"{USER}/{ref}"]
        measure(into, command, self.environment(home, **further))

    def push_by_sdk(self, into: Measured, ref: str, home: Path) -> None:
        """By the API."""
        script = SDK.format(call="client.push(sys.argv[1], sys.argv[2])")
        measure(into, [sys.executable, "-c", script, str(self.path), f"{USER}/{ref}"], self.environment(home))

    def pull(self, into: Measured, ref: str) -> None:
        """By the command, with nothing cached."""
        target = self.fresh("pulled")
        command, home = (
            [sys.executable, "-m", "modelkeep", "pull", f"{USER}/{ref}", "-o", str(target)],
            self.fresh("home"),
        )
        measure(into, command, self.environment(home))
        self.check(target)
        shutil.rmtree(home)

    def pull_by_sdk(self, into: Measured, ref: str) -> None:
        """By the API."""
        target = self.fresh("pulled")
        script = SDK.format(call="client.pull(sys.argv[1], sys.argv[2])")
        command, home = [sys.executable, "-c", script, f"{USER}/{ref}", str(target)], self.fresh("home")
        measure(into, command, self.environment(home))
        self.check(target)
        shutil.rmtree(home)

    def curl_up(self, into: Measured) -> str:
        """One PUT; its key."""
        key = f"curl/{self._number}"
        url = self.s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": key})
        measure(into, ["curl", "-sSf", "-o", "/dev/null", "-T", str(self.path), url], dict(os.environ))
        return key

    def curl_down(self, into: Measured, key: str) -> None:
        """One GET."""
        url = self.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key})
        target = self.fresh("curled")
        measure(into, ["curl", "-sSf", "-o", str(target / self.path.name), url], dict(os.environ))
        self.check(target)

    def check(self, folder: Path) -> None:
        """The file is there, whole; then away with it."""
        (found,) = [each for each in folder.rglob("*") if each.name == self.path.name]
        if file_sha256(found) != self.digest:
            raise SystemExit(f"{found} is not what was sent")
        shutil.rmtree(folder)

    def clean(self, client: modelkeep.Client, *refs: str, prefix: str | None = None) -> None:
        """What a run left in the store goes, so that the next one has to send it all."""
        for ref in refs:
            client.delete(f"{USER}/{ref}")
        if prefix is not None:
            for entry in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", []):
                self.s3.delete_object(Bucket=BUCKET, Key=entry["Key"])


def transfers(bench: Bench, runs: int, mlflow: tuple[str, dict[str, str]] | None) -> dict[str, Measured]:
    """The file up and down by each, taking turns."""
    names = {
        "curl up": "`curl -T`, one PUT",
        "push": "`modelkeep push`",
        "push sdk": "`Client().push`",
        "mlflow up": "MLflow `log_artifact`",
        "curl down": "`curl`, one GET",
        "pull": "`modelkeep pull`",
        "pull sdk": "`Client().pull`",
        "mlflow down": "MLflow `download_artifacts`",
    }
    kept = {key: Measured(name) for key, name in names.items() if mlflow is not None or "mlflow" not in key}
    warm = {key: Measured(each.name) for key, each in kept.items()}  # the first run fills caches, and is not counted
    with modelkeep.Client(bench.server.url, config=_config(bench.fresh("home"))) as client:
        for run in range(runs + 1):
            seen = kept if run else warm
            key = bench.curl_up(seen["curl up"])
            bench.push(seen["push"], f"pushed:r{run}", bench.fresh("home"))
            bench.pull(seen["pull"], f"pushed:r{run}")
            bench.curl_down(seen["curl down"], key)
            bench.clean(client, f"pushed:r{run}", prefix="curl/")
            if mlflow is not None:
                python, environment = mlflow
                said = measure(seen["mlflow up"], [python, "-c", UP, str(bench.path)], environment)
                place = next(line.split()[1] for line in said.splitlines() if line.startswith("RUN "))
                target = bench.fresh("mlflowed")
                command = [python, "-c", DOWN, f"{place}/{bench.path.name}", str(target)]
                measure(seen["mlflow down"], command, environment)
                bench.check(target)
                bench.clean(client, prefix="mlflow/")
            bench.push_by_sdk(seen["push sdk"], f"sdk:r{run}", bench.fresh("home"))
            bench.pull_by_sdk(seen["pull sdk"], f"sdk:r{run}")
            bench.clean(client, f"sdk:r{run}")
            print(f"run {run} of {runs}", file=sys.stderr)
    return kept


def again(bench: Bench, runs: int) -> tuple[Measured, Measured, int]:
    """The same file as a further version: the command, the call, and how many bytes of it were sent."""
    command, call, home = Measured("`modelkeep push` again"), Measured("`Client().push` again"), bench.fresh("home")
    bench.push(None, "again:first", home)
    for run in range(runs):
        bench.push(command, f"again:command{run}", home)
        bench.push_by_sdk(call, f"again:call{run}", home)
    with Proxy(bench.store) as proxy, modelkeep.Client(bench.server.url, config=_config(home)) as client:
        bench.push(None, "again:counted", home, **proxy.environment)
        client.delete(f"{USER}/again", all_versions=True)
        return command, call, proxy.up


def killed(bench: Bench, size: int) -> tuple[int, int, int]:
    """A push that is killed at half: bytes sent before, bytes sent by the same command after, and its peak in MiB."""
    home, seen = bench.fresh("home"), Measured("")
    with Proxy(bench.store) as proxy:
        command = [sys.executable, "-m", "modelkeep", "push", str(bench.path), f"{USER}/killed:v1"]
        environment = bench.environment(home, **proxy.environment)
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        proxy.at("up", size // 2, process.kill)
        _, said = process.communicate()
        if process.returncode != -9:
            raise SystemExit(f"a push ended with {process.returncode} before it was killed: {said.decode()}")
        proxy.settle()
        before = proxy.up
        measure(seen, command, environment)
        return before, proxy.up - before, round(seen.mib[0])


def main() -> None:
    """Measures and prints the tables."""
    options = argparse.ArgumentParser()
    options.add_argument("--size", type=int, default=500, help="MB of the file (%(default)s)")
    options.add_argument("--runs", type=int, default=5, help="of each; medians are shown (%(default)s)")
    options.add_argument("--mlflow", metavar="PYTHON", help="the Python of an environment that has mlflow and boto3")
    options.add_argument("--write", type=Path, metavar="FILE", help="also write the tables here")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers end with us
    size, lines = chosen.size * 1_000_000, [machine() + (f"; {versions(chosen.mlflow)}" if chosen.mlflow else "") + "."]
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as server:
        bench = Bench(server, Path(name), size)
        if chosen.mlflow:
            with mlflow_server(chosen.mlflow, server, bench.fresh("mlflow")) as environment:
                seen = transfers(bench, chosen.runs, (chosen.mlflow, environment))
        else:
            seen = transfers(bench, chosen.runs, None)
        lines += table(seen, size, chosen.runs)
        lines += resuming(again(bench, chosen.runs), killed(bench, size), size)
    text = "\n".join(lines)
    print(text)
    if chosen.write:
        chosen.write.write_text(text + "\n")


def table(seen: dict[str, Measured], size: int, runs: int) -> list[str]:
    """What was seen, and what it is to each other."""
    lines = [f"One file of {size / 1e6:.0f} MB; medians of {runs}.", ""]
    lines += ["| | process, s | from, to | the call alone, s | MB/s of the process | processor, s | peak, MiB |"]
    lines += ["| :-- | --: | --: | --: | --: | --: | --: |", *(each.row(size) for each in seen.values()), ""]
    wall = {key: median(each.wall) for key, each in seen.items()}
    call = {key: median(each.call) for key, each in seen.items() if each.call}
    for ours, curls, mlflows in (("push", "curl up", "mlflow up"), ("pull", "curl down", "mlflow down")):
        said = f"- `{ours}` ends, verified, after {wall[ours] / wall[curls]:.2f} of the time of curl's transfer alone "
        said += f"({wall[curls] / wall[ours]:.2f} of its speed; the call alone {wall[curls] / call[f'{ours} sdk']:.2f})"
        if mlflows in wall:
            said += f"; {wall[mlflows] / wall[ours]:.1f} times as fast as MLflow, process against process; "
            said += f"{call[mlflows] / call[f'{ours} sdk']:.1f} times, call against call"
        lines.append(said + ".")
    return lines


def resuming(again: tuple[Measured, Measured, int], killed: tuple[int, int, int], size: int) -> list[str]:
    """What did not have to move."""
    command, call, sent = again
    before, after, mib = killed
    return [
        f"- The same content again, as a new version: {sent} bytes sent; {median(command.wall):.2f} s for the command "
        f"({min(command.wall):.2f} to {max(command.wall):.2f}), {median(call.call):.2f} s for the call alone.",
        f"- Killed after {before / 1e6:.1f} MB, the same command sends {after / 1e6:.1f} MB: "
        f"{(before + after - size) / 1e6:.1f} MB more than the file has (peak {mib} MiB).",
    ]


def _config(home: Path) -> Config:
    return Config(Home(home, home / "state", home / "cache"))


if __name__ == "__main__":
    main()
