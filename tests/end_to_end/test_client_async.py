"""AsyncClient against a running registry: many at once, and cancelled in the middle."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modelkeep
import pytest
from modelkeep.config import Config
from modelkeep.errors import NotFoundError
from modelkeep.progress import Progress

from tests.end_to_end.client import file_sha256, write_pattern
from tests.end_to_end.client_under_test import home_in

# Any target: test_client_everywhere.py.
pytestmark = [pytest.mark.needs("process"), pytest.mark.usefixtures("own_loop")]

MIB = 1024 * 1024


@pytest.fixture
def asynchronous(sdk: modelkeep.Client, tmp_path: Path) -> Iterator[modelkeep.AsyncClient]:
    """The same caller as `sdk`."""
    config = Config(home_in(tmp_path / "home"))
    client = modelkeep.AsyncClient(sdk.url, sdk.api._token, config=config)
    yield client
    client.client.close()


class Ended:
    """How a method of Client ended in its thread."""

    def __init__(self, client: modelkeep.AsyncClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.event = threading.Event()
        self.error: BaseException | None = None
        method = getattr(client.client, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            try:
                return method(*arguments, **options)
            except BaseException as error:
                self.error = error
                raise
            finally:
                self.event.set()

        monkeypatch.setattr(client.client, name, watched)


async def cancel_at(phase: str, start: Any, ended: Ended) -> None:
    """Cancel the work when the phase's first bytes have moved, and wait until its thread has seen so."""
    loop, cancelled = asyncio.get_running_loop(), threading.Event()

    def tell(progress: Progress) -> None:
        if progress.phase == phase and progress.done > progress.skipped and not cancelled.is_set():
            loop.call_soon_threadsafe(task.cancel)
            assert cancelled.wait(120)  # so that the rest has not moved before

    task = asyncio.create_task(start(tell))
    with pytest.raises(asyncio.CancelledError):
        await task
    cancelled.set()
    assert await asyncio.to_thread(ended.event.wait, 120)


def test_a_cancelled_push_stops_and_goes_on_when_it_is_called_again(
    asynchronous: modelkeep.AsyncClient, user_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ref = write_pattern(tmp_path / "model.bin", 96 * MIB), f"{user_id}/model:v1"
    metadata = {"name": "A model"}
    ended = Ended(asynchronous, "push", monkeypatch)

    async def scenario() -> tuple[Any, Any]:
        await cancel_at("send", lambda tell: asynchronous.push(path, ref, metadata=metadata, on_progress=tell), ended)
        assert type(ended.error).__name__ == "_Stopped"
        with pytest.raises(NotFoundError):
            await asynchronous.get(ref)
        (upload,) = await asynchronous.uploads(user_id)
        return upload, await asynchronous.push(path, ref, metadata=metadata)

    upload, version = asyncio.run(scenario())
    assert type(ended.error).__name__ == "NoneType" or type(ended.error).__name__ == "_Stopped"
    assert (upload.status, str(version)) == ("uploading", ref)
    assert version.files[0].sha256 == file_sha256(path)


def test_a_cancelled_pull_stops_and_goes_on_when_it_is_called_again(
    asynchronous: modelkeep.AsyncClient,
    sdk: modelkeep.Client,
    user_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, ref = write_pattern(tmp_path / "model.bin", 96 * MIB), f"{user_id}/model:v1"
    sdk.push(path, ref, metadata={"name": "A model"})
    ended = Ended(asynchronous, "pull", monkeypatch)
    target = tmp_path / "pulled"

    async def scenario() -> Any:
        await cancel_at("fetch", lambda tell: asynchronous.pull(ref, target, cache=False, on_progress=tell), ended)
        assert type(ended.error).__name__ == "_Stopped"
        assert not (target / "model.bin").exists()
        return await asynchronous.pull(ref, target, cache=False)

    pulled = asyncio.run(scenario())
    assert file_sha256(target / "model.bin") == file_sha256(path)
    assert pulled.bytes_total == 96 * MIB


def test_many_are_pulled_at_once_and_listed(asynchronous: modelkeep.AsyncClient, user_id: str, tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        async with asynchronous:
            folders = [write_pattern(tmp_path / f"{number}.bin", MIB, seed=number) for number in range(5)]
            metadata = {"name": "A model"}
            pushes = [asynchronous.push(path, f"{user_id}/model-{path.stem}", metadata=metadata) for path in folders]
            refs = [str(version) for version in await asyncio.gather(*pushes)]
            pulls = [asynchronous.pull(ref, tmp_path / "all" / ref.partition("/")[2]) for ref in refs]
            await asyncio.gather(*pulls)
            assert {str(version) async for version in asynchronous.models(user_id)} == set(refs)
            return refs

    for number, ref in enumerate(asyncio.run(scenario())):
        pulled = tmp_path / "all" / ref.partition("/")[2] / f"{number}.bin"
        assert file_sha256(pulled) == file_sha256(tmp_path / f"{number}.bin")
