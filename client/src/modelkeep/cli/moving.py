"""Moving models: push, pull, verify."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelkeep.cli import showing
from modelkeep.cli.bars import Bars
from modelkeep.cli.common import Shared, common, pass_shared
from modelkeep.cli.fields import given_fields, metadata_options
from modelkeep.cli.text import clean, count, size
from modelkeep.errors import IntegrityError, NotFoundError, UsageError
from modelkeep.names import parse_ref

if TYPE_CHECKING:
    from modelkeep.results import Pulled, Upload


@click.command("push")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.argument("ref", metavar="USER/MODEL[:VERSION]")
@metadata_options
@click.option("--primary", metavar="PATH", help="Which of the files is the model; else the registry guesses.")
@click.option("--ignore", metavar="PATTERN", multiple=True, help="Leave out, as in .modelkeepignore; may be repeated.")
@click.option("--follow-links", is_flag=True, help="Push what links lead to, wherever it lies; else refused.")
@click.option("--no-unpack", is_flag=True, help="Keep a ZIP as the one file that it is.")
@click.option("--restart", is_flag=True, help="Give up what was begun for this version with other content.")
@common
@pass_shared
def push_command(
    shared: Shared,
    /,
    path: Path,
    ref: str,
    primary: str | None,
    ignore: tuple[str, ...],
    follow_links: bool,
    no_unpack: bool,
    restart: bool,
    metadata_file: Path | None,
    **options: Any,
) -> int:
    """Make a version of a file, a folder or a ZIP.

    Sends only what the registry does not have, each part with its SHA-256.
    Interrupted, offline, rebooted: run the same command again and it goes on
    where it was. Without VERSION the registry takes the next: v1, v2, ...
    A VERSION that has exactly these files already: nothing to do, exit 0.

    A folder may have a .modelkeepignore (patterns as in .gitignore) and a
    modelkeep.yaml (fields as in --metadata). Options win over --metadata, which
    wins over modelkeep.yaml. A ZIP is unpacked by the registry.

    \b
    Examples:
      modelkeep push ./bert alice/bert
      modelkeep push model.pkl alice/churn:2026-01 --framework sklearn --test-accuracy 0.93
      modelkeep push ./bert alice/bert --tag german --custom team=nlp --ignore '*.log'
      modelkeep push ~/.cache/huggingface/hub/models--x--y/snapshots/1234 alice/y --follow-links
      modelkeep push ./bert alice/bert --json | jq -r .version
    """
    client = shared.client()
    begun: list[Upload] = []
    try:
        with Bars(shared.out) as bars:
            version = client.push(
                path,
                ref,
                metadata=given_fields(options),
                metadata_file=metadata_file,
                primary=primary,
                ignore=ignore,
                follow_links=follow_links,
                unpack=not no_unpack,
                restart=restart,
                on_progress=bars,
                on_upload=begun.append,
            )
    except NotFoundError as error:
        if not begun:  # nobody looked for the model: another's namespace answers as if it were not there
            user_id = parse_ref(ref).user_id
            error.hint = f"To push to {user_id} you have to be {user_id}: `modelkeep whoami` shows your token's user."
        raise
    except KeyboardInterrupt:
        return interrupted(shared, begun[-1].upload_id if begun else None)
    if begun:
        said = f"Pushed {showing.summary(version)}."
    else:
        said = f"Nothing to do: {showing.summary(version)} has exactly these files."
    shared.out.result(showing.version_json(version), said)
    return 0


def interrupted(shared: Shared, upload_id: str | None) -> int:
    """Say how to go on and how to give up."""
    click.echo("\nStopped. What was sent is kept for 7 days.", err=True)
    click.echo(clean(f"  go on:    {shlex.join(['modelkeep', *sys.argv[1:]])}"), err=True)
    if upload_id:
        click.echo(clean(f"  give up:  {shared.command('uploads', 'abort', upload_id)}"), err=True)
    return 130


@click.command("pull")
@click.argument("ref", metavar="USER/MODEL[:VERSION]")
@click.option("--file", "patterns", metavar="PATTERN", multiple=True, help="Only these, as '*.json'; may be repeated.")
@click.option("--output", "-o", metavar="DIR", type=click.Path(path_type=Path), help="Where to (else ./MODEL).")
@click.option("--zip", "as_zip", is_flag=True, help="As one ZIP; -o is then the file (else MODEL-VERSION.zip).")
@click.option("--no-cache", is_flag=True, help="Keep nothing in this machine's cache, and take nothing from it.")
@click.option("--force", is_flag=True, help="Read all that is there; replace what differs, yours too.")
@common
@pass_shared
def pull_command(
    shared: Shared, ref: str, patterns: tuple[str, ...], output: Path | None, as_zip: bool, no_cache: bool, force: bool
) -> int:
    """Fetch a version.

    Each file is checked against its SHA-256 before it gets its name.
    Interrupted: run the same command again and it fetches what is missing.
    Without VERSION: the newest.

    \b
    Examples:
      modelkeep pull alice/bert
      modelkeep pull alice/bert:v2 -o ./model --file '*.safetensors' --file config.json
      modelkeep pull alice/bert:v2 --zip -o bert.zip
    """
    if as_zip and (patterns or no_cache or force):
        raise UsageError("--zip makes one file of all: --file, --no-cache and --force do not go with it")
    client = shared.client()
    try:
        with Bars(shared.out) as bars:
            if as_zip:
                path = client.pull_zip(ref, output, on_progress=bars)
            else:
                pulled = client.pull(ref, output, files=patterns, cache=not no_cache, force=force, on_progress=bars)
    except KeyboardInterrupt:
        click.echo("\nStopped. What was fetched is kept; the same command goes on:", err=True)
        click.echo(f"  {shlex.join(['modelkeep', *sys.argv[1:]])}", err=True)
        return 130
    if as_zip:
        shared.out.result({"ref": ref, "path": str(path)}, f"Pulled {ref} to {path}.")
    else:
        _show_pulled(shared, pulled)
    return 0


def _show_pulled(shared: Shared, pulled: Pulled) -> None:
    version = pulled.version
    there = f", {size(pulled.bytes_present)} of it were here already" if pulled.bytes_present else ""
    shared.out.result(
        {
            "user_id": version.user_id,
            "model_id": version.model_id,
            "version": version.version,
            "directory": str(pulled.directory),
            "paths": pulled.paths,
            "bytes_total": pulled.bytes_total,
            "bytes_fetched": pulled.bytes_fetched,
            "bytes_present": pulled.bytes_present,
        },
        f"Pulled {version} to {pulled.directory}: "
        f"{count(len(pulled.paths), 'file')}, {size(pulled.bytes_total)}{there}.",
    )


@click.command("verify")
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("ref", metavar="[USER/MODEL[:VERSION]]", required=False)
@common
@pass_shared
def verify_command(shared: Shared, directory: Path, ref: str | None) -> int:
    """Check a pulled folder against the registry, byte by byte.

    Without a version: the one that it was pulled from. Files that are damaged
    or missing: exit 6. Files that are only here are named and are no fault.

    \b
    Examples:
      modelkeep verify ./bert
      modelkeep verify ./bert alice/bert:v2 --json | jq .damaged
    """
    client = shared.client()
    with Bars(shared.out) as bars:
        found = client.verify(directory, ref, on_progress=bars)
    out, version = shared.out, found.version
    out.result(
        {
            "user_id": version.user_id,
            "model_id": version.model_id,
            "version": version.version,
            "directory": str(found.directory),
            "ok": found.ok,
            "intact": found.intact,
            "damaged": found.damaged,
            "missing": found.missing,
            "unknown": found.unknown,
        }
    )
    states = (("damaged", found.damaged), ("missing", found.missing), ("unknown", found.unknown))
    rows = [[state, path] for state, paths in states for path in paths]
    if rows:
        out.table(("STATE", "PATH"), rows)
    if found.ok:
        out.text(clean(f"{directory} is {version}: {count(len(found.intact), 'file')}, all intact."))
        return 0
    force = ["--force"] if found.damaged else []
    again = shared.command("pull", str(version), "-o", str(directory), *force)
    fault = IntegrityError(
        f"{directory} is not {version}: {len(found.damaged)} damaged, {len(found.missing)} missing",
        hint=f"`{again}` fetches them again.",
    )
    raise fault
