"""What every command has: `--json`, `--quiet`, `--url` before or after its name, and a client made of them."""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from modelkeep.cli.output import Output
from modelkeep.errors import UsageError

if TYPE_CHECKING:
    from modelkeep.client import Client
    from modelkeep.config import Config

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass
class Shared:
    """The options that all commands have."""

    json: bool = False
    quiet: bool = False
    url: str | None = None

    @property
    def out(self) -> Output:
        """Where to print."""
        return Output(as_json=self.json, quiet=self.quiet)

    def command(self, *words: str) -> str:
        """A command to say next, at the same registry."""
        return shlex.join(["modelkeep", *words, *(["--url", self.url] if self.url else [])])

    def client(self) -> Client:
        """The registry; its connections are closed when the command ends."""
        from modelkeep.client import Client

        context = click.get_current_context()
        context.with_resource(_noting(self.out))
        return context.with_resource(Client(self.url))

    def registry(self) -> tuple[Config, str]:
        """The configuration, and the URL that a client would take."""
        from modelkeep.config import Config, check_url

        config = Config()
        return config, check_url(self.url) if self.url else config.url()


@contextlib.contextmanager
def _noting(out: Output) -> Iterator[None]:
    """What the client warns of is said on stderr."""
    handler = logging.Handler()
    handler.emit = lambda record: out.note(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("modelkeep").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("modelkeep").removeHandler(handler)


pass_shared = click.make_pass_decorator(Shared, ensure=True)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value and parameter.name:
        setattr(context.ensure_object(Shared), parameter.name, value)


def common(function: _F) -> _F:
    """Add the options that all commands have."""
    for option in (
        click.option(
            "--url",
            metavar="URL",
            expose_value=False,
            callback=_keep,
            help="The registry (else MODELKEEP_URL, login's).",
        ),
        click.option(
            "--quiet", "-q", is_flag=True, expose_value=False, callback=_keep, help="Print nothing but errors."
        ),
        click.option(
            "--json", is_flag=True, expose_value=False, callback=_keep, help="Print JSON on stdout and nothing else."
        ),
    ):
        function = option(function)
    return function


def can_ask() -> bool:
    """Somebody sits at a terminal."""
    return sys.stdin.isatty()


def own_user(client: Client, given: str | None) -> str:
    """The user that was named, else the one that the token names (one of the registry's own names none)."""
    if given:
        return given
    from modelkeep.tokens import claims_of

    said = claims_of(client.config.token(client.url)[0])
    user = said.get("sub") if said else None
    if not isinstance(user, str):
        raise UsageError("no USER is given, and there is no token that names one", hint="Name the user whose it is.")
    return user


def parse_value(text: str) -> Any:
    """JSON, else the text itself; what begins as JSON text, list or object has to be some."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        if text.lstrip()[:1] in ("{", "[", '"') or text.strip() in ("NaN", "Infinity", "-Infinity"):
            raise UsageError(
                f"{text!r} is not JSON: {error}", code="bad_json", hint="Quote it for the shell, as '[1, 2]'."
            ) from error
        return text


def parse_pair(text: str) -> tuple[str, Any]:
    """`KEY=JSON`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{text!r} is not KEY=VALUE", hint="Write it as key=value, the value as JSON or plain text.")
    return key, parse_value(value)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number that JSON knows")
