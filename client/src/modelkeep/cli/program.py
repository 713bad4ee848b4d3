"""`modelkeep`: which commands there are, and how it ends."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import click

from modelkeep.cli.common import Shared, common
from modelkeep.cli.output import Output
from modelkeep.errors import LocalFileError, ModelkeepError, UsageError
from modelkeep.version import __version__

_COMMANDS = {
    "push": "moving",
    "pull": "moving",
    "verify": "moving",
    "ls": "catalog",
    "search": "catalog",
    "info": "catalog",
    "files": "catalog",
    "versions": "catalog",
    "diff": "comparing",
    "update": "changing",
    "tag": "changing",
    "rm": "changing",
    "uploads": "uploads",
    "login": "account",
    "whoami": "account",
    "logout": "account",
    "open": "account",
    "cache": "caching",
    "doctor": "checking",
    "completion": "completion",
}
_SECTIONS = {
    "Moving models": ("push", "pull", "verify"),
    "Finding models": ("ls", "search", "info", "files", "versions", "diff"),
    "Changing models": ("update", "tag", "rm"),
    "Everything else": ("uploads", "login", "whoami", "logout", "open", "cache", "doctor", "completion"),
}
_EPILOG = """\
\b
A model is named USER/MODEL, one of its versions USER/MODEL:VERSION. Without
VERSION the newest is meant, and when pushing the next one (v1, v2, ...).

\b
A day's work:
  modelkeep login --url https://models.example.com   once
  modelkeep push ./bert alice/bert                   a folder, a file or a ZIP
  modelkeep search alice bert                        find it again
  modelkeep pull alice/bert -o ./bert                fetch it, checked
  modelkeep verify ./bert                            check it again, any time

Whatever is interrupted: run the same command again, and it goes on.

\b
Environment:
  MODELKEEP_URL     the registry; else what `modelkeep login` stored, else
                    http://localhost:8000
  MODELKEEP_TOKEN   the token, as in CI; there is no --token, which `ps` shows
  MODELKEEP_HOME    one folder for configuration, state and cache
  MODELKEEP_DEBUG   1: the traceback of a fault of modelkeep itself
  NO_COLOR          no colours; HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE as usual

\b
Exit codes:
  0 done        1 any other error  2 usage            3 not found
  4 denied      5 conflict         6 damaged          7 unavailable
  8 local file  9 refused         10 upload failed  130 Ctrl-C
"""


class _App(click.Group):
    """Loads a command's module when it is called, and turns exceptions into words and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the help."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """By its module."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"modelkeep.cli.{_COMMANDS[cmd_name]}")
        found: click.Command = getattr(module, f"{cmd_name}_command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """By what they are for."""
        for title, names in _SECTIONS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl([(name, found.get_short_help_str(100)) for name, found in commands if found])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As it is written."""
        del ctx
        formatter.write_paragraph()
        formatter.write_text(_EPILOG)

    def main(self, args: Sequence[str] | None = None, **options: Any) -> NoReturn:  # type: ignore[override]
        """Run, and leave with the exit code."""
        words = list(sys.argv[1:] if args is None else args)
        options |= {"prog_name": "modelkeep", "standalone_mode": False}
        before = words[: words.index("--")] if "--" in words else words
        out = Output(as_json="--json" in before, quiet=False)
        sys.exit(_run(lambda: super(_App, self).main(args=words, **options), out))

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """`--help` and `--version` print from in here."""
        with _ends():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and print all of it."""
        with _ends():
            code = super().invoke(ctx)
            sys.stdout.flush()
            return code


@contextlib.contextmanager
def _ends() -> Iterator[None]:
    """Before click looks at it: a reader that went away, and Ctrl-C."""
    try:
        yield
    except BrokenPipeError:
        _forget_stdout()
        raise click.exceptions.Exit(141) from None
    except KeyboardInterrupt:
        click.echo("\nStopped.", err=True)
        raise click.exceptions.Exit(130) from None


def _run(do: Any, out: Output) -> int:
    try:
        code = do()
    except ModelkeepError as error:
        return _failed(out, error)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _failed(out, _usage(error))
    except click.Abort:  # Ctrl-C or the end of the input, at a prompt
        click.echo("\nStopped.", err=True)
        return 130
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _failed(out, LocalFileError(f"{error.strerror or error}{where}"))
    except Exception as error:  # noqa: BLE001 a fault of ours, whatever it is
        debug = bool(os.environ.get("MODELKEEP_DEBUG"))
        if debug:
            out.trace(error)
        hint = "Report it with the traceback above." if debug else "MODELKEEP_DEBUG=1 shows the traceback; report it."
        said = f"This is a fault of modelkeep: {type(error).__name__}: {error}"
        return _failed(out, ModelkeepError(said, code="fault", hint=hint))
    return code if isinstance(code, int) else 0


def _failed(out: Output, error: ModelkeepError) -> int:
    out.error(error)
    return error.exit_code


def _usage(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "modelkeep"
    return UsageError(error.format_message(), hint=f"`{path} --help` says how it is used.")


def _forget_stdout() -> None:
    """Nobody reads; so that Python does not try once more, and complain, when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):
        pass
    finally:
        os.close(null)


@click.command(cls=_App, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", prog_name="modelkeep", message="%(prog)s %(version)s")
@common
@click.pass_context
def app(context: click.Context) -> None:
    """Push, pull and find models in a Modelkeep registry.

    Say `modelkeep COMMAND --help` for what a command takes, with examples.
    """
    context.ensure_object(Shared)
