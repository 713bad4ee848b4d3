"""MLflow as a user runs it, its server and its client, on the store of a registry: for `transfer.py`."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.ports import Ports
from tests.end_to_end.running import Server

BUCKET = "mlflow"
UP = """
import os, sys, time
import mlflow
mlflow.set_experiment("bench")
began = time.perf_counter()
with mlflow.start_run() as run:
    log = mlflow.log_artifacts if os.path.isdir(sys.argv[1]) else mlflow.log_artifact
    log(sys.argv[1])
print("CALL", time.perf_counter() - began)
print("RUN", run.info.artifact_uri)
"""
DOWN = """
import sys, time
import mlflow
began = time.perf_counter()
mlflow.artifacts.download_artifacts(artifact_uri=sys.argv[1], dst_path=sys.argv[2])
print("CALL", time.perf_counter() - began)
"""


@contextmanager
def mlflow_server(python: str, server: Server, folder: Path) -> Iterator[dict[str, str]]:
    """MLflow's tracking server; what its client needs in its environment."""
    port = Ports.free().api
    said = json.loads((server.data / "credentials.json").read_text())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_", "PYTHON"))}
    environment = {
        **kept,
        "AWS_ACCESS_KEY_ID": said["access_key"],
        "AWS_SECRET_ACCESS_KEY": said["secret_key"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{server.ports.s3}",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes more, that do nothing here
        "GIT_PYTHON_REFRESH": "quiet",
    }
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--no-serve-artifacts"]
    command += ["--default-artifact-root", f"s3://{BUCKET}/mlflow"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder, process_group=0)
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, folder / "server.log")
        yield environment
    finally:
        os.killpg(process.pid, 9)
        process.wait(10)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"MLflow's server did not start: {log.read_text()[-3000:]}") from None
            time.sleep(0.2)


def versions(python: str) -> str:
    """MLflow's."""
    script = "import mlflow.version; print(mlflow.version.VERSION)"
    return subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
