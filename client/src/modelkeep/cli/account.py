"""Who calls, and where: login, whoami, logout, open."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import click

from modelkeep.cli.common import Shared, can_ask, common, pass_shared
from modelkeep.errors import DeniedError, NotFoundError, UsageError
from modelkeep.tokens import check_token, claims_of, is_registry_token

_WHERE = {
    "keyring": "in the system's keyring",
    "file": "in a file that only you can read",
    "none": "nowhere: none is needed",
}


@click.command("login")
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input.")
@common
@pass_shared
def login_command(shared: Shared, token_stdin: bool) -> None:
    """Store the registry's URL, and a token if it wants one.

    Asks for what is not given. The token is tried at the registry before it is
    stored: in the system's keyring, or where there is none in a file that only
    you can read. There is no --token, as `ps` and the shell's history would
    keep it; in CI set MODELKEEP_TOKEN and do without login.

    \b
    Examples:
      modelkeep login
      modelkeep login --url https://models.example.com
      pass show modelkeep | modelkeep login --url https://models.example.com --token-stdin
    """
    from modelkeep.config import check_url
    from modelkeep.registry import ask

    config, url = shared.registry()
    if shared.url is None and can_ask() and not token_stdin:
        url = check_url(click.prompt("Registry", default=url, err=True))
    token: str | None = None
    if token_stdin:
        token = check_token(sys.stdin.readline())
    elif ask(url, None).status == 401:
        if not can_ask():
            raise UsageError(
                f"{url} wants a token, and there is no terminal to ask at",
                code="no_terminal",
                hint="Give it by --token-stdin, or set MODELKEEP_TOKEN.",
            )
        token = check_token(click.prompt("Token", hide_input=True, err=True))
    if token is not None and ask(url, token).status == 401:
        raise DeniedError(f"{url} does not accept this token; nothing was stored", status=401, hint=_hint(token))
    where = config.login(url, token)
    if os.environ.get("MODELKEEP_TOKEN"):
        shared.out.note("MODELKEEP_TOKEN is set, and wins over what is stored.")
    if os.environ.get("MODELKEEP_URL") not in (None, "", url):
        shared.out.note("MODELKEEP_URL is set, and wins over what is stored.")
    shared.out.result({"url": url, "token": where}, f"Registry: {url}", f"Token: {_WHERE[where]}")


@click.command("whoami")
@common
@pass_shared
def whoami_command(shared: Shared) -> int:
    """Show which registry and token are used, and if it is accepted.

    What the token says of itself is shown as it is: only the registry verifies
    it. The token is never shown. Exit 4 if it is not accepted.

    \b
    Examples:
      modelkeep whoami
      modelkeep whoami --json | jq -r .claims.sub
    """
    from modelkeep.registry import ask

    config, url = shared.registry()
    token, source = config.token(url)
    claims = claims_of(token)
    shown = {name: claims[name] for name in ("sub", "iss", "aud", "exp") if name in claims} if claims else None
    accepted = ask(url, token).status != 401
    lines = [f"Registry: {url}", f"Token: {source}"]
    lines += [f"The token says: {name} {_claim(name, value)}" for name, value in (shown or {}).items()]
    lines += ["The token says nothing: it is the registry's own"] if is_registry_token(token) else []
    lines += ["Accepted: yes" if accepted else "Accepted: no"]
    shared.out.result({"url": url, "token": source, "claims": shown, "accepted": accepted}, *lines)
    if not accepted:
        what = "this token" if token else "callers without a token"
        raise DeniedError(f"{url} does not accept {what}", status=401, hint=_hint(token))
    return 0


@click.command("logout")
@common
@pass_shared
def logout_command(shared: Shared) -> None:
    """Forget the stored token for a registry.

    \b
    Example:
      modelkeep logout --url https://models.example.com
    """
    config, url = shared.registry()
    forgotten = config.logout(url)
    if os.environ.get("MODELKEEP_TOKEN"):
        shared.out.note("MODELKEEP_TOKEN is set, and is used all the same.")
    shared.out.result(
        {"url": url, "forgotten": forgotten}, f"{'Forgot the' if forgotten else 'There was no'} token for {url}."
    )


@click.command("open")
@common
@pass_shared
def open_command(shared: Shared) -> None:
    """Open the registry's API documentation in the browser.

    Prints its URL, too.

    \b
    Example:
      modelkeep open
    """
    from modelkeep.registry import has_page

    url = shared.registry()[1]
    page = f"{url}/docs"
    if not has_page(page):
        raise NotFoundError(f"{url} shows no documentation", hint="docs/design.md of the project describes its API.")
    import webbrowser

    opened = webbrowser.open(page)
    shared.out.result({"url": page, "opened": opened}, page)
    if not opened:
        shared.out.note("No browser was found.")


def _claim(name: str, value: Any) -> str:
    if name != "exp" or isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    try:
        end = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(value))
    except (OverflowError, OSError, ValueError):
        return str(value)
    return f"{end} UTC" + (" (passed, by this machine's clock)" if value < time.time() else "")


def _hint(token: str | None) -> str:
    if is_registry_token(token):
        return "It has expired or been revoked, or is another registry's. A new one: POST /ai-models/tokens, signed in."
    claims = claims_of(token)
    if claims and "exp" in claims:
        return f"It says that it expires {_claim('exp', claims['exp'])}. A new one: `modelkeep login`."
    return "Take a new one from whoever signs you in, and `modelkeep login` with it."
