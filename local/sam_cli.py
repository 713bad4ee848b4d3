"""SAM CLI as we call it: the build for this machine, the template for the stores here, and `sam local`'s servers."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.children import Child
from local.invoking import FunctionNotFoundError, Result
from local.ports import LOOPBACK

PROJECT = Path(__file__).parent.parent
TEMPLATE = "template-local.yaml"  # in the build folder
_TIMEOUT_SECONDS = 930  # the longest function may take 900
_START_SECONDS = 120


class SamError(Exception):
    """SAM did not build or start; the text says why."""


def logical_id(function_name: str) -> str:
    """A function's name in the template: get_model is GetModelFunction."""
    return function_name.title().replace("_", "") + "Function"


def runtime() -> str:
    """Lambda's name of this machine's Python: what is built and run here."""
    return f"python3.{sys.version_info.minor}"


def architecture() -> str:
    """Lambda's name of this machine's processor."""
    return "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


def parameters(template: Path = PROJECT / "template.yaml") -> list[str]:
    """The template's parameters for this machine; what a deployment has to say and nothing here reads is filled in."""
    ours = {"PythonRuntime": runtime(), "Architecture": architecture()}
    declared: dict[str, Any] = yaml.load(template.read_text(), Loader=_AnyTag)["Parameters"]  # noqa: S506  # a SafeLoader
    for name, parameter in declared.items():
        if name not in ours and "Default" not in parameter:
            ours[name] = "https://issuer.example.com"
    return ["--parameter-overrides", " ".join(f"{name}={value}" for name, value in ours.items() if name in declared)]


def environment() -> dict[str, str]:
    """For SAM: the shell's, without AWS's credentials, with which every start takes seconds longer."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        "PATH": f"{PROJECT / '.venv-sam' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "SAM_CLI_TELEMETRY": "0",
        "AWS_DEFAULT_REGION": "us-east-1",
        "RUNTIME": runtime(),
        "ARCHITECTURE": architecture(),
    }


def build(folder: Path) -> None:
    """`sam build` for this machine, into a folder of its own. SamError."""
    command = ["sam", "build", "--build-dir", str(folder), "--cache-dir", str(PROJECT / ".aws-sam" / "local-cache")]
    done = subprocess.run(
        [*command, *parameters()], cwd=PROJECT, env=environment(), capture_output=True, text=True, timeout=900
    )
    if done.returncode != 0:
        raise SamError(f"`sam build` failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def write_template(folder: Path, variables: Mapping[str, str]) -> None:
    """The built template with these variables in every function: SAM passes on those alone that a template names."""
    template: dict[str, Any] = yaml.load((folder / "template.yaml").read_text(), Loader=_AnyTag)  # noqa: S506
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            properties = resource["Properties"]
            named = properties.setdefault("Environment", {}).setdefault("Variables", {})
            named.update(variables)
    (folder / TEMPLATE).write_text(yaml.safe_dump(template, sort_keys=False))


class _AnyTag(yaml.SafeLoader):
    """Reads !Sub and its like as their long forms, as `sam build` writes them."""


def _long_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        return {name: value.split(".", 1) if tag == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_AnyTag.add_multi_constructor("!", _long_form)


def child(command: str, *, build: Path, folder: Path, port: int, options: tuple[str, ...] = ()) -> Child:
    """`sam local start-api` or `start-lambda` on a loopback port; not yet started."""
    words = ["sam", "local", command, "--template", str(build / TEMPLATE), "--host", LOOPBACK, "--port", str(port)]
    words += ["--warm-containers", "LAZY", "--skip-pull-image", *options, *parameters()]
    program = str(PROJECT / ".venv-sam" / "bin" / "sam")
    return Child(command, [program, *words[1:]], folder=folder, environment=environment())


def wait_for(child: Child, port: int) -> None:
    """Return once it answers HTTP. SamError, with its log, if it does not."""
    began = time.monotonic()
    while not _answers(port) or not child.is_running():  # an answer may be another program's
        if not child.is_running() or time.monotonic() - began > _START_SECONDS:
            raise SamError(f"`sam local {child.name}` did not start:\n{child.log_tail()}")
        time.sleep(0.2)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://{LOOPBACK}:{port}/", timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True


def invoke_command(build: Path, function_name: str, event: Path) -> list[str]:
    """`sam local invoke` of one function."""
    words = ["sam", "local", "invoke", logical_id(function_name), "--event", str(event.absolute())]
    return [*words, "--template", str(build / TEMPLATE), "--skip-pull-image", *parameters()]


class StartLambda:
    """Calls functions by `sam local start-lambda`."""

    def __init__(self, port: int, *, functions: Path = PROJECT / "functions") -> None:
        self._functions = functions
        self._client = boto3.client(
            "lambda",
            endpoint_url=f"http://{LOOPBACK}:{port}",
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106  # nobody looks
            config=Config(
                read_timeout=_TIMEOUT_SECONDS, retries={"total_max_attempts": 1}, max_pool_connections=32, proxies={}
            ),
        )

    def require(self, function_name: str) -> None:
        """Raise FunctionNotFoundError unless there is such a function."""
        if not (self._functions / function_name / "app.py").exists():
            raise FunctionNotFoundError(f"there is no function {function_name!r}")

    def invoke(self, function_name: str, event: Any, *, request_id: str) -> Result:
        """Call it and wait. SAM answers 200 to a function that raised, so that its body is what tells; one whose
        container went away has no body that is JSON."""
        del request_id
        self.require(function_name)
        try:
            answer = self._client.invoke(FunctionName=logical_id(function_name), Payload=json.dumps(event).encode())
            text = answer["Payload"].read()
        except (BotoCoreError, ClientError) as exc:
            return Result(error={"errorMessage": str(exc), "errorType": type(exc).__name__})
        try:
            payload = json.loads(text)
        except ValueError:
            message = text[:500].decode(errors="replace") or "the function ended without an answer"
            return Result(error={"errorMessage": message, "errorType": "Runtime.ExitError"})
        if isinstance(payload, dict) and {"errorMessage", "errorType"} <= payload.keys():
            return Result(error=payload)
        return Result(payload=payload)
