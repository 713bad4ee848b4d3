"""The template as CloudFormation gets it: `python translating.py TEMPLATE NAME=VALUE…` prints it as JSON.

Runs in the SAM CLI's environment (.venv-sam), which has SAM's own translator; tests call `translate`.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PYTHON = ROOT / ".venv-sam" / "bin" / "python"
REQUIRED = {"Issuer": "https://issuer.example.com", "Audience": "modelkeep"}


def translate(*, template: Path = ROOT / "template.yaml", **parameters: str) -> dict[str, Any]:
    """What SAM makes of the template with these values; layers and functions lie at made-up addresses on S3."""
    given = [f"{name}={value}" for name, value in parameters.items()]
    command = [str(PYTHON), __file__, str(template), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    translated: dict[str, Any] = json.loads(done.stdout)
    return translated


def _main(path: str, *given: str) -> None:
    from samcli.yamlhelper import yaml_dump, yaml_parse
    from samtranslator.translator.transform import transform

    logging.disable()
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"  # the translator wants one; it calls nobody
    # Written and read again, as `sam deploy` does: what YAML's aliases share is shared no more.
    template = yaml_parse(yaml_dump(yaml_parse(Path(path).read_text())))
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = f"s3://built/{resource['Properties'][name].strip('/')}"
    values = {**REQUIRED, **dict(each.split("=", 1) for each in given)}
    json.dump(transform(template, values, _Policies(), passthrough_metadata=False), sys.stdout, indent=1)


class _Policies:
    """AWS's managed policies by name, for which the translator would ask IAM: none is named in the template."""

    def load(self) -> dict[str, str]:
        return {}


if __name__ == "__main__":
    _main(*sys.argv[1:])
