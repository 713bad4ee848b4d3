"""The template as data: for given parameters, every intrinsic function becomes what it says, or a text to compare."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
STACK = {
    "AWS::StackName": "S",
    "AWS::AccountId": "A",
    "AWS::Region": "R",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
REQUIRED = {"Issuer": "https://issuer.example.com", "Audience": "modelkeep"}
BUCKET_ARN = "arn:aws:s3:::S-A-R"
TABLE_ARN = "arn:aws:dynamodb:R:A:table/S"
FUNCTION_ARN = "arn:aws:lambda:R:A:function:S-"
_NOTHING = object()


class _Loader(yaml.SafeLoader):
    pass


def _construct(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: node.value.split(".", 1) if suffix == "GetAtt" else node.value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _construct)


@cache
def source() -> dict[str, Any]:
    """template.yaml as it is written."""
    # bandit's rule: the loader is safe, it derives from SafeLoader
    return yaml.load((ROOT / "template.yaml").read_text(), Loader=_Loader)


def load_template(**parameters: str) -> dict[str, Any]:
    """template.yaml with these parameters: what their conditions leave out is not in it."""
    return resolve(source(), **parameters)


def resolve(template: dict[str, Any], **parameters: str) -> dict[str, Any]:
    """A template with its functions worked out, as far as that can be done before there is a stack."""
    declared = source()["Parameters"]
    assert set(parameters) <= set(declared)
    values: dict[str, Any] = {}
    for name, each in declared.items():
        value = str({**REQUIRED, **parameters}.get(name, each.get("Default")))
        values[name] = value.split(",") if each["Type"] == "CommaDelimitedList" else value
    resolver = _Resolver(template, values)
    worked_out = ("Globals", "Resources", "Outputs")
    found = {name: resolver(part) if name in worked_out else part for name, part in template.items()}
    for part in ("Resources", "Outputs"):
        found[part] = {
            name: each for name, each in found[part].items() if resolver.holds({"Condition": each.get("Condition")})
        }
    return found


class _Resolver:
    def __init__(self, template: dict[str, Any], values: dict[str, Any]) -> None:
        self._conditions = template["Conditions"]
        self._mappings = template.get("Mappings", {})
        self._values = {**values, **STACK}

    def holds(self, condition: dict[str, Any]) -> bool:
        ((name, given),) = condition.items()
        if name == "Condition":
            return given is None or self.holds(self._conditions[given])
        if name == "Fn::Not":
            return not self.holds(given[0])
        if name == "Fn::And":
            return all(self.holds(each) for each in given)
        assert name == "Fn::Equals", name
        return str(self(given[0])) == str(self(given[1]))

    def __call__(self, given: Any) -> Any:
        if isinstance(given, list):
            return [each for each in map(self, given) if each is not _NOTHING]
        if not isinstance(given, dict):
            return given
        if len(given) == 1:
            ((name, of),) = given.items()
            if name == "Ref":
                return _NOTHING if of == "AWS::NoValue" else self._values.get(of, f"Ref {of}")
            if name.startswith("Fn::"):
                return getattr(self, "_" + name.removeprefix("Fn::").lower())(of)
        worked_out = {name: self(each) for name, each in given.items()}
        return {name: each for name, each in worked_out.items() if each is not _NOTHING}

    def _getatt(self, of: Any) -> str:
        return f"GetAtt {'.'.join(of)}"

    def _sub(self, of: Any) -> str:
        text, names = (of, {}) if isinstance(of, str) else of
        known = {**self._values, **self(names)}
        return re.sub(r"\$\{([\w:.]+)\}", lambda match: str(known.get(match[1], match[0])), text)

    def _select(self, of: Any) -> Any:
        return self(of[1])[int(of[0])]

    def _split(self, of: Any) -> Any:
        return str(self(of[1])).split(of[0])

    def _if(self, of: Any) -> Any:
        return self(of[1] if self.holds({"Condition": of[0]}) else of[2])

    def _join(self, of: Any) -> str:
        return str(of[0]).join(self(of[1]))

    def _findinmap(self, of: Any) -> Any:
        first, second, third = self(of)
        return self._mappings[first][second][third]


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
