"""What a cold start costs: each function's import and first request, in fresh interpreters, beside `import fastapi`.

PYTHONPATH=.:layers/registry .venv/bin/python benchmarks/cold_start.py [--runs 9] [--write FILE] [function …]

In the numbers: the processor time (user and system) of one process, from the first line of `app.py` to its end, and of
the first two calls of its handler with the event in tests/events/. Processor time, so that other work on the machine
counts less; the wall time of the import stands beside it. Not in them: the start of the interpreter, Lambda's own
bootstrap, fetching and mounting the code, and what AWS takes to answer: DynamoDB, S3 and Lambda are a stub on this
machine that has no rows and no objects and says yes to every write. So a look at a version or an upload ends in 404, a
list is empty; the clients are made and the requests signed and sent all the same. Of each figure the median is shown;
runs alternate, so that a slow minute of the machine falls on all.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASELINE = "fastapi"

CHILD = """
import sys, time
name, event = sys.argv[1], sys.argv[2]
wall, cpu = time.perf_counter(), time.process_time()
if name == "fastapi":
    import fastapi
else:
    app = __import__(f"functions.{name}.app", fromlist=["app"])
found = {"import": time.process_time() - cpu, "wall": time.perf_counter() - wall, "modules": len(sys.modules)}
if event:
    import json, os
    event = json.loads(event)
    class Context:
        aws_request_id, function_name, memory_limit_in_mb = "bench", name, 512
        invoked_function_arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
        def get_remaining_time_in_millis(self):
            return 60_000
    for which in ("first", "second"):
        cpu = time.process_time()
        try:
            answer = app.lambda_handler(event, Context())
            found[which + "_status"] = answer.get("statusCode") if isinstance(answer, dict) else None
        except Exception as error:
            found[which + "_status"] = type(error).__name__
        found[which] = time.process_time() - cpu
    print(json.dumps(found), file=sys.stderr)
else:
    print(str(found).replace("'", '"'), file=sys.stderr)
"""


class Stub(BaseHTTPRequestHandler):
    """DynamoDB without rows, S3 without objects, Lambda that takes every event."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        answers = {
            "Query": {"Items": [], "Count": 0, "ScannedCount": 0},
            "BatchGetItem": {"Responses": {}, "UnprocessedKeys": {}},
            "BatchWriteItem": {"UnprocessedItems": {}},
            "UpdateItem": {"Attributes": {"pk": {"S": "pk"}, "sk": {"S": "#"}}},
            "DescribeTable": {
                "Table": {
                    "TableName": "t",
                    "KeySchema": [
                        {"AttributeName": "pk", "KeyType": "HASH"},
                        {"AttributeName": "sk", "KeyType": "RANGE"},
                    ],
                    "AttributeDefinitions": [
                        {"AttributeName": "pk", "AttributeType": "S"},
                        {"AttributeName": "sk", "AttributeType": "S"},
                    ],
                }
            },
        }
        self._answer(200, json.dumps(answers.get(operation, {})).encode(), "application/x-amz-json-1.0")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(200, b"")

    def do_GET(self) -> None:
        empty = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        self._answer(200, empty, "application/xml")

    def do_HEAD(self) -> None:
        self._answer(404, b"")

    def do_DELETE(self) -> None:
        self._answer(204, b"")

    def _answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"00000000000000000000000000000000"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    """Measures and prints the table."""
    options = argparse.ArgumentParser()
    options.add_argument("functions", nargs="*")
    options.add_argument(
        "--runs", type=int, default=9, help="fresh interpreters a figure (a third as many without bytecode)"
    )
    options.add_argument("--write", type=Path, help="also write the table here")
    chosen = options.parse_args()
    names = chosen.functions or sorted(each.parent.name for each in ROOT.glob("functions/*/app.py"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(f"http://127.0.0.1:{server.server_port}")
        warm = environment | {"PYTHONPYCACHEPREFIX": f"{folder}/warm"}
        cold = environment | {"PYTHONPYCACHEPREFIX": f"{folder}/none", "PYTHONDONTWRITEBYTECODE": "1"}
        for name in (BASELINE, *names):  # fills the folder of bytecode
            _measure(name, warm)
        _keep_stdlib(Path(folder))
        with_bytecode: dict[str, list[dict[str, float]]] = {name: [] for name in (BASELINE, *names)}
        without: dict[str, list[dict[str, float]]] = {name: [] for name in (BASELINE, *names)}
        for run in range(chosen.runs):
            for name in with_bytecode:
                with_bytecode[name].append(_measure(name, warm))
                if run % 3 == 0:
                    without[name].append(_measure(name, cold))
            print(f"run {run + 1} of {chosen.runs}", file=sys.stderr)
    server.shutdown()
    table = "\n".join(_table(with_bytecode, without, chosen.runs))
    print(table)
    if chosen.write:
        chosen.write.write_text(table + "\n")


def _keep_stdlib(folder: Path) -> None:
    """Without bytecode means: of packages and of our own code. Lambda's standard library has its."""
    stdlib = Path(sysconfig.get_path("stdlib")).resolve().relative_to("/")
    shutil.copytree(folder / "warm" / stdlib, folder / "none" / stdlib, ignore=shutil.ignore_patterns("site-packages"))


def _environment(endpoint: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return kept | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'layers/registry'}",
        "REGISTRY_BUCKET": "bucket",
        "REGISTRY_TABLE": "table",
        "REGISTRY_AUTHENTICATION": "off",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }


def _measure(name: str, environment: dict[str, str]) -> dict[str, float]:
    event = "" if name == BASELINE else (ROOT / f"tests/events/{name}.json").read_text()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, name, event], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    found: dict[str, float] = json.loads(done.stderr.strip().splitlines()[-1])
    return found


def _table(with_bytecode: dict[str, list[dict[str, float]]], without: dict[str, list[dict[str, float]]], runs: int):  # type: ignore[no-untyped-def]
    def median(rows: list[dict[str, float]], key: str) -> float:
        return statistics.median(row[key] for row in rows) * 1000

    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("fastapi", "pydantic", "pynamodb", "botocore")
    )
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")
    yield f"Measured {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()} ({model}),"
    yield f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()},"
    yield f"{versions}; medians of {runs} fresh interpreters"
    yield f"({len(without[BASELINE])} without bytecode), in milliseconds of processor time."
    yield ""
    yield (
        "| | import | x `import fastapi` | the same by wall time | without bytecode "
        "| first request | second | answers | modules |"
    )
    yield "| :-- | --: | --: | --: | --: | --: | --: | :-- | --: |"
    base = median(with_bytecode[BASELINE], "import")
    wall = median(with_bytecode[BASELINE], "wall")
    for name, rows in with_bytecode.items():
        took = median(rows, "import")
        line = f"| `{name}` | {took:.0f} | {took / base:.2f} | {median(rows, 'wall') / wall:.2f} "
        line += f"| {median(without[name], 'import'):.0f} "
        if name == BASELINE:
            line = line.replace("`fastapi`", "`import fastapi` alone") + "| | | "
        else:
            first, second = rows[0].get("first_status"), rows[0].get("second_status")
            line += f"| {median(rows, 'first'):.0f} | {median(rows, 'second'):.1f} "
            line += f"| {first if first == second else f'{first}, {second}'} "
        yield line + f"| {rows[0]['modules']:.0f} |"


if __name__ == "__main__":
    main()
