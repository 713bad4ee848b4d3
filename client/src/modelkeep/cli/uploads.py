"""Uploads that are not done: list, go on, give up."""

from __future__ import annotations

from pathlib import Path

import click

from modelkeep.cli import showing
from modelkeep.cli.bars import Bars
from modelkeep.cli.common import Shared, can_ask, common, own_user, pass_shared
from modelkeep.cli.moving import interrupted
from modelkeep.cli.text import clean, size
from modelkeep.errors import ModelkeepError, UsageError


class _Uploads(click.Group):
    """What is no subcommand's name is a user's: `uploads alice` is `uploads list alice`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The subcommand that is named, or `list`."""
        if args[0] not in self.commands:
            return "list", self.commands["list"], args
        return super().resolve_command(ctx, args)


@click.group("uploads", cls=_Uploads, invoke_without_command=True)
@common
@click.pass_context
def uploads_command(context: click.Context) -> None:
    """List, go on with or give up uploads that are not done.

    They expire after 7 days. `modelkeep push`, run again, goes on by itself;
    `resume` is for another machine with the same files.

    \b
    Examples:
      modelkeep uploads alice
      modelkeep uploads resume 01J9... ./bert
      modelkeep uploads abort 01J9... --yes
    """
    if context.invoked_subcommand is None:
        context.invoke(_list, user=None)


@uploads_command.command("list")
@click.argument("user", metavar="[USER]", required=False)
@common
@pass_shared
def _list(shared: Shared, user: str | None) -> None:
    """List a user's uploads that are not done.

    Without USER: those of whoever the token names. With --json an object a
    line.
    """
    client = shared.client()
    user_id = own_user(client, user)
    number = shared.out.rows(
        showing.UPLOAD_COLUMNS,
        client.uploads(user_id),
        document=showing.upload_json,
        cells=showing.upload_cells,
    )
    if number == 0:
        shared.out.note(f"{user_id} has no open uploads.")


@uploads_command.command("resume")
@click.argument("upload_id", metavar="ID")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--ignore", metavar="PATTERN", multiple=True, help="As it was given to push; may be repeated.")
@click.option("--follow-links", is_flag=True, help="As it was given to push.")
@common
@pass_shared
def _resume(shared: Shared, upload_id: str, path: Path, ignore: tuple[str, ...], follow_links: bool) -> int:
    """Go on with an upload, with the same content, from whatever machine.

    \b
    Example:
      modelkeep uploads resume 01J9... ./bert
    """
    client = shared.client()
    try:
        with Bars(shared.out) as bars:
            version = client.resume(upload_id, path, ignore=ignore, follow_links=follow_links, on_progress=bars)
    except KeyboardInterrupt:
        return interrupted(shared, upload_id)
    shared.out.result(showing.version_json(version), f"Pushed {showing.summary(version)}.")
    return 0


@uploads_command.command("abort")
@click.argument("upload_id", metavar="ID")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@common
@pass_shared
def _abort(shared: Shared, upload_id: str, yes: bool) -> None:
    """Give an upload up: what was sent goes, the version's name is free again.

    Says what it is and asks; where there is no terminal to ask at, --yes is
    needed.

    \b
    Example:
      modelkeep uploads abort 01J9... --yes
    """
    if not yes and not can_ask():
        hint = f"`{shared.command('uploads', 'abort', upload_id, '--yes')}`"
        raise UsageError("there is no terminal to ask at", code="no_terminal", hint=hint)
    client = shared.client()
    if not yes:
        upload = client.upload(upload_id)
        what = f"{upload.user_id}/{upload.model_id}:{upload.version}, of which {size(upload.bytes_stored)} were sent"
        click.echo(clean(f"The upload of {what}."), err=True)
        if not click.confirm("Give it up?", err=True):
            raise ModelkeepError("nothing was given up", code="declined")
    gone = client.abort(upload_id)
    shared.out.result(
        showing.upload_json(gone), f"The upload of {gone.user_id}/{gone.model_id}:{gone.version} is given up."
    )
