"""One version has one author, and nobody sees it half done."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.end_to_end import making
from tests.end_to_end.client import SECONDS, Client, eventually, send_all, sha256
from tests.end_to_end.conftest import Keys

RACERS = 8
MEMBERS = 400


@pytest.mark.case("U14")
@pytest.mark.needs("binary", "unlimited")
def test_of_eight_uploads_by_form_one_wins_and_the_version_has_its_bytes(client: Client, keys: Keys) -> None:
    bodies = [random.Random(number).randbytes(5_000_000) for number in range(RACERS)]
    together = threading.Barrier(RACERS)

    def race(number: int) -> requests.Response:
        together.wait()
        return client.single(f"model-{number}.pkl", bodies[number], version="v1")

    with ThreadPoolExecutor(RACERS) as pool:
        answers = list(pool.map(race, range(RACERS)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * (RACERS - 1)
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["detail"].startswith("Model with this ID and version already exists")
    (winner,) = [number for number, answer in enumerate(answers) if answer.status_code == 200]
    metadata = client.metadata()
    assert metadata == answers[winner].json()
    assert metadata["files"][0]["file_hash"] == sha256(bodies[winner])
    assert client.content(f"model-{winner}.pkl") == bodies[winner]
    assert keys(f"models/{client.user_id}/") == [metadata["files"][0]["file_path"]]
    assert requests.get(client.models, timeout=SECONDS).json() == [metadata]


def test_of_eight_direct_starts_one_has_the_version(client: Client) -> None:
    together = threading.Barrier(RACERS)

    def race(number: int) -> Any:
        together.wait()
        return client.try_start(files=[{"path": f"{number}.bin", "size": 3}])

    with ThreadPoolExecutor(RACERS) as pool:
        answers = list(pool.map(race, range(RACERS)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * (RACERS - 1)
    (winner,) = [answer.json() for answer in answers if answer.status_code == 201]
    assert {answer.json().get("upload_id") for answer in answers} == {winner["upload_id"]}


def test_starts_without_a_version_get_one_each(client: Client) -> None:
    with ThreadPoolExecutor(RACERS) as pool:
        started = list(
            pool.map(lambda _: client.start(version=None, files=[{"path": "a.bin", "size": 3}]), range(RACERS))
        )
    assert {upload["version"] for upload in started} == {f"v{number}" for number in range(1, RACERS + 1)}


def test_many_completes_at_once_publish_once(client: Client) -> None:
    data = b"bytes"
    assert client.single("a.bin", data, "source").status_code == 200
    started = client.start(files=[{"path": "a.bin", "size": 5, "sha256": sha256(data)}])
    with ThreadPoolExecutor(RACERS) as pool:
        answers = list(pool.map(lambda _: client.complete(started["upload_id"]), range(RACERS)))
    assert {answer.status_code for answer in answers} <= {200, 202}, [answer.text for answer in answers]
    client.wait(started["upload_id"])
    versions = client.get(route="/versions").json()
    assert [version["version"] for version in versions] == ["v1"]


@pytest.mark.case("U12")
def test_no_route_shows_anything_before_everything_is_there(client: Client) -> None:
    """Each route is asked again and again while a ZIP is unpacked: what it answers is nothing, or the whole version."""
    contents = {f"folder-{number % 7}/member-{number}.bin": f"{number}".encode() * 200 for number in range(MEMBERS)}
    archive = making.zipped(contents)
    started = client.start("hidden", name="Hidden treasure", archive={"size": len(archive)})

    def of_one(route: str, count: Callable[[requests.Response], int], **query: str) -> Callable[[], bool]:
        def look() -> bool:
            answer = client.get("hidden", route, **query)
            assert answer.status_code in (200, 404), answer.text
            if answer.status_code == 404:
                return False
            assert count(answer) == MEMBERS
            return True

        return look

    def of_many(url: str, **query: str) -> Callable[[], bool]:
        def look() -> bool:
            answer = requests.get(url, params=query, timeout=SECONDS)
            assert answer.status_code == 200, answer.text
            assert [each["file_count"] for each in answer.json()] in ([], [MEMBERS])
            return bool(answer.json())

        return look

    first = next(iter(contents))
    routes = {
        "get": of_one("", lambda answer: answer.json()["file_count"]),
        "get v1": of_one("", lambda answer: len(answer.json()["files"]), version="v1"),
        "files": of_one("/files", lambda answer: len(answer.json())),
        "download one": of_one(
            "/download", lambda answer: MEMBERS * (answer.content == contents[first]), filename=first
        ),
        "download all": of_one("/download", lambda answer: answer.content.count(b"PK\x01\x02")),
        "list": of_many(client.models),
        "list filtered": of_many(client.models, framework="huggingface"),
        "search": of_many(f"{client.url}/ai-models/search/{client.user_id}", query="treasure"),
    }
    for name, look in routes.items():  # which also starts each function, so that all of them are warm then
        assert not look(), name
    over = threading.Event()

    def ask(name: str) -> None:
        seen = last = False
        while not last:
            last = over.wait(0.05)
            now = routes[name]()
            assert not (seen and not now), f"{name}: it was there, and is not any more"
            seen = now

    with ThreadPoolExecutor(len(routes)) as pool:
        asking = [pool.submit(ask, name) for name in routes]
        try:
            send_all(started["archive"], archive)
            while (status := client.upload(started["upload_id"])["status"]) not in ("ready", "failed"):
                assert not any(each.done() for each in asking)
        finally:
            over.set()
    for each in asking:
        each.result()
    assert status == "ready"
    # How many of the looks were while it was unpacked depends on the machine. One after each of its writes is
    # tests/integration/test_death.py's.
    for name, look in routes.items():
        assert eventually(look, bool), name
