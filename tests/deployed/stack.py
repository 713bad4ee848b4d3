"""`sam build` for this machine and `sam deploy` into MiniStack, as `docs/deploy.md` says, and what came out of it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deployed.account import REGION, ROOT, MiniStack

SAM = ROOT / ".venv-sam" / "bin" / "sam"
STACK = "modelkeep-test"
SERVICES = {"dynamodb", "lambda", "s3", "sts"}  # sts: for tests alone
RUNTIME = f"python3.{sys.version_info.minor}"
MACHINE = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


class DeploymentError(Exception):
    """A step of SAM's failed; the message has its output."""


@dataclass(frozen=True)
class Deployed:
    """The stack's outputs, and where clients reach its API."""

    api_url: str
    api_id: str
    bucket: str
    table: str
    outputs: dict[str, str]


def build(folder: Path) -> Path:
    """The built template. What is built does not depend on parameters but runtime and architecture."""
    options = ["--build-dir", str(folder / "build"), "--cache-dir", str(folder / "cache"), "--cached", "--parallel"]
    parameters = {"PythonRuntime": RUNTIME, "Architecture": MACHINE}
    _sam(
        ["build", *options, *_overrides(parameters)],
        {"RUNTIME": RUNTIME, "ARCHITECTURE": MACHINE, "AWS_DEFAULT_REGION": REGION},
    )
    built = folder / "build" / "template.yaml"
    _lighten(built.parent)
    template = yaml.safe_load(built.read_text())
    reduce(template)
    built.write_text(yaml.safe_dump(template, sort_keys=False))
    return built


def _lighten(folder: Path) -> None:
    """Bytecode into the layers, and out with the descriptions of the services that no function calls. MiniStack unpacks
    layers for each process of each function, so that otherwise every cold start would compile every import and write
    2,000 files: 7 to 20 s on two busy cores."""
    for service in (folder / "DependenciesLayer" / "python" / "botocore" / "data").iterdir():
        if service.is_dir() and service.name not in SERVICES:
            shutil.rmtree(service)
    layers = [str(folder / name) for name in ("DependenciesLayer", "RegistryLayer")]
    options = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([sys.executable, "-m", "compileall", *options, *layers], check=True, capture_output=True)


def reduce(template: dict[str, Any]) -> None:
    """Take away what MiniStack refuses to make, and no more; docs/deploy.md lists it."""
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in properties:
            # No metric math: such an alarm looks at the first of its metrics alone.
            stat = next(each["MetricStat"] for each in properties.pop("Metrics") if "MetricStat" in each)
            properties |= stat["Metric"] | {"Statistic": stat["Stat"], "Period": stat["Period"]}


def deploy(ministack: MiniStack, template: Path, parameters: dict[str, str]) -> Deployed:
    """`sam deploy`, without questions."""
    parameters = {"PythonRuntime": RUNTIME, "Architecture": MACHINE, **parameters}
    options = ["--stack-name", STACK, "--region", REGION, "--no-confirm-changeset", "--no-progressbar"]
    _sam(["deploy", "--template-file", str(template), *options, *_overrides(parameters)], ministack.environment())
    return deployed(ministack)


def deployed(ministack: MiniStack) -> Deployed:
    """The stack as CloudFormation describes it."""
    (stack,) = ministack.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    host, stage = outputs["ApiUrl"].removeprefix("https://").rstrip("/").split("/", 1)
    api_id = host.partition(".")[0]
    return Deployed(ministack.api_url(api_id, stage), api_id, outputs["BucketName"], outputs["TableName"], outputs)


def warm(ministack: MiniStack) -> None:
    """Have every function started, by its event in tests/events: MiniStack ends a process whose function raised."""
    client = ministack.client("lambda")
    pages = client.get_paginator("list_functions").paginate()

    def start(name: str) -> None:
        event = ROOT / "tests" / "events" / f"{name.removeprefix(f'{STACK}-')}.json"
        client.invoke(FunctionName=name, Qualifier="live", Payload=event.read_bytes())

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(start, [each["FunctionName"] for page in pages for each in page["Functions"]]))


def _overrides(parameters: dict[str, str]) -> list[str]:
    return ["--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items())]


def _sam(arguments: list[str], environment: dict[str, str]) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    path = f"{SAM.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    done = subprocess.run(
        [str(SAM), *arguments, "--config-file", str(ROOT / "samconfig.toml")],
        cwd=ROOT,
        env={**kept, "PATH": path, "SAM_CLI_TELEMETRY": "0", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode != 0:
        raise DeploymentError(f"sam {' '.join(arguments)}\n{done.stdout}\n{done.stderr}")
