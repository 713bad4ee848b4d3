"""The template as data: !Sub, !Ref and !GetAtt become texts that can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
STACK = {"AWS::StackName": "S", "AWS::AccountId": "A", "AWS::Region": "R", "AWS::Partition": "aws"}
BUCKET_ARN = "arn:aws:s3:::S-A-R"
TABLE_ARN = "arn:aws:dynamodb:R:A:table/S"
FUNCTION_ARN = "arn:aws:lambda:R:A:function:S-"


class _Loader(yaml.SafeLoader):
    pass


def _sub(loader: yaml.SafeLoader, node: yaml.Node) -> str:
    text = str(node.value)
    for name, value in STACK.items():
        text = text.replace("${" + name + "}", value)
    return text


_Loader.add_constructor("!Sub", _sub)
_Loader.add_constructor("!Ref", lambda loader, node: f"Ref {node.value}")
_Loader.add_constructor("!GetAtt", lambda loader, node: f"GetAtt {node.value}")


def load_template(path: Path = ROOT / "template.yaml") -> dict[str, Any]:
    # bandit's rule: the loader is safe, it derives from SafeLoader
    return yaml.load(path.read_text(), Loader=_Loader)


def resources_of(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {name: each for name, each in template["Resources"].items() if each["Type"] == kind}


def functions_of(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The functions' properties, by folder."""
    found = resources_of(template, "AWS::Serverless::Function")
    return {each["Properties"]["CodeUri"].split("/")[1]: each["Properties"] for each in found.values()}


def statements_of(properties: dict[str, Any]) -> list[dict[str, Any]]:
    return [statement for policy in properties.get("Policies", ()) for statement in policy["Statement"]]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
