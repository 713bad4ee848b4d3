"""The template as CloudFormation gets it: `python translating.py TEMPLATE NAME=VALUE…` prints it as JSON; with
`--serve` it does so for each line of its input, the parameters as JSON.

Runs in the SAM CLI's environment (.venv-sam), which has SAM's own translator; tests call `translate`.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PYTHON = ROOT / ".venv-sam" / "bin" / "python"
REQUIRED = {"Issuer": "https://issuer.example.com", "Audience": "modelkeep"}


def translate(*, template: Path = ROOT / "template.yaml", **parameters: str) -> dict[str, Any]:
    """What SAM makes of the template with these values; layers and functions lie at made-up addresses on S3."""
    process = _translator(template)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(parameters) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    assert answer, "SAM's translator failed: see what it says above"
    translated: dict[str, Any] = json.loads(answer)
    return translated


@cache
def _translator(template: Path) -> subprocess.Popen[str]:
    """One process for many sets of parameters: to import SAM and to read the template takes most of the time."""
    command = [str(PYTHON), __file__, str(template), "--serve"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _main(path: str, *given: str) -> None:
    from samcli.yamlhelper import yaml_dump, yaml_parse

    logging.disable()
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"  # the translator wants one; it calls nobody
    # Written and read again, as `sam deploy` does: what YAML's aliases share is shared no more.
    template = yaml_parse(yaml_dump(yaml_parse(Path(path).read_text())))
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = f"s3://built/{resource['Properties'][name].strip('/')}"
    if given == ("--serve",):
        for line in sys.stdin:
            print(json.dumps(_transformed(template, json.loads(line))), flush=True)
    else:
        json.dump(_transformed(template, dict(each.split("=", 1) for each in given)), sys.stdout, indent=1)


def _transformed(template: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    from samtranslator.translator.transform import transform

    transformed: dict[str, Any] = transform(
        copy.deepcopy(template), {**REQUIRED, **parameters}, _Policies(), passthrough_metadata=False
    )
    return transformed


class _Policies:
    """AWS's managed policies by name, for which the translator would ask IAM: none is named in the template."""

    def load(self) -> dict[str, str]:
        return {}


if __name__ == "__main__":
    _main(*sys.argv[1:])
