"""The registry on moto, one for all tests of a module and emptied before each: making one takes half a second."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import moto
import pytest
from botocore.exceptions import ClientError

from tests import asgi
from tests.functional import kit
from tests.functional.kit import BUCKET, Api
from tests.functional.routes import TOKEN_ID
from tests.issuer import Issuer

Ask = Callable[..., httpx.Response]

SETTINGS = {
    "REGISTRY_BUCKET": BUCKET,
    "REGISTRY_TABLE": "modelkeep",
    "REGISTRY_AUTHENTICATION": "off",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def _forget_everything() -> None:
    from registry import authentication, records, settings, tasks
    from registry.storage import claiming, client, copying, multiparts

    settings.get_settings.cache_clear()
    authentication.keys_of.cache_clear()
    client.forget_clients()
    copying.digest_method.cache_clear()
    copying.checks_crcs.cache_clear()
    multiparts.lists_digests.cache_clear()
    claiming.claim_inbox.cache_clear()
    tasks.forget_client()
    records.reset_connection()


@pytest.fixture(scope="module")
def _moto() -> Iterator[None]:
    import os

    with pytest.MonkeyPatch.context() as patch, moto.mock_aws():
        for name in [name for name in os.environ if name.startswith(("REGISTRY_", "AWS_"))]:
            patch.delenv(name)
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        _forget_everything()
        from registry import records
        from registry.records.rows import Row
        from registry.storage.client import s3

        s3().create_bucket(Bucket=BUCKET)
        records.create_table()
        events = Row._get_connection().connection.client.meta.events
        events.register("provide-client-params.dynamodb", _refuse_as_dynamodb_does)
        yield
    _forget_everything()


def _refuse_as_dynamodb_does(params: dict[str, Any], model: Any, **_: Any) -> None:
    """What DynamoDB refuses and moto lets pass: keys that are too long, and ranges that end before they begin."""
    longest = {"pk": 2048, "sk": 1024}
    requests = params.get("RequestItems", {}).values()
    keys = [params.get("Key", {}), *(key for request in requests if "Keys" in request for key in request["Keys"])]
    pairs = [(name, value["S"]) for key in keys for name, value in key.items()]
    values, names = params.get("ExpressionAttributeValues", {}), params.get("ExpressionAttributeNames", {})
    condition = params.get("KeyConditionExpression", "")
    for name, _, value, second in re.findall(r"(#\d+) (=|<=?|>=?|BETWEEN) (:\d+)(?: AND (:\d+))?", condition):
        pairs.append((names[name], values[value]["S"]))
        if " BETWEEN " in condition and second and values[second]["S"] < values[value]["S"]:
            raise _refusal(
                model, "The BETWEEN operator requires upper bound to be greater than or equal to lower bound"
            )
    if any(len(value.encode()) > longest.get(name, 1 << 20) for name, value in pairs):
        raise _refusal(model, "One or more parameter values were invalid: the size of a key has exceeded its limit")


def _refusal(model: Any, message: str) -> ClientError:
    return ClientError({"Error": {"Code": "ValidationException", "Message": message}}, model.name)


@pytest.fixture
def on_moto(_moto: None, started: Any) -> Iterator[None]:
    """An empty registry on moto, with API Gateway's limits."""
    from registry.settings import get_settings

    get_settings.cache_clear()
    kit.empty()
    yield
    get_settings.cache_clear()


@pytest.fixture
def api(on_moto: None, call: Callable[..., Any]) -> Api:
    """The functions, called as API Gateway does, by alice."""
    return Api(call, "alice")


@pytest.fixture
def setting(on_moto: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Changes settings for this test: `setting(wait_seconds=1)`."""
    from registry.settings import get_settings

    def change(**values: Any) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"REGISTRY_{name.upper()}", str(value))
        get_settings.cache_clear()

    yield change
    get_settings.cache_clear()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions that are started run before the starter goes on."""
    from registry import tasks

    def run(name: str, event: dict[str, Any]) -> None:
        importlib.import_module(f"functions.{name}.app").lambda_handler(event, None)

    monkeypatch.setattr(tasks, "start_function", run)


@pytest.fixture
def move_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the time of day ahead by so many seconds."""
    real, real_ns = time.time, time.time_ns
    ahead = [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(ahead[0] * 1e9))

    def move(seconds: float) -> None:
        ahead[0] += seconds

    return move


@pytest.fixture
def no_time() -> Callable[[], AbstractContextManager[None]]:
    """`with no_time():` requests find that their time is over, as those do that outlast the gateway."""
    from registry.deadlines import Deadline

    @contextmanager
    def over() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Deadline, "passed", property(lambda self: True))
            yield

    return over


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer(algorithm="EdDSA") as issuer:
        yield issuer


@pytest.fixture
def ask(on_moto: None, issuer: Issuer, setting: Callable[..., None]) -> Ask:
    """Sends a request to the whole app behind the gateway of `make run`, as somebody: a user, or None for nobody."""
    from registry.web import apps

    from local.app import find_routers, sort_routers
    from local.gateway import Gateway

    setting(authentication="authorizer", issuer=issuer.url, audience=issuer.audience, groups_claim="groups")
    gateway = Gateway(apps.create_app(sort_routers(find_routers()), docs=True))

    def send(who: str | None, method: str, path: str, *, token: str | None = None, **request: Any) -> httpx.Response:
        token = issuer.token(who) if who else token
        headers = {**request.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        return asgi.call(gateway, method, path, headers=headers, **request)

    return send


@pytest.fixture
def upload_id(ask: Ask) -> str:
    """alice has a version of `m`, a token and an open upload, and lets carol read `m`; the upload's id."""
    from registry import naming

    fields = [("user_id", "alice"), ("model_id", "m"), ("name", "M"), ("file", "model.pkl", b"1")]
    body, headers = kit.form_body(fields)
    assert ask("alice", "POST", "/ai-models/upload/single", content=body, headers=headers).status_code == 200
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naming, "new_token_id", lambda: TOKEN_ID)
        assert ask("alice", "POST", "/ai-models/tokens", json={"name": "First"}).status_code == 201
    assert ask("alice", "PUT", "/ai-models/grants/alice/m/carol", json={"role": "read"}).status_code == 200
    files = [{"path": "a", "size": 1}, {"path": "big", "size": 40 * 2**20}]
    request = {"user_id": "alice", "model_id": "open", "version": "v1", "name": "Open", "files": files}
    begun = ask("alice", "POST", "/ai-models/upload/direct", json=request, params={"urls": "false"})
    assert begun.status_code == 201
    upload_id: str = begun.json()["upload_id"]
    return upload_id
