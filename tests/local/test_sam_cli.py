"""How SAM is called and read, without a container: its answers to failures; and how containers reach this machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local import engine, sam_cli
from local.compose import ComposeStack
from local.data_folder import DataFolderInUseError
from local.engine import Relay
from local.http_server import HttpServer
from local.invoking import FunctionNotFoundError
from local.ports import LOOPBACK, Ports
from local.sam_cli import StartLambda, logical_id
from local.sam_service import SamService
from local.servers import Stack
from tests.template.loading import ROOT, load_template

ANSWERS = {
    "GetModelFunction": b'{"statusCode": 200}',
    "ReceiveUploadFunction": b"null",
    "BuildArchiveFunction": b'{"errorMessage": "no", "errorType": "ValueError", "stackTrace": []}',
    "SweepUploadsFunction": b"",
    "ListModelsFunction": b"Function timed out after 29 seconds",
}


@pytest.fixture
def start_lambda() -> Iterator[StartLambda]:
    """It answers 200 to everything, as SAM does."""

    async def invoke(request: Request) -> Response:
        return Response(ANSWERS[request.path_params["name"]])

    port = Ports.free().start_lambda
    app = Starlette(routes=[Route("/2015-03-31/functions/{name}/invocations", invoke, methods=["POST"])])
    server = HttpServer(app, host=LOOPBACK, port=port)
    server.start()
    yield StartLambda(port)
    server.close()


def test_what_a_function_answers_is_told_from_what_it_raised(start_lambda: StartLambda) -> None:
    assert start_lambda.invoke("get_model", {}, request_id="1").payload == {"statusCode": 200}
    done = start_lambda.invoke("receive_upload", {}, request_id="1")
    assert (done.payload, done.error) == (None, None)
    raised = start_lambda.invoke("build_archive", {}, request_id="1").error
    assert raised is not None
    assert raised["errorType"] == "ValueError"


@pytest.mark.parametrize("function", ["sweep_uploads", "list_models"])
def test_a_container_that_went_away_and_a_time_that_was_up_are_failures(
    start_lambda: StartLambda, function: str
) -> None:
    assert start_lambda.invoke(function, {}, request_id="1").error is not None


def test_a_function_that_there_is_not_is_refused(start_lambda: StartLambda) -> None:
    with pytest.raises(FunctionNotFoundError):
        start_lambda.require("no_such_function")


def test_a_lambda_that_does_not_listen_is_a_failure_that_is_tried_again() -> None:
    assert StartLambda(Ports.free().start_lambda).invoke("get_model", {}, request_id="1").error is not None


def test_every_function_has_its_name_in_the_template() -> None:
    for folder in (ROOT / "functions").glob("*/app.py"):
        assert load_template()["Resources"][logical_id(folder.parent.name)]["Type"] == "AWS::Serverless::Function"


def test_what_the_template_asks_for_is_filled_in() -> None:
    _, text = sam_cli.parameters()
    values = dict(each.split("=", 1) for each in text.split())
    declared = load_template()["Parameters"]
    assert {name for name, each in declared.items() if "Default" not in each} <= values.keys() <= declared.keys()
    assert (values["PythonRuntime"], values["Architecture"]) == (sam_cli.runtime(), sam_cli.architecture())


def test_the_variables_reach_every_function(tmp_path: Path) -> None:
    built = {
        "Resources": {
            "A": {"Type": "AWS::Serverless::Function", "Properties": {"Environment": {"Variables": {"OLD": "1"}}}},
            "B": {"Type": "AWS::Serverless::Function", "Properties": {}},
            "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": {"Fn::Sub": "${AWS::StackName}"}}},
        }
    }
    (tmp_path / "template.yaml").write_text(yaml.safe_dump(built))
    sam_cli.write_template(tmp_path, {"NEW": "2"})
    written = yaml.safe_load((tmp_path / sam_cli.TEMPLATE).read_text())["Resources"]
    assert written["A"]["Properties"]["Environment"]["Variables"] == {"OLD": "1", "NEW": "2"}
    assert written["B"]["Properties"]["Environment"]["Variables"] == {"NEW": "2"}
    assert written["Bucket"] == built["Resources"]["Bucket"]


def test_functions_sign_puts_as_minio_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "host_of_containers", lambda: "host.example")
    service = SamService(tmp_path, ports=Ports.free(), stores="native")
    assert service.variables()["REGISTRY_PUT_CREDENTIALS"] == "inbox"


@pytest.mark.skipif(not hasattr(socket, "SO_DOMAIN"), reason="the relay is for Linux")
def test_the_relay_passes_bytes_both_ways_and_ends() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                received = b""
                while chunk := connection.recv(65536):
                    received += chunk
                connection.sendall(received[::-1])

        threading.Thread(target=answer, daemon=True).start()
        data = bytes(range(256)) * 8000
        with Relay("127.0.0.9", [port]), socket.create_connection(("127.0.0.9", port), timeout=60) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            answered = b""
            while chunk := client.recv(65536):
                answered += chunk
        assert answered == data[::-1]
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.9", port), timeout=60)


def test_compose_is_told_all_that_its_file_asks_for(tmp_path: Path) -> None:
    stack = ComposeStack(tmp_path, Ports.from_base(9000), store="minio")
    said = stack.compose_environment()
    asked = {
        word.split(":")[0].rstrip("}")
        for word in (ROOT / "compose.yaml").read_text().replace("${", "\0${").split("\0${")[1:]
    }
    assert asked == said.keys()
    assert (said["MODELKEEP_S3_PORT"], said["MODELKEEP_DYNAMODB_PORT"]) == ("9001", "9002")


def test_stores_by_compose_are_waited_for_made_ready_and_stopped_by_their_owner_alone(
    minio_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's part is played by stores that run: what is ours is all that comes after."""
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(ComposeStack, "_compose", lambda self, *arguments, check=True: calls.append(arguments))
    monkeypatch.setattr(Ports, "require_free", lambda self: None)
    stack = ComposeStack(tmp_path, minio_stack.ports, store="minio")
    monkeypatch.setattr(stack.data, "credentials", minio_stack.data.credentials)
    stack.launch()
    stack.wait()
    other = ComposeStack(tmp_path, minio_stack.ports, store="minio")
    with pytest.raises(DataFolderInUseError):
        other.launch()
    other.stop()
    assert calls == [("stop",), ("up", "--detach", "--wait")]
    stack.stop()
    assert calls[2:] == [("stop",)]
