"""Completion for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from modelkeep.cli.common import Shared, common, pass_shared
from modelkeep.errors import UsageError


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
@pass_shared
def completion_command(shared: Shared, shell: str) -> None:
    """Print a shell's completion script.

    \b
    Examples:
      modelkeep completion bash >> ~/.bashrc
      modelkeep completion zsh >> ~/.zshrc
      modelkeep completion fish > ~/.config/fish/completions/modelkeep.fish
    """
    from modelkeep.cli.program import app

    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"there is no completion for {shell}")
    script = kind(app, {}, "modelkeep", "_MODELKEEP_COMPLETE").source()
    shared.out.result({"shell": shell, "script": script})
    shared.out.text(script)
