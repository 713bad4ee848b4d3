"""AsyncClient is Client, awaited: the same methods, and a loop that never waits."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modelkeep
import pytest
from modelkeep.config import Config, Home
from modelkeep.errors import NotFoundError
from modelkeep.progress import Meter, OnProgress

pytestmark = pytest.mark.usefixtures("own_loop")


def public(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if inspect.isfunction(value) and name[0] != "_"}


@pytest.fixture
def client(tmp_path: Path) -> modelkeep.AsyncClient:
    home = Home(tmp_path, tmp_path / "state", tmp_path / "cache")
    return modelkeep.AsyncClient("http://127.0.0.1:9", config=Config(home))


def test_it_has_the_methods_of_client_and_no_others() -> None:
    assert public(modelkeep.AsyncClient).keys() == public(modelkeep.Client).keys()


@pytest.mark.parametrize("name", ["__init__", *public(modelkeep.Client)])
def test_a_method_takes_what_clients_takes_and_answers_the_same(name: str) -> None:
    ours = inspect.signature(getattr(modelkeep.AsyncClient, name))
    theirs = inspect.signature(getattr(modelkeep.Client, name))
    assert ours.parameters == theirs.parameters
    assert str(ours.return_annotation).replace("AsyncIterator", "Iterator") == theirs.return_annotation
    lists = theirs.return_annotation.startswith("Iterator")
    assert inspect.iscoroutinefunction(getattr(modelkeep.AsyncClient, name)) == (not lists and name != "__init__")


@pytest.mark.parametrize("name", public(modelkeep.Client))
def test_every_argument_arrives(name: str, client: modelkeep.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given to one comes out at the other, by name."""
    seen: list[dict[str, Any]] = []
    signature = inspect.signature(getattr(client.client, name))

    def record(*arguments: Any, **options: Any) -> Any:
        seen.append(dict(signature.bind(*arguments, **options).arguments))
        return iter(())

    monkeypatch.setattr(client.client, name, record)
    given = {each.name: object() for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD}
    told: list[Any] = []
    if "on_progress" in given:
        given["on_progress"] = told.append  # type: ignore[assignment]
    positional = [
        given.pop(each.name) for each in signature.parameters.values() if each.kind is each.POSITIONAL_OR_KEYWORD
    ]

    async def call() -> None:
        answer = getattr(client, name)(*positional, **given)
        if inspect.isasyncgen(answer):
            assert [row async for row in answer] == []
        else:
            await answer

    asyncio.run(call())
    (arrived,) = seen
    if "on_progress" in given:
        arrived["on_progress"]("progress")
        assert told == ["progress"]
        del arrived["on_progress"], given["on_progress"]
    names = [each.name for each in signature.parameters.values() if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert arrived == {**dict(zip(names, positional, strict=True)), **given}


def test_a_list_is_fetched_in_other_threads_and_no_further_than_it_is_wanted(
    client: modelkeep.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    threads = set()

    def rows(ref: Any) -> Iterator[int]:
        for number in range(1000):
            threads.add(threading.get_ident())
            made.append(number)
            yield number

    monkeypatch.setattr(client.client, "versions", rows)

    async def some() -> list[Any]:
        found: list[Any] = []
        async for row in client.versions("alice/bert"):
            found.append(row)
            if len(found) == 150:
                break
        return found

    assert asyncio.run(some()) == list(range(150))
    assert len(made) == 200
    assert threading.get_ident() not in threads


def test_errors_come_through(client: modelkeep.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(ref: Any) -> None:
        raise NotFoundError("no such model")

    monkeypatch.setattr(client.client, "get", fail)

    async def ask() -> None:
        async with client:
            await client.get("alice/bert")

    with pytest.raises(NotFoundError):
        asyncio.run(ask())


@pytest.mark.parametrize("name", ["push", "resume", "pull", "pull_zip", "verify"])
def test_cancelling_stops_the_work_at_its_next_bytes(
    name: str, client: modelkeep.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    told: list[int] = []
    stopped: list[BaseException] = []

    def work(*arguments: Any, on_progress: OnProgress, **options: Any) -> None:
        meter = Meter(on_progress, "send", 100)
        try:
            meter.add(10)
            meter.finish()
            began.set()
            assert go_on.wait(120)
            try:
                meter.finish()
            except Exception:  # noqa: BLE001  as a retry would
                told.append(-1)
            told.append(1)
        except BaseException as error:
            stopped.append(error)
            raise
        finally:
            ended.set()

    monkeypatch.setattr(client.client, name, work)
    arguments = ["path", "alice/bert"][: 2 if name in ("push", "resume") else 1]

    async def cancel() -> None:
        task = asyncio.create_task(getattr(client, name)(*arguments, on_progress=lambda each: told.append(each.done)))
        await asyncio.to_thread(began.wait, 120)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        assert await asyncio.to_thread(ended.wait, 120)

    asyncio.run(cancel())
    assert told == [0, 10]
    assert [type(each).__name__ for each in stopped] == ["_Stopped"]


def test_the_package_is_imported_without_asyncio_numpy_or_fsspec() -> None:
    code = "import modelkeep, sys; print(sorted({'asyncio', 'numpy', 'fsspec', 'safetensors'} & set(sys.modules)))"
    source = str(Path(modelkeep.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": source}, capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0)
    with pytest.raises(AttributeError):
        modelkeep.nothing  # noqa: B018
