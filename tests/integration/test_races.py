"""Everything at once: DynamoDB decides, and whoever loses leaves nothing behind."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from registry.errors import ConflictError, NotFoundError, RegistryError
from registry.schemas.answers import Metadata

from tests.integration.harness import MIB, World, at_once, make_zip

FILES = {"a/model.onnx": b"one", "b.bin": os.urandom(5 * MIB + 1), "requirements.txt": b"numpy\n"}


def after(*, last: int, some: int) -> Any:
    """After each write up to `last`; the normal run takes every `some`th."""
    numbers = range(1, last + 1)
    return pytest.mark.parametrize(
        "n", [pytest.param(n, marks=[] if n % some == 1 else [pytest.mark.long]) for n in numbers]
    )


def errors_of(results: list[Any]) -> list[Exception]:
    return [each for each in results if isinstance(each, Exception)]


@pytest.mark.case("U14")
@pytest.mark.parametrize("size", [100, 9 * MIB], ids=["small", "parts"])
def test_one_of_20_publishers_wins(world: World, size: int) -> None:
    count = 20 if size < MIB else 6
    bodies = [bytes([number]) * size for number in range(count)]
    results = at_once([lambda body=body: world.upload_single("raced", body) for body in bodies])
    lost = errors_of(results)
    assert [type(each) for each in lost] == [ConflictError] * (count - 1)
    assert {each.code for each in lost} <= {"version_exists", "version_uploading"}  # type: ignore[attr-defined]
    winner = next(number for number, each in enumerate(results) if isinstance(each, Metadata))
    world.verify("raced", "v1", {"model.onnx": bodies[winner]})
    assert len(world.objects()) == 1
    assert world.multiparts() == []
    world.check_no_work()
    world.end()
    world.check_clean()


@pytest.mark.case("U14")
def test_20_starts_of_one_version(world: World) -> None:
    results = at_once([lambda: world.start_files("raced", FILES) for _ in range(20)])
    lost = errors_of(results)
    assert [type(each) for each in lost] == [ConflictError] * 19
    won = next(each for each in results if not isinstance(each, Exception))
    assert {each.extra.get("upload_id") for each in lost} == {won.upload_id}  # type: ignore[attr-defined]
    world.receive(world.put_files(won, FILES))
    world.verify("raced", "v1", FILES)
    uploads = {pk for pk, _ in world.rows() if pk.startswith("A#")}
    assert uploads == {won.pk}, "losers' rows of files are left"


def test_starts_without_a_version_get_a_name_each(world: World) -> None:
    results = at_once([lambda: world.start_files("numbered", {"a": b"x"}, version=None) for _ in range(20)])
    assert errors_of(results) == []
    assert {each.version for each in results} == {f"v{number}" for number in range(1, 21)}  # type: ignore[union-attr]


def test_starts_with_one_idempotency_key_are_one(world: World) -> None:
    for version in ("v1", None):
        key = f"key-{version}"
        works = [lambda v=version, k=key: world.start_files("once", {"a": b"x"}, version=v, key=k) for _ in range(10)]
        results = at_once(works)
        assert errors_of(results) == []
        assert len({each.upload_id for each in results}) == 1  # type: ignore[union-attr]
    uploads = {pk for pk, _ in world.rows() if pk.startswith("A#")}
    assert len(uploads) == 2


@pytest.mark.case("U14")
def test_no_update_of_10_is_lost(world: World) -> None:
    world.upload_single("updated", b"x")
    changes: list[dict[str, Any]] = [
        {"name": "new name"},
        {"description": "about it"},
        {"tags": ["one", "two"]},
        {"framework": "pytorch"},
        {"algorithm": "forest"},
        {"training_accuracy": 0.5},
        {"num_parameters": 7},
        {"custom_metadata": {"a": [1]}},
        {"is_production_ready": True},
        {"python_version": "3.12"},
    ]
    assert errors_of(at_once([lambda each=each: world.update("updated", **each) for each in changes])) == []
    shown = world.get("updated", "v1")
    assert shown is not None
    for each in changes:
        for name, value in each.items():
            assert getattr(shown, name) == value
    check_postings(world)


def check_postings(world: World) -> None:
    """Every version that is ready has all postings that lead to it."""
    from registry import search
    from registry.catalog import reading
    from registry.records import VersionRow

    rows = world.rows()
    for (pk, sk), raw in rows.items():
        if not sk.startswith("V#") or raw["status"] != "ready":
            continue
        row = VersionRow.find(pk, sk)
        assert row is not None
        terms = search.version_terms(row.model_id, reading.fields_of(row))
        wanted = {(each.pk, each.sk) for each in search.make_postings(row, terms, rev=0, active=bool(row.active))}
        assert wanted - rows.keys() == set(), "postings are missing: the version cannot be found"


@pytest.mark.parametrize("turn", range(2))
def test_concurrent_updates_stay_findable(world: World, turn: int) -> None:
    """The same words come and go, by several writers on two versions that share them."""
    for version in ("v1", "v2"):
        world.upload_single("updated", b"x", version=version, tags="alpha")

    def write(number: int) -> None:
        for step in range(3):
            word = ["alpha", "beta", "gamma"][(number + step + turn) % 3]
            changes: dict[str, Any] = {"tags": [word], "name": f"{word} {word}"}
            if number % 3 == 0:
                changes["is_active"] = bool((number + step) % 2)
            for _ in range(50):
                try:
                    world.update("updated", f"v{number % 2 + 1}", **changes)
                    break
                except ConflictError as error:
                    assert error.code == "busy"

    assert errors_of(at_once([lambda number=number: write(number) for number in range(6)])) == []
    check_postings(world)
    for version in ("v1", "v2"):
        shown = world.get("updated", version)
        assert shown is not None
        found = world.list(query=shown.name, tags=shown.tags[0], is_active=shown.is_active)
        assert version in {each.version for each in found}
    world.check_hints()


@pytest.mark.case("U15")
@after(last=20, some=4)
def test_abort_between_any_two_writes_of_a_promotion(world: World, n: int) -> None:
    upload = world.start_files("aborted", FILES)
    event = world.put_files(upload, FILES)
    check_interrupted_by_abort(world, upload, event, FILES, n)


@pytest.mark.case("U15")
@after(last=20, some=4)
def test_abort_between_any_two_writes_of_an_unpacking(world: World, n: int) -> None:
    archive = make_zip(FILES, deflated=["requirements.txt"])
    upload = world.start("aborted", archive={"size": len(archive)})
    event = world.put_archive(upload, archive)
    check_interrupted_by_abort(world, upload, event, FILES, n)


def check_interrupted_by_abort(
    world: World, upload: Any, event: dict[str, Any], contents: dict[str, bytes], n: int
) -> None:
    outcome: list[str] = []

    def abort() -> None:
        try:
            outcome.append(world.abort(upload.upload_id).status)
        except ConflictError as error:
            outcome.append(error.code)

    result = world.process.interrupt(lambda: world.receive(event), n, abort)
    if not outcome:
        pytest.skip(f"only {world.process.writes} writes")
    assert result is None, f"an abort is no error of the worker's: {result!r}"
    check_one_outcome(world, upload, outcome[0], contents)


def check_one_outcome(world: World, upload: Any, outcome: str, contents: dict[str, bytes]) -> None:
    from registry.records import UploadRow

    now = UploadRow.find(upload.pk)
    assert now is not None
    if outcome == "upload_ready":
        assert now.status == "ready"
        world.verify("aborted", "v1", contents)
    else:
        assert (outcome, now.status) == ("aborted", "aborted")
        assert world.get("aborted") is None
        again = world.upload_single("aborted", b"again")
        world.end()
        world.verify("aborted", "v1", {"model.onnx": b"again"})
        assert world.objects() == [again.files[0].file_path]
    world.end()
    world.check_clean()


@pytest.mark.parametrize("turn", range(3))
def test_abort_races_publication(world: World, turn: int) -> None:
    small = {"a": b"1", "b": b"2"}
    upload = world.start_files("aborted", small)
    event = world.put_files(upload, small)

    def abort() -> str:
        time.sleep(turn * 0.05)
        try:
            return str(world.abort(upload.upload_id).status)
        except ConflictError as error:
            return error.code

    received, outcome = at_once([lambda: world.receive(event), abort])
    assert received is None, received
    assert isinstance(outcome, str), outcome
    check_one_outcome(world, upload, outcome, small)


@pytest.mark.case("U10")
def test_30_equal_events_publish_once(world: World) -> None:
    upload = world.start_files("doubled", FILES)
    event = world.put_files(upload, FILES)
    world.process.operations.clear()
    assert errors_of(at_once([lambda: world.receive(event) for _ in range(30)])) == []
    world.started.run()
    shown = world.verify("doubled", "v1", FILES)
    for _ in range(2):
        world.receive(event)
    again = world.get("doubled", "v1")
    assert again == shown
    postings = [key for key in world.rows() if key[0] == f"P#{world.user_id}#a#*"]
    assert len(postings) == 1
    world.check_no_work()
    world.end()
    world.check_clean()


def test_event_of_each_file_at_once(world: World) -> None:
    """Every file is put by a thread of its own, whose event is handled there and then."""
    from registry import naming
    from registry.storage import objects

    from tests.integration.harness import event_of

    contents = {f"file-{number:02d}": bytes([number]) * 10 for number in range(25)}
    upload = world.start_files("parallel", contents)

    def send(number: int, data: bytes) -> None:
        key = naming.inbox_key(world.user_id, upload.upload_id, number)
        objects.put_object(key, data)
        world.receive(event_of(key))

    works = [lambda n=n, data=data: send(n, data) for n, data in enumerate(contents.values())]
    assert errors_of(at_once(works)) == []
    world.verify("parallel", "v1", contents)  # without any sweep: no wake is lost
    world.end()
    world.check_clean()


@after(last=13, some=4)
def test_update_within_a_delete(world: World, n: int) -> None:
    world.upload_single("model", b"x", tags="one")
    outcome: list[Exception | Metadata] = []

    def update() -> None:
        try:
            outcome.append(world.update("model", tags=["two"], name="other"))
        except RegistryError as error:
            outcome.append(error)

    result = world.process.interrupt(lambda: world.delete("model"), n, update)
    assert not isinstance(result, Exception), result
    assert all(isinstance(each, NotFoundError) for each in outcome)
    check_gone(world)
    if not outcome:
        pytest.skip(f"only {world.process.writes} writes")


@after(last=13, some=3)
def test_delete_within_an_update(world: World, n: int) -> None:
    world.upload_single("model", b"x", tags="one")
    deleted: list[Any] = []
    result = world.process.interrupt(
        lambda: world.update("model", tags=["two"], name="other", is_active=n % 2 == 0),
        n,
        lambda: deleted.append(world.delete("model")),
    )
    if isinstance(result, Exception):
        assert isinstance(result, NotFoundError), result
    if not deleted:
        world.delete("model")
    check_gone(world)
    if not deleted:
        pytest.skip(f"only {world.process.writes} writes")


def check_gone(world: World) -> None:
    assert world.get("model") is None
    assert world.list() == []
    assert world.list(query="other") == []
    assert world.list(query="name", is_active=False) == []
    assert world.versions("model") == []
    world.check_no_work()
    again = world.upload_single("model", b"again")
    assert names(world) == ["v1"]
    world.end()
    assert world.objects() == [again.files[0].file_path]
    world.check_clean()


def names(world: World) -> list[str]:
    return [each.version for each in world.list()]


@pytest.mark.parametrize("turn", range(2))
def test_delete_races_update(world: World, turn: int) -> None:
    world.upload_single("model", b"x", tags="one")
    works: list[Any] = [lambda: world.delete("model"), lambda: world.delete("model")]
    works += [lambda n=n: world.update("model", tags=[f"tag{n}"]) for n in range(4)]
    results = at_once(works)
    assert all(isinstance(each, NotFoundError | ConflictError) for each in errors_of(results)), results
    assert not all(isinstance(each, Exception) for each in results[:2])
    check_gone(world)


def test_deletes_of_a_whole_model_race_an_upload(world: World) -> None:
    for number in range(4):
        world.upload_single("model", b"x", version=f"v{number}")
    results = at_once(
        [
            lambda: world.delete("model", None, every=True),
            lambda: world.delete("model", None, every=True),
            lambda: world.upload_single("model", b"new", version="v9"),
        ]
    )
    assert all(isinstance(each, NotFoundError) for each in errors_of(results)), results
    left = {each.version for each in world.list()}
    assert left <= {"v9"}
    if left:
        world.verify("model", "v9", {"model.onnx": b"new"})
    world.end()
    world.check_clean()


def test_no_files_that_were_added_at_once_are_lost(world: World) -> None:
    """A refused request is sent again, as its answer says."""
    from registry import naming
    from registry.auth import ANYBODY
    from registry.records import UploadRow
    from registry.schemas.direct import AddFiles
    from registry.storage import objects
    from registry.uploads import showing, starting

    first = {"first": b"first"}
    upload = world.start_files("added", first)

    def add(number: int) -> int:
        request = AddFiles.model_validate({"files": [{"path": f"{number}/{i}", "size": 3} for i in range(3)]})
        for attempt in range(100):
            try:
                starting.add_files(principal=ANYBODY, upload_id=upload.upload_id, request=request)
                return attempt
            except ConflictError as error:
                assert error.code == "upload_changed"
        raise AssertionError("never let in")

    assert errors_of(at_once([lambda number=number: add(number) for number in range(8)])) == []
    now = UploadRow.find(upload.pk)
    assert now is not None
    assert now.file_count == 25
    assert now.bytes_total == 5 + 8 * 9
    view, _ = showing.get_upload(
        principal=ANYBODY, upload_id=upload.upload_id, urls=True, limit=1_000, cursor=None, state=None
    )
    assert sorted(each.path for each in view.files) == sorted(
        ["first", *(f"{n}/{i}" for n in range(8) for i in range(3))]
    )
    contents = {}
    for each in view.files:
        assert each.put is not None
        key = each.put.url.split("?")[0].split("/modelkeep/", 1)[1]
        contents[each.path] = each.path.encode() if each.path == "first" else each.path[:3].encode()
        objects.put_object(key, contents[each.path])
    from tests.integration.harness import event_of

    world.receive(event_of(naming.inbox_key(world.user_id, upload.upload_id, 0)))
    world.verify("added", "v1", contents)
    world.end()
    world.check_clean()


@after(last=15, some=4)
def test_files_added_within_a_promotion(world: World, n: int) -> None:
    """Whoever adds in time gets a version with all files; whoever is late gets a 409. Never one without them."""
    from registry.auth import ANYBODY
    from registry.schemas.direct import AddFiles
    from registry.storage import objects
    from registry.uploads import starting

    small = {"a": b"1", "b": b"2"}
    upload = world.start_files("added", small)
    event = world.put_files(upload, small)
    request = AddFiles.model_validate({"files": [{"path": "late", "size": 4}]})
    outcome: list[Any] = []

    def add() -> None:
        try:
            outcome.append(starting.add_files(principal=ANYBODY, upload_id=upload.upload_id, request=request))
        except ConflictError as error:
            outcome.append(error)

    result = world.process.interrupt(lambda: world.receive(event), n, add)
    assert result is None, result
    if not outcome:
        pytest.skip(f"only {world.process.writes} writes")
    if isinstance(outcome[0], ConflictError):
        world.verify("added", "v1", small)
    else:
        assert world.get("added", "v1") is None
        from registry import naming

        from tests.integration.harness import event_of

        key = naming.inbox_key(world.user_id, upload.upload_id, 100)
        objects.put_object(key, b"late")
        world.receive(event_of(key))
        world.verify("added", "v1", {**small, "late": b"late"})
    world.end()
    world.check_clean()
