"""`make test-deployed`: MiniStack, a real `sam deploy` of the template, and the tests over it.

Arguments are pytest's. Without any that names tests: all of the end-to-end suite that a gateway carries, and
tests/deployed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import requests
from cryptography.hazmat.primitives import serialization

from tests.deployed import account, stack
from tests.deployed.account import ACCESS_KEY, ROOT, SECRET_KEY, MiniStack
from tests.end_to_end.targets import read_target, resolve_localhost
from tests.issuer import Issuer

TESTS = ["tests/end_to_end", "tests/deployed"]
ISSUER = "https://login.example.com"  # the template takes no other than https
# No process of ours to kill, and the gateway's limits, which functions keep to by themselves.
LACKS = ["process", "front", "unlimited", "anybody"]


def main() -> int:
    """pytest's exit status; 2 if there was nothing to test."""
    for name, there in ((".venv-ministack", account.installed()), (".venv-sam", stack.SAM.exists())):
        if not there:
            print(f"{name} is missing or unfinished: `make test-deployed` makes it.", file=sys.stderr)
            return 2
    arguments = sys.argv[1:] + ([] if any(each.startswith("tests/") for each in sys.argv) else TESTS)
    signal.signal(signal.SIGTERM, stop)
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {what}", flush=True)

    with tempfile.TemporaryDirectory(prefix="modelkeep-deployed-", dir=scratch()) as name:
        folder = Path(name)
        say("sam build")
        template = stack.build(folder / "sam")
        with Issuer() as issuer, MiniStack(folder) as ministack:
            say(f"sam deploy into MiniStack, {ministack.endpoint}")
            try:
                deployed = stack.deploy(ministack, template, parameters(issuer))
            except stack.DeploymentError as exc:
                print(f"{exc}\nThe end of MiniStack's log:\n{ministack.tail()}", file=sys.stderr)
                return 1
            say("every function once, so that no test waits for its start")
            stack.warm(ministack)
            target = folder / "target.json"
            target.write_text(json.dumps(describe(ministack, deployed, issuer, folder)))
            if not answers(target, ministack):
                keep_logs(ministack, folder / "logs")
                said = (folder / "logs" / f"aws.lambda.{stack.STACK}-authenticate_request.log").read_text()
                print(f"The authorizer's log:\n{said[-4000:]}", file=sys.stderr)
                return 1
            say(f"tests against {deployed.api_url}")
            status = subprocess.run(
                [sys.executable, "-m", "pytest", "-m", "not long", *arguments],
                cwd=ROOT,
                env={**clean_environment(), **ministack.trust(), "MODELKEEP_TEST_TARGET": str(target)},
                check=False,
            ).returncode
            kept = os.environ.get("MODELKEEP_TEST_LOGS")
            if status and kept:
                keep_logs(ministack, Path(kept))
            elif status:
                print("The logs of the functions are kept in the folder that MODELKEEP_TEST_LOGS names, if it does.")
    say("stopped and cleaned up")
    return status


def scratch() -> str | None:
    """Memory, where there is plenty: each process of each function unpacks the layers, 3,000 files, some 2 GB in all.
    None: where temporary files are put."""
    shared = Path("/dev/shm")
    plenty = shared.is_dir() and min(shutil.disk_usage(shared).free, psutil.virtual_memory().available) > 12 * 1024**3
    return str(shared) if plenty else None


def stop(*_: object) -> None:
    """On SIGTERM end as on Ctrl-C, so that everything is cleaned up; a second one does not interrupt that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def answers(target: Path, ministack: MiniStack) -> bool:
    """Whether the registry says to somebody new that nothing is there yet: else no test need be tried."""
    resolve_localhost()
    reached = read_target(str(target))
    assert reached is not None
    answer = requests.get(
        f"{reached.url}/ai-models/nobody",
        headers={"Authorization": f"Bearer {reached.token('nobody')}"},
        verify=str(ministack.certificate),
        timeout=60,
    )
    if (answer.status_code, answer.text) == (200, "[]"):
        return True
    print(f"The deployment does not work, it answers {answer.status_code} {answer.text}", file=sys.stderr)
    return False


def keep_logs(ministack: MiniStack, folder: Path) -> None:
    """MiniStack's own log, and each function's as CloudWatch has it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ministack.log").write_bytes(ministack.log.read_bytes())
    logs = ministack.client("logs")
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
            lines = [event["message"] for each in pages for event in each["events"]]
            (folder / f"{group['logGroupName'].strip('/').replace('/', '.')}.log").write_text("\n".join(lines))


def parameters(issuer: Issuer) -> dict[str, str]:
    """The template's parameters, as `sam deploy --guided` would ask for them."""
    return {
        "Issuer": ISSUER,
        "JwksUrl": issuer.jwks_url,  # where the keys are is said, so that no discovery asks a host that is not there
        "Audience": issuer.audience,
        "DeletionProtection": "false",
    }


def describe(ministack: MiniStack, deployed: stack.Deployed, issuer: Issuer, folder: Path) -> dict[str, object]:
    """What tests/end_to_end/targets.py reads, and what tests/deployed needs more."""
    key = issuer.keys[-1]
    pem = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "url": deployed.api_url,
        "s3": {
            "endpoint": ministack.endpoint,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
            "bucket": deployed.bucket,
        },
        "lacks": LACKS,
        "patience": 6,
        "issuer": {
            "url": ISSUER,
            "audience": issuer.audience,
            "algorithm": key.algorithm,
            "key_id": key.key_id,
            "private_key": pem.decode(),
        },
        "deployment": {"folder": str(folder), "port": ministack.port},
    }


def clean_environment() -> dict[str, str]:
    """Nothing that a shell set for other installations."""
    foreign = ("REGISTRY_", "AWS_", "MODELKEEP_TEST_TARGET")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


if __name__ == "__main__":
    sys.exit(main())
