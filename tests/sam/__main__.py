"""`make test-local`: starts `make local` on free ports, runs the end-to-end suite and tests/sam over it, and stops it.

Arguments are pytest's: `python -m tests.sam -k races`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from local.children import kill_leftovers
from local.ports import Ports

PROJECT = Path(__file__).parents[2]
_START_SECONDS = 600


def main() -> int:
    """pytest's exit status; 1 if the stack does not start."""
    with tempfile.TemporaryDirectory(prefix="modelkeep-local-") as name:
        folder = Path(name)
        data, ports = folder / "data", Ports.free()
        command = [sys.executable, "-m", "local.sam_service", "--port", str(ports.api), "--data", str(data)]
        command += ["--stores", "native"]
        with (folder / "log").open("wb") as log:
            service = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            began = time.monotonic()
            while "Modelkeep is ready" not in (said := (folder / "log").read_text()):
                if service.poll() is not None or time.monotonic() - began > _START_SECONDS:
                    print(f"`make local` did not start:\n{said}", file=sys.stderr)
                    return 1
                time.sleep(0.2)
            print(f"make local: ready after {time.monotonic() - began:.0f} s", flush=True)
            target = folder / "target.json"
            target.write_text(json.dumps(_target(ports, data)))
            tests = ["tests/end_to_end", "tests/sam"]
            arguments = sys.argv[1:] or ["-m", "not long"]
            return subprocess.run(
                [sys.executable, "-m", "pytest", *tests, *arguments],
                cwd=PROJECT,
                env={**os.environ, "MODELKEEP_TEST_TARGET": str(target)},
            ).returncode
        finally:
            service.send_signal(signal.SIGTERM)
            try:
                service.wait(90)
            except subprocess.TimeoutExpired:
                service.kill()
            kill_leftovers(data)


def _target(ports: Ports, data: Path) -> dict[str, object]:
    credentials = json.loads((data / "credentials.json").read_text())
    return {
        "url": f"http://localhost:{ports.api}",
        "s3": {"endpoint": f"http://127.0.0.1:{ports.s3}", "bucket": "modelkeep", **credentials},
        "lacks": ["process", "front", "unlimited"],
        "patience": 4.0,  # the first call of a function starts its container
        "sam": {"data": str(data), "start_lambda": ports.start_lambda},
    }


if __name__ == "__main__":
    sys.exit(main())
