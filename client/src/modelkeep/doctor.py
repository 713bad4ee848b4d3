"""What stands between this machine and its models: each thing looked at, judged, and what to do about it."""

from __future__ import annotations

import itertools
import platform
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from modelkeep.errors import ModelkeepError, UnavailableError
from modelkeep.names import Ref
from modelkeep.registry import Reply, ask
from modelkeep.tokens import claims_of
from modelkeep.version import __version__

if TYPE_CHECKING:
    from modelkeep.client import Client
    from modelkeep.results import File

_SKEW = 300  # seconds; tokens are good from and to moments that whoever makes them takes from such clocks
_FREE = 1_000_000_000  # bytes below which a model may well not fit


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `hint`: what to do about it."""

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    hint: str | None = None


def examine(client: Client, ref: str | Ref | None = None) -> Iterator[Check]:
    """Look at everything, one thing after the other. `ref`: a version by whose files to try the store, else the newest
    of whoever the token names."""
    yield Check("versions", "ok", f"modelkeep {__version__}, Python {platform.python_version()}, {platform.system()}")
    yield from _folders(client)
    yield _proxy(client.url)
    reply: Reply | None = None
    token, source = client.config.token(client.url)
    try:
        connections = client.api.connections
        reply = min((ask(client.url, token, connections=connections) for _ in range(3)), key=lambda each: each.seconds)
    except UnavailableError as error:
        yield Check("registry", "fail", error.detail, error.hint if error.code == "not_a_registry" else _UNREACHABLE)
        return
    yield Check("registry", "ok", f"{client.url} answers in {reply.seconds * 1000:.0f} ms")
    yield _clock(reply)
    yield _token(token, source, reply)
    yield (
        _store(client, ref, token) if reply.status == 200 else Check("store", "warn", "not tried without the registry")
    )


_UNREACHABLE = "Check MODELKEEP_URL or `modelkeep login`, the network, a VPN and the proxies above; or ask who runs it."


def _folders(client: Client) -> Iterator[Check]:
    home = client.config.home
    for name, folder in (("configuration", home.config), ("state", home.state), ("cache", home.cache)):
        there = _existing(folder)
        try:
            with tempfile.TemporaryFile(dir=there):
                free = shutil.disk_usage(there).free
        except OSError as error:
            hint = f"Make {there} writable for you, or set MODELKEEP_HOME to a folder that is."
            yield Check(name, "fail", f"{folder} can't be written: {error.strerror}", hint)
            continue
        said = f"{folder} can be written, {free / 1e9:.1f} GB free"
        if name == "cache" and free < _FREE:
            yield Check(name, "warn", said, "Make room: pulled files lie here, too.")
        else:
            yield Check(name, "ok", said)


def _existing(folder: Path) -> Path:
    return next((each for each in (folder, *folder.parents) if each.is_dir()), folder)


def _proxy(url: str) -> Check:
    proxy = urllib.request.getproxies().get(urlsplit(url).scheme)
    if not proxy:
        return Check("proxy", "ok", "none")
    where = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    named = where.netloc.rpartition("@")[2]  # without a password
    if urllib.request.proxy_bypass(urlsplit(url).hostname or ""):
        return Check("proxy", "ok", f"{named}, not for this registry")
    return Check("proxy", "ok", f"through {named}")


def _clock(reply: Reply) -> Check:
    if reply.ahead is None:
        return Check("clock", "warn", "the registry does not say what time it is")
    if abs(reply.ahead) > _SKEW:
        slow = "slow" if reply.ahead > 0 else "fast"
        said = f"this machine's clock is {abs(reply.ahead) / 60:.0f} min {slow} by the registry's"
        return Check("clock", "warn", said, "Set it (NTP): tokens and certificates are judged by clocks.")
    return Check("clock", "ok", f"differs from the registry's by less than {max(2, round(abs(reply.ahead)) + 1)} s")


def _token(token: str | None, source: str, reply: Reply) -> Check:
    if reply.status == 200:
        return Check("token", "ok", f"accepted (from: {source})" if token else "none, and none is wanted")
    if token is None:
        return Check("token", "fail", "none, and the registry wants one", "`modelkeep login`, or set MODELKEEP_TOKEN.")
    end = (claims_of(token) or {}).get("exp")
    now = time.time() + (reply.ahead or 0)  # by the registry's clock
    if isinstance(end, int | float) and end < now:
        said = f"expired {(now - end) / 60:.0f} min ago, as it says itself (from: {source})"
        return Check("token", "fail", said, "Take a new one, and `modelkeep login` or set MODELKEEP_TOKEN.")
    return Check("token", "fail", f"not accepted (from: {source})", "Is it for this registry? `modelkeep whoami`")


def _store(client: Client, ref: str | Ref | None, token: str | None) -> Check:
    try:
        file = _some_file(client, ref, token)
        if file is None:
            hint = "`modelkeep doctor USER/MODEL` tries it by a model that is there."
            return Check("store", "warn", "not tried: no file of yours is known to ask for", hint)
        began = time.monotonic()
        for _ in client.store.get(file.url or "", 0, 1):
            pass
    except ModelkeepError as error:
        hint = "Files come straight from the store: its host has to be reachable too, through firewalls and proxies."
        return Check("store", "fail", error.detail, hint)
    return Check("store", "ok", f"a byte of a file came in {(time.monotonic() - began) * 1000:.0f} ms")


def _some_file(client: Client, ref: str | Ref | None, token: str | None) -> File | None:
    if ref is None:
        user = (claims_of(token) or {}).get("sub")
        found = next(client.models(user), None) if isinstance(user, str) else None
        if found is None:
            return None
        ref = Ref(found.user_id, found.model_id, found.version)
    return next((each for each in itertools.islice(client.files(ref, urls=True), 500) if each.size), None)
