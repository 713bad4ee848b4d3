"""`python -m local`: the registry on http://localhost:8000, its data in `.modelkeep/`."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from local import gateway
from local.data_folder import DataFolderInUseError
from local.jars import FetchError
from local.ports import DEFAULT_BASE, LOOPBACK, Ports, PortTakenError
from local.seaweedfs import ProgramMissingError, SeaweedFS
from local.servers import STORES, StackError
from local.service import Service

_WATCH_SECONDS = 0.5


def main() -> NoReturn:
    """Run until Ctrl-C or SIGTERM; the exit status is 0 then, 1 after a failure, 2 for wrong arguments."""
    started = time.monotonic()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    host, ports, data, store, authentication = _arguments()
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGINT is ignored in a script's background
        signal.signal(signal_number, signal.default_int_handler)
    service = Service(data, ports=ports, host=host, store=store, authentication=authentication)
    status = 0
    try:
        service.start()
        print(_banner(service, time.monotonic() - started), flush=True)
        while True:
            time.sleep(_WATCH_SECONDS)
            for message in service.stack.restart_dead():
                print(message, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("\nStopping…", flush=True)
    except (DataFolderInUseError, FetchError, PortTakenError, ProgramMissingError, StackError) as exc:
        print(exc, file=sys.stderr, flush=True)
        status = 1
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)
    service.stop()
    sys.stdout.flush()
    os._exit(status)  # a handler that still runs in a thread must not keep the process


def _arguments() -> tuple[str, Ports, Path, str, dict[str, str]]:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("MODELKEEP_PORT") or DEFAULT_BASE,
        help="the API's port; S3, DynamoDB and inner ports are the 12 after it (MODELKEEP_PORT; %(default)s)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("MODELKEEP_DATA") or None,
        help="the folder that keeps everything (MODELKEEP_DATA; .modelkeep, or .modelkeep-minio on MinIO)",
    )
    parser.add_argument(
        "--store",
        choices=sorted(STORES),
        default=os.environ.get("MODELKEEP_STORE") or SeaweedFS.name,
        help="what keeps the bytes (MODELKEEP_STORE; %(default)s)",
    )
    parser.add_argument("--host", default=LOOPBACK, help="a loopback address (%(default)s)")
    for name, what in {
        "issuer": "whose tokens are needed, by URL; none: authentication is off",
        "audience": "the tokens' `aud`",
        "jwks-url": "where the issuer's keys are, if not where its OIDC discovery says",
        "user-claim": "the claim that is the user id; `sub` if not set",
        "groups-claim": "the claim that is the user's groups; none: nobody is in any",
    }.items():
        variable = f"MODELKEEP_{name.upper().replace('-', '_')}"
        parser.add_argument(f"--{name}", default=os.environ.get(variable), help=f"{what} ({variable})")
    arguments = parser.parse_args()
    try:
        loopback = arguments.host == "localhost" or ipaddress.ip_address(arguments.host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        reason = "there is no TLS here" if arguments.issuer else "authentication is off here"
        parser.error(
            f"--host {arguments.host}: {reason}, so only this machine may connect (127.0.0.1). "
            "For others to use it, deploy it (`sam deploy`) or put an SSH tunnel before it."
        )
    try:
        store: str = arguments.store
        data = arguments.data or Path(".modelkeep" if store == SeaweedFS.name else f".modelkeep-{store}")
        given = {name: os.environ.get(f"MODELKEEP_{name.upper()}") for name in gateway.SETTINGS} | vars(arguments)
        return arguments.host, Ports.from_base(arguments.port), data, store, gateway.authentication(given)
    except ValueError as exc:
        parser.error(str(exc))


def _banner(service: Service, seconds: float) -> str:
    url = service.url
    token = '-H "Authorization: Bearer $TOKEN" ' if service.authentication else ""
    return f"""
Modelkeep is ready ({seconds:.1f} s).

  API    {url}
  Docs   {url}/docs
  Data   {service.stack.data.path} (the servers' logs are in logs/)
  Store  {service.stack.store.name}: {"; ".join(service.findings)}
  Try    curl {token}-F file=@README.md -F user_id=alice -F model_id=first -F name=First {url}/ai-models/upload/single

{_who_may_call(service)}
Ctrl-C stops it; the data stays.
"""


def _who_may_call(service: Service) -> str:
    issuer = service.authentication.get("REGISTRY_ISSUER")
    if issuer is None:
        return (
            "Authentication is off: every program on this machine can read and change everything. "
            "Only 127.0.0.1 can connect."
        )
    audience = service.authentication["REGISTRY_AUDIENCE"]
    return f"Every request needs a token of {issuer} for {audience!r} (/docs aside). Only 127.0.0.1 can connect."


if __name__ == "__main__":
    main()
