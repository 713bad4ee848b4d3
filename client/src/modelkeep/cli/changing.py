"""Changing models: update, tag, rm."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import click

from modelkeep.cli import showing
from modelkeep.cli.common import Shared, can_ask, common, pass_shared
from modelkeep.cli.fields import check_name, given_fields, metadata_options
from modelkeep.cli.text import clean, count, size
from modelkeep.errors import ModelkeepError, UsageError
from modelkeep.names import Ref, parse_ref

if TYPE_CHECKING:
    from modelkeep.client import Client
    from modelkeep.results import Version

_NAMED = 10  # versions that a question lists


@click.command("update")
@click.argument("ref", metavar="USER/MODEL[:VERSION]")
@metadata_options
@click.option("--primary", "primary_file_path", metavar="PATH", help="Which of its files is the model.")
@click.option("--unset", metavar="FIELD", multiple=True, help="Forget what a field says; may be repeated.")
@click.option("--if-match", metavar="ETAG", help="Only if it is still as `info --json` said by `etag`; else exit 5.")
@common
@pass_shared
def update_command(
    shared: Shared,
    /,
    ref: str,
    unset: tuple[str, ...],
    if_match: str | None,
    primary_file_path: str | None,
    **options: Any,
) -> None:
    """Change what is said of a version; its files stay.

    A value replaces the old one whole, but --custom changes the keys that it
    names and keeps the others. Values of --set and --custom are JSON, or else
    plain text. Without VERSION: the newest.

    \b
    Examples:
      modelkeep update alice/bert:v2 --description "Better at German" --production
      modelkeep update alice/bert --test-accuracy 0.93 --custom team=vision
      modelkeep update alice/bert --set 'input_shape=[1, 512]' --unset algorithm
      modelkeep update alice/bert --metadata card.yaml
    """
    from modelkeep.changing import modify

    fields = given_fields({**options, "custom": ()})
    if options["metadata_file"]:
        from modelkeep.pushing.fields import load_fields

        fields = load_fields(fields, options["metadata_file"])
    if primary_file_path is not None:
        fields["primary_file_path"] = primary_file_path
    for name in unset:
        if check_name(name) in fields:
            raise UsageError(f"{name} is set and unset")
        fields[name] = None
    custom = given_fields({"custom": options["custom"]}).get("custom_metadata", {})
    if not fields and not custom:
        raise UsageError("nothing to change is given", hint="`modelkeep update --help` lists the fields.")
    client = shared.client()
    if custom and "custom_metadata" not in fields and if_match is None:
        version = modify(
            client, ref, lambda now: {**fields, "custom_metadata": {**(now.custom_metadata or {}), **custom}}
        )
    else:
        if custom:
            before = fields["custom_metadata"] if "custom_metadata" in fields else client.get(ref).custom_metadata
            fields["custom_metadata"] = {**(before or {}), **custom}
        version = client.update(ref, if_match=if_match, **fields)
    shared.out.result(showing.version_json(version), f"Updated {version}.")


@click.command("tag")
@click.argument("ref", metavar="USER/MODEL[:VERSION]")
@click.argument("tags", metavar="[TAG]...", nargs=-1)
@click.option("--remove", metavar="TAG", multiple=True, help="Take this tag away; may be repeated.")
@common
@pass_shared
def tag_command(shared: Shared, ref: str, tags: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Add tags to a version, or take them away.

    Other tags stay, also those that somebody adds at the same time. A + before
    a tag may be written and means nothing. Without VERSION: the newest.

    \b
    Examples:
      modelkeep tag alice/bert:v2 german sentiment
      modelkeep tag alice/bert +stable --remove candidate
    """
    from modelkeep import changing

    added = [each.removeprefix("+") for each in tags]
    for each in (*added, *remove):
        if not each.strip() or "," in each:
            raise UsageError(f"{each!r} can't be a tag: it is empty or has a comma")
    if not added and not remove:
        raise UsageError("no tag is given")
    version = changing.tag(shared.client(), ref, added, remove)
    shared.out.result(showing.version_json(version), f"{version} has the tags: {', '.join(version.tags) or '(none)'}")


@click.command("rm")
@click.argument("ref", metavar="USER/MODEL[:VERSION]")
@click.option("--all", "all_", is_flag=True, help="All versions of the model.")
@click.option("--purge", is_flag=True, help="For good, also where the bucket keeps what is deleted for a while.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@common
@pass_shared
def rm_command(shared: Shared, ref: str, all_: bool, purge: bool, yes: bool) -> None:
    """Delete a version, or all of a model.

    Says what would go and asks; where there is no terminal to ask at, --yes is
    needed. A model of several versions wants to know which: VERSION or --all.

    \b
    Examples:
      modelkeep rm alice/bert:v1
      modelkeep rm alice/bert --all --yes
    """
    model = parse_ref(ref)
    if all_ and model.version:
        raise UsageError("--all is for all versions of a model", hint=f"Leave :{model.version} out, or --all.")
    if not yes and not can_ask():
        flags = [flag for flag, given in (("--all", all_), ("--purge", purge)) if given]
        hint = f"`{shared.command('rm', ref, *flags, '--yes')}`"
        raise UsageError("there is no terminal to ask at", code="no_terminal", hint=hint)
    client = shared.client()
    model, going = _going(client, model, all_)
    if not yes:
        click.echo(f"{'This will be deleted for good' if purge else 'This will be deleted'}:", err=True)
        for line in going:
            click.echo(f"  {clean(line)}", err=True)
        if not click.confirm("Delete?", err=True):
            raise ModelkeepError("nothing was deleted", code="declined")
    gone = client.delete(model, all_versions=all_, purge=purge)
    state = "is being deleted; its name is free when that is done" if gone.status == "deleting" else "is deleted"
    shared.out.result(
        {"user_id": gone.user_id, "model_id": gone.model_id, "versions": gone.versions, "status": gone.status},
        *(f"{gone.user_id}/{gone.model_id}:{version} {state}." for version in gone.versions),
    )


def _going(client: Client, model: Ref, all_: bool) -> tuple[Ref, list[str]]:
    """What a delete would take, for people, and what to ask the registry for so that it takes just that."""
    if model.version:
        return model, [_line(client.get(model))]
    found = list(itertools.islice(client.versions(model), 1000))
    if not found:  # the registry says why
        return model, [_line(client.get(model))]
    if len(found) > 1 and not all_:
        names = ", ".join(each.version for each in found[:_NAMED]) + (", …" if len(found) > _NAMED else "")
        raise UsageError(
            f"{model} has {len(found)} versions: {names}",
            code="version_required",
            hint=f"Name one, as {model}:{found[0].version}, or say --all.",
        )
    lines = [_line(each) for each in found[:_NAMED]]
    if len(found) > _NAMED:
        rest = found[_NAMED:]
        lines.append(f"and {count(len(rest), 'more version')}, {size(sum(each.total_size for each in rest))}")
    return (model if all_ else model.at(found[0].version)), lines


def _line(version: Version) -> str:
    return f"{showing.summary(version)}  {version.name}"
