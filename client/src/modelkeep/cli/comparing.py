"""What differs between two versions."""

from __future__ import annotations

import json
from typing import Any

import click

from modelkeep.cli.common import Shared, common, pass_shared
from modelkeep.cli.showing import file_json
from modelkeep.cli.text import count, size


@click.command("diff")
@click.argument("a", metavar="USER/MODEL[:VERSION]")
@click.argument("b", metavar="USER/MODEL[:VERSION]")
@click.option("--exit-code", is_flag=True, help="Exit 1 if anything differs.")
@common
@pass_shared
def diff_command(shared: Shared, a: str, b: str, exit_code: bool) -> int:
    """Compare two versions.

    Files by digest, metadata side by side. No byte of a file moves. With --json one object: a, b, equal (the files
    are), only_a, only_b, changed, same (how many files), metadata.

    \b
    Examples:
      modelkeep diff alice/bert:v1 alice/bert:v2
      modelkeep diff alice/bert bob/bert --exit-code --quiet
    """
    found = shared.client().diff(a, b)
    out = shared.out
    out.result(
        {
            "a": str(found.a),
            "b": str(found.b),
            "equal": found.equal,
            "only_a": [file_json(file) for file in found.only_a],
            "only_b": [file_json(file) for file in found.only_b],
            "changed": [{"path": each.path, "a": file_json(each.a), "b": file_json(each.b)} for each in found.changed],
            "same": found.same,
            "metadata": {name: {"a": values[0], "b": values[1]} for name, values in found.metadata.items()},
        }
    )
    out.table(
        ("FILE", str(found.a), str(found.b)),
        [
            *(["- " + file.path, size(file.size), ""] for file in found.only_a),
            *(["+ " + file.path, "", size(file.size)] for file in found.only_b),
            *(["~ " + each.path, size(each.a.size), size(each.b.size)] for each in found.changed),
        ],
    )
    if found.metadata:
        out.table(
            ("FIELD", str(found.a), str(found.b)),
            [[name, _text(values[0]), _text(values[1])] for name, values in found.metadata.items()],
        )
    out.text(f"{count(found.same, 'file')} {'is' if found.same == 1 else 'are'} the same.")
    differs = not found.equal or bool(found.metadata)
    return 1 if exit_code and differs else 0


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
