"""Finding models: ls, search, info, files, versions."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from modelkeep.cli import showing
from modelkeep.cli.common import Shared, common, own_user, pass_shared
from modelkeep.errors import NotFoundError, UsageError
from modelkeep.names import Ref, parse_ref

if TYPE_CHECKING:
    from modelkeep.results import File, Version

_F = TypeVar("_F", bound=Callable[..., Any])


def _filters(function: _F) -> _F:
    for option in (
        click.option("--tag", "tags", metavar="TAG", multiple=True, help="With this tag; repeated: with all of them."),
        click.option("--model-type", metavar="TYPE", help="As nlp or computer_vision."),
        click.option("--framework", metavar="NAME", help="As pytorch or sklearn."),
    ):
        function = option(function)
    return function


@click.command("ls")
@click.argument("what", metavar="[USER|USER/MODEL[:VERSION]]", required=False)
@_filters
@click.option("--production/--no-production", default=None, help="Marked as ready for production, or not.")
@click.option("--latest", is_flag=True, help="Each model's newest version only.")
@click.option("--inactive", is_flag=True, help="The inactive ones instead.")
@click.option("--all", "all_", is_flag=True, help="The inactive ones too.")
@common
@pass_shared
def ls_command(
    shared: Shared,
    what: str | None,
    framework: str | None,
    model_type: str | None,
    tags: tuple[str, ...],
    production: bool | None,
    latest: bool,
    inactive: bool,
    all_: bool,
) -> None:
    """List what a user, a model or a version has.

    A user's or a model's versions, newest first; a version's files.

    Without USER: those of whoever the token names. With --json an object a
    line, as the registry says it.

    \b
    Examples:
      modelkeep ls alice --latest
      modelkeep ls alice --framework pytorch --tag nlp
      modelkeep ls alice/bert
      modelkeep ls alice/bert:v2
    """
    if what and "/" in what:
        if framework or model_type or tags or production is not None or latest or inactive or all_:
            raise UsageError("filters are for a user's models", hint=f"modelkeep ls {what.split('/')[0]} --latest")
        ref = parse_ref(what)
        if ref.version:
            _show_files(shared, shared.client().files(ref))
        else:
            _show_model(shared, ref)
        return
    if inactive and all_:
        raise UsageError("--inactive and --all exclude each other")
    client = shared.client()
    user_id = own_user(client, what)

    def ask(is_active: bool | None) -> Iterator[Version]:
        return client.models(
            user_id,
            framework=framework,
            model_type=model_type,
            tags=tags,
            is_production_ready=production,
            is_active=is_active,
            latest=latest,
        )

    if all_:  # the registry lists either; both are newest first
        found: Iterator[Version] = heapq.merge(ask(None), ask(False), key=lambda each: each.created_at, reverse=True)
    else:
        found = ask(False if inactive else None)
    if _show_versions(shared, found) == 0:
        shared.out.note(f"{user_id} has no such models here.")


@click.command("search")
@click.argument("user", metavar="USER")
@click.argument("words", metavar="QUERY...", nargs=-1, required=True)
@_filters
@common
@pass_shared
def search_command(
    shared: Shared,
    user: str,
    words: tuple[str, ...],
    framework: str | None,
    model_type: str | None,
    tags: tuple[str, ...],
) -> None:
    """Find a user's versions by words.

    Each word must begin one in name, description, algorithm, model id or tags.
    With --json an object a line.

    \b
    Examples:
      modelkeep search alice sentiment german
      modelkeep search alice bert --tag nlp --json | jq -r .version
    """
    client = shared.client()
    found = client.search(user, " ".join(words), framework=framework, model_type=model_type, tags=tags)
    if _show_versions(shared, found) == 0:
        shared.out.note(f"Nothing of {user} fits.")


@click.command("info")
@click.argument("ref", metavar="USER/MODEL[:VERSION]")
@common
@pass_shared
def info_command(shared: Shared, ref: str) -> None:
    """Show all that is said of a version.

    Without VERSION: the newest active one. With --json one object, in which
    `etag` is what `update --if-match` takes.

    \b
    Examples:
      modelkeep info alice/bert
      modelkeep info alice/bert:v2 --json
    """
    showing.show_version(shared.out, shared.client().get(ref))


@click.command("files")
@click.argument("ref", metavar="USER/MODEL[:VERSION]")
@common
@pass_shared
def files_command(shared: Shared, ref: str) -> None:
    """List a version's files with sizes and digests.

    A star marks the file that is the model. With --json an object a line.

    \b
    Examples:
      modelkeep files alice/bert:v2
      modelkeep files alice/bert --json | jq -r '.file_hash + "  " + .filename'
    """
    _show_files(shared, shared.client().files(ref))


@click.command("versions")
@click.argument("ref", metavar="USER/MODEL")
@common
@pass_shared
def versions_command(shared: Shared, ref: str) -> None:
    """List a model's versions, newest first, inactive ones too.

    With --json an object a line.

    \b
    Example:
      modelkeep versions alice/bert
    """
    model = parse_ref(ref)
    if model.version:
        raise UsageError(f"{ref} names one version", hint=f"`modelkeep info {ref}` shows it.")
    _show_model(shared, model)


def _show_model(shared: Shared, model: Ref) -> None:
    if _show_versions(shared, shared.client().versions(model)) == 0:
        hint = f"`modelkeep ls {model.user_id}` lists the models."
        raise NotFoundError(f"{model} has no versions", code="model_not_found", hint=hint)


def _show_versions(shared: Shared, versions: Iterator[Version]) -> int:
    return shared.out.rows(
        showing.VERSION_COLUMNS, versions, document=showing.version_json, cells=showing.version_cells
    )


def _show_files(shared: Shared, files: Iterator[File]) -> int:
    return shared.out.rows(showing.FILE_COLUMNS, files, document=showing.file_json, cells=showing.file_cells)
