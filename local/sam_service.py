"""`make local`: the same code as Lambda runs it. MinIO and DynamoDB Local, and every function in a container by SAM.

`python -m local.sam_service` serves the API on http://localhost:8000; `… invoke get_model` calls one function once.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from local import engine, sam_cli
from local.bridge import Bridge
from local.children import Child
from local.compose import ComposeStack
from local.data_folder import DataFolderInUseError
from local.engine import EngineError, Relay
from local.http_server import HttpServer
from local.invoke_api import create_invoke_api
from local.jars import FetchError
from local.minio import MinIO, event_of
from local.ports import DEFAULT_BASE, LOOPBACK, Ports, PortTakenError
from local.sam_cli import SamError, StartLambda
from local.seaweedfs import ProgramMissingError
from local.servers import REGION, Stack, StackError, apply_environment
from local.service import Schedule

EVENTS = sam_cli.PROJECT / "tests" / "events"
# A retry that came while the dead worker's lease (20 s here) is good would find nothing to do.
_RETRY_DELAYS = (25.0, 25.0)


class SamService:
    """Everything that `make local` starts. Sets this process's environment: one at a time in a process."""

    def __init__(self, data: Path, *, ports: Ports, stores: str = "auto") -> None:
        self.host = engine.host_of_containers()
        compose = stores == "compose" or (stores == "auto" and engine.has_compose())
        self.stack: Stack = (ComposeStack if compose else Stack)(data, ports, store=MinIO.name)
        self.url = f"http://localhost:{ports.api}"
        self.build = self.stack.data.path / "build"
        self.children: list[Child] = []
        self._cleanup = ExitStack()

    def start(self, *, api: bool = True) -> None:
        """Start everything, or all but the API; on any failure, whatever had started is stopped."""
        try:
            self._start(api=api)
        except BaseException:
            self.stop()
            raise

    def _start(self, *, api: bool) -> None:
        stack, ports = self.stack, self.stack.ports
        self._cleanup.callback(stack.stop)
        stack.launch()
        sam_cli.build(self.build)
        stack.wait()
        apply_environment(stack.environment())
        from registry import records

        records.create_table()
        sam_cli.write_template(self.build, self.variables())
        engine.remove_containers(self.build)  # of a run that was killed
        self._cleanup.callback(engine.remove_containers, self.build)
        self._cleanup.enter_context(Relay(self.host, [ports.s3, ports.dynamodb, ports.lambda_api]))
        invoker = self._run("start-lambda", ports.start_lambda)
        bridge = Bridge(stack.data.path / "dead-letters", StartLambda(ports.start_lambda), retry_delays=_RETRY_DELAYS)
        self._cleanup.callback(bridge.close)
        ours = stack.data.credentials()
        events = create_invoke_api(
            bridge,
            access_key=ours.access_key,
            events_token=ours.secret_key,
            receive=lambda body: bridge.invoke_async("receive_upload", event_of(body, region=REGION)),
        )
        server = HttpServer(events, host=LOOPBACK, port=ports.lambda_api)
        self._cleanup.callback(server.close)
        server.start()
        waiting = [(invoker, ports.start_lambda)]
        if api:
            waiting.append((self._run("start-api", ports.api, "--disable-authorizer"), ports.api))
        for child, port in waiting:
            sam_cli.wait_for(child, port)
        if api:
            schedule = Schedule(bridge)
            schedule.start()
            self._cleanup.callback(schedule.close)

    def _run(self, command: str, port: int, *options: str) -> Child:
        child = sam_cli.child(command, build=self.build, folder=self.stack.data.path, port=port, options=options)
        child.log.unlink(missing_ok=True)
        self._cleanup.callback(child.terminate)
        child.start()
        self.children.append(child)
        return child

    def variables(self) -> dict[str, str]:
        """What functions are told here and not in the template: where the stores and the bridge are, as a container
        reaches them, and where clients do."""
        ports, ours = self.stack.ports, self.stack.data.credentials()
        stack = self.stack.environment()
        kept = ("BUCKET", "TABLE", "AUTHENTICATION", "PUT_CREDENTIALS", "LEASE_SECONDS", "RECHECK_SECONDS")
        return {
            **{f"REGISTRY_{name}": stack[f"REGISTRY_{name}"] for name in (*kept, "UNPACK_SHARES")},
            "REGISTRY_FUNCTIONS_PREFIX": "",
            "REGISTRY_FUNCTIONS_QUALIFIER": "",
            "REGISTRY_INSTALLATION": "",
            "REGISTRY_PUBLIC_S3_ENDPOINT": f"http://localhost:{ports.s3}",
            "AWS_ENDPOINT_URL_S3": f"http://{self.host}:{ports.s3}",
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://{self.host}:{ports.dynamodb}",
            "AWS_ENDPOINT_URL_LAMBDA": f"http://{self.host}:{ports.lambda_api}",
            "AWS_ACCESS_KEY_ID": ours.access_key,
            "AWS_SECRET_ACCESS_KEY": ours.secret_key,
            "AWS_SESSION_TOKEN": "",
            "POWERTOOLS_TRACE_DISABLED": "true",
            "POWERTOOLS_METRICS_NAMESPACE": "",
        }

    def stop(self) -> None:
        """Stop everything, in reverse order."""
        self._cleanup.close()


