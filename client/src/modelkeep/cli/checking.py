"""What is wrong with this machine, the way, or the registry."""

from __future__ import annotations

from dataclasses import asdict

import click

from modelkeep.cli.common import Shared, common, pass_shared
from modelkeep.cli.text import clean


@click.command("doctor")
@click.argument("ref", metavar="[USER/MODEL[:VERSION]]", required=False)
@common
@pass_shared
def doctor_command(shared: Shared, ref: str | None) -> int:
    """Look for what is wrong, and say what to do.

    Folders, proxy, registry, clock, token, store, one after the other.

    The store is tried by a byte of a file: of the version that is named, else
    of one of yours. Exit 7 if something fails. With --json one object.

    \b
    Examples:
      modelkeep doctor
      modelkeep doctor alice/bert --url https://models.example.com
    """
    from modelkeep.doctor import examine

    checks = []
    out = shared.out
    for check in examine(shared.client(), ref):
        checks.append(check)
        out.text(clean(f"{check.status:<5} {check.name:<14} {check.detail}"))
        if check.hint and check.status != "ok":
            out.text(clean(f"{'':<20} -> {check.hint}"))
    ok = all(check.status != "fail" for check in checks)
    out.result({"ok": ok, "checks": [asdict(check) for check in checks]})
    return 0 if ok else 7
