"""How values lie in rows, where pynamodb's own ways do not do."""

from __future__ import annotations

import json
from typing import Any

from pynamodb.attributes import Attribute, JSONAttribute
from pynamodb.constants import MAP, STRING


def read_plainly(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """For botocore's event `before-parse` of what reads rows: the answer is the JSON that came. Its own parser walks
    through every value by the API's description, which changes none but binary ones; there are none of these here, and
    it took a quarter of a search's processor time."""
    if response_dict["status_code"] == 200:
        customized_response_dict.update(json.loads(response_dict["body"]))
        response_dict["body"] = b""


class JsonAttribute(JSONAttribute):
    """JSON as UTF-8: as long in the row as its bounds say."""

    def serialize(self, value: Any) -> str | None:
        """The text, or None for none."""
        return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class TextsAttribute(Attribute[dict[str, str]]):
    """Texts by any name. A MapAttribute hands its names on as arguments, which some clash with (`self`)."""

    attr_type = MAP

    def serialize(self, value: dict[str, str]) -> dict[str, Any]:
        """As DynamoDB has it."""
        return {name: {STRING: text} for name, text in value.items()}

    def deserialize(self, value: dict[str, Any]) -> dict[str, str]:
        """The inverse."""
        return {name: text[STRING] for name, text in value.items()}