def invoke(service: SamService, function_name: str, event: Path) -> int:
    """`sam local invoke` of one function, on stores that are started for it; SAM's exit status."""
    service.start(api=False)
    command = sam_cli.invoke_command(service.build, function_name, event)
    return subprocess.run(command, cwd=sam_cli.PROJECT, env=sam_cli.environment()).returncode


def main() -> NoReturn:
    """Run until Ctrl-C or SIGTERM; the exit status is 0 then, 1 after a failure, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m local.sam_service", description=__doc__)
    parser.add_argument("--port", type=int, default=os.environ.get("MODELKEEP_PORT") or DEFAULT_BASE)
    parser.add_argument("--data", type=Path, default=os.environ.get("MODELKEEP_DATA") or ".modelkeep-local")
    parser.add_argument(
        "--stores", choices=["auto", "compose", "native"], default=os.environ.get("MODELKEEP_STORES") or "auto"
    )
    commands = parser.add_subparsers(dest="command")
    one = commands.add_parser("invoke", help="call one function once, with an event of tests/events/")
    one.add_argument("function", choices=sorted(path.stem for path in EVENTS.glob("*.json")))
    arguments = parser.parse_args()
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.default_int_handler)
    status, service, began = 0, None, time.monotonic()
    try:
        service = SamService(arguments.data, ports=Ports.from_base(arguments.port), stores=arguments.stores)
        if arguments.command == "invoke":
            status = invoke(service, arguments.function, EVENTS / f"{arguments.function}.json")
        else:
            print("Building the functions and starting MinIO, DynamoDB Local and SAM…", flush=True)
            service.start()
            print(_banner(service, time.monotonic() - began), flush=True)
            _watch(service)
    except KeyboardInterrupt:
        print("\nStopping…", flush=True)
    except (
        *(DataFolderInUseError, EngineError, FetchError, PortTakenError, ProgramMissingError, SamError, StackError),
        OSError,  # a port of ours that is taken meanwhile
        ValueError,
    ) as exc:
        print(exc, file=sys.stderr, flush=True)
        status = 1
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)
    if service is not None:
        service.stop()
    sys.stdout.flush()
    os._exit(status)  # a call that is under way in a thread must not keep the process


def _watch(service: SamService) -> None:
    while True:
        time.sleep(0.5)
        for message in service.stack.restart_dead():
            print(message, file=sys.stderr, flush=True)
        for child in service.children:
            if not child.is_running():
                raise SamError(f"`sam local {child.name}` ended:\n{child.log_tail()}")


def _banner(service: SamService, seconds: float) -> str:
    data: Any = service.stack.data.path
    return f"""
Modelkeep is ready ({seconds:.1f} s): every function in a container, as Lambda runs it.

  API    {service.url}
  Data   {data} (logs/start-api.log and logs/start-lambda.log are the functions')
  Store  MinIO on http://localhost:{service.stack.ports.s3} (its keys are in credentials.json)
  Try    curl -F file=@README.md -F user_id=alice -F model_id=first -F name=First {service.url}/ai-models/upload/single

Authentication is off. A function's first call starts its container (some seconds). Ctrl-C stops everything.
"""


if __name__ == "__main__":
    main()
