"""A function dies at every write there is. Afterwards the event comes again or the sweep comes by, and in the end there
is a whole version, or nothing at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from registry.settings import get_settings

from tests.integration.harness import MIB, World, make_zip

pytestmark = pytest.mark.case("U12")

FILES = {"weights/model.onnx": b"small model", "config.json": b"{}", "data.bin": os.urandom(5 * MIB + 7)}
MEMBERS = {"a/model.onnx": b"stored", "a/readme.md": b"deflated " * 100, "a/big.bin": os.urandom(9 * MIB)}
ARCHIVE = make_zip(MEMBERS, deflated=["a/readme.md"])
SMALL = {"model.onnx": b"one small file"}
LARGE = {"model.onnx": os.urandom(9 * MIB)}


def every(last: int) -> Any:
    """The writes 1 to `last`, a test each; the normal run takes some. There is no write `last`, which is how it
    shows that none is left out."""
    numbers = range(1, last + 1)
    return pytest.mark.parametrize(
        "n", [pytest.param(n, marks=[] if n % 5 == 2 or n == last else [pytest.mark.long]) for n in numbers]
    )


def skip_if_alive(world: World, n: int, last: int, *, died: bool) -> None:
    """It came to its end before its n-th write."""
    if n == last:
        assert not died, "there are more writes by now: raise the last number"
    if not died:
        pytest.skip(f"only {world.process.writes} writes")


def see_nothing_or(world: World, model_id: str, version: str, wanted: dict[str, bytes]) -> Callable[[], None]:
    """What any reader may find at any moment: no version, or all of it."""

    def look() -> None:
        shown = world.get(model_id, version)
        listed = [each for each in world.list() if each.model_id == model_id]
        for each in [*([shown] if shown else []), *listed]:
            assert {file.filename: file.file_size for file in each.files} == {
                path: len(data) for path, data in wanted.items()
            }

    return look


def start_again(world: World, model_id: str) -> None:
    """The version's name can be had."""
    again = world.upload_single(model_id, b"again")
    assert world.read(again) == {"model.onnx": b"again"}


# -- direct files -----------------------------------------------------------------------------------------------------


def announce_and_put(world: World) -> tuple[str, dict[str, Any]]:
    upload = world.start_files("files", FILES)
    return upload.upload_id, world.put_files(upload, FILES)


def test_files_are_never_seen_in_part(world: World) -> None:
    _, event = announce_and_put(world)
    with world.process.watched(after_write=see_nothing_or(world, "files", "v1", FILES)) as calls:
        world.receive(event)
    assert calls.writes < LAST_FILES
    world.verify("files", "v1", FILES)


LAST_FILES = 18


@every(LAST_FILES)
def test_dead_promotion_is_gone_on_with(world: World, n: int) -> None:
    _, event = announce_and_put(world)
    died = world.process.run_to_death(lambda: world.receive(event), n)
    skip_if_alive(world, n, LAST_FILES, died=died)
    see_nothing_or(world, "files", "v1", FILES)()
    if n % 2:
        world.receive(event)  # while the dead one's lease still runs
        world.clock.forward(70)
        world.receive(event)
    world.recover()
    world.verify("files", "v1", FILES)
    world.check_no_work()
    world.end()
    world.check_clean()
    world.verify("files", "v1", FILES)


LAST_START = 4


@every(LAST_START)
def test_dead_start_leaves_nothing_in_the_end(world: World, n: int) -> None:
    died = world.process.run_to_death(lambda: world.start_files("files", FILES, key="key"), n)
    skip_if_alive(world, n, LAST_START, died=died)
    world.recover(rounds=1)
    assert world.get("files", "v1") is None
    try:  # the client tries again
        upload = world.start_files("files", FILES, key="key")
    except Exception as error:
        raise AssertionError("the same Idempotency-Key has to give the same upload, or a new one") from error
    world.receive(world.put_files(upload, FILES))
    world.verify("files", "v1", FILES)
    world.end()
    world.check_clean()


@every(LAST_START)
def test_dead_start_that_nobody_repeats_expires(world: World, n: int) -> None:
    died = world.process.run_to_death(lambda: world.start_files("files", FILES), n)
    skip_if_alive(world, n, LAST_START, died=died)
    world.end()
    world.check_clean()
    start_again(world, "files")


# -- ZIP --------------------------------------------------------------------------------------------------------------


def announce_and_put_archive(world: World) -> tuple[str, dict[str, Any]]:
    upload = world.start("zipped", archive={"size": len(ARCHIVE)})
    return upload.upload_id, world.put_archive(upload, ARCHIVE)


def test_members_are_never_seen_in_part(world: World) -> None:
    _, event = announce_and_put_archive(world)
    with world.process.watched(after_write=see_nothing_or(world, "zipped", "v1", MEMBERS)) as calls:
        world.receive(event)
    assert calls.writes < LAST_ZIP
    world.verify("zipped", "v1", MEMBERS)


LAST_ZIP = 21


@every(LAST_ZIP)
def test_dead_unpacking_is_gone_on_with(world: World, n: int) -> None:
    _, event = announce_and_put_archive(world)
    died = world.process.run_to_death(lambda: world.receive(event), n)
    skip_if_alive(world, n, LAST_ZIP, died=died)
    see_nothing_or(world, "zipped", "v1", MEMBERS)()
    if n % 2:
        world.receive(event)
        world.clock.forward(70)
        world.receive(event)
    world.recover()
    world.verify("zipped", "v1", MEMBERS)
    world.check_no_work()
    world.end()
    world.check_clean()
    world.verify("zipped", "v1", MEMBERS)


LAST_BAD_ZIP = 14


@every(LAST_BAD_ZIP)
def test_dead_refusal_leaves_nothing(world: World, n: int) -> None:
    bad = bytearray(make_zip({"a.onnx": b"x" * 1000, "b.onnx": b"y" * 1000}))
    bad[bad.index(b"yyyy")] ^= 1  # its CRC-32 does not hold, which only unpacking shows
    upload = world.start("bad", archive={"size": len(bad)})
    event = world.put_archive(upload, bytes(bad))
    died = world.process.run_to_death(lambda: world.receive(event), n)
    world.recover()
    from registry.records import UploadRow

    now = UploadRow.find(f"A#{upload.upload_id}")
    assert now is not None
    assert (now.status, now.code) == ("failed", "archive_bad_crc")
    assert world.get("bad") is None
    assert [key for key in world.objects() if key.startswith("models/")] == []
    world.check_no_work()
    world.end()
    world.check_clean()
    start_again(world, "bad")
    skip_if_alive(world, n, LAST_BAD_ZIP, died=died)


# -- one file by form -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contents", [SMALL, LARGE], ids=["small", "parts"])
def test_single_file_is_never_seen_in_part(world: World, contents: dict[str, bytes]) -> None:
    data = contents["model.onnx"]
    with world.process.watched(after_write=see_nothing_or(world, "single", "v1", contents)) as calls:
        world.upload_single("single", data)
    assert calls.writes < LAST_SINGLE
    world.verify("single", "v1", contents)


LAST_SINGLE = 12


@pytest.mark.parametrize("contents", [SMALL, LARGE], ids=["small", "parts"])
@every(LAST_SINGLE)
def test_dead_form_is_whole_or_nothing(world: World, n: int, contents: dict[str, bytes]) -> None:
    data = contents["model.onnx"]
    died = world.process.run_to_death(lambda: world.upload_single("single", data), n)
    skip_if_alive(world, n, LAST_SINGLE, died=died)
    see_nothing_or(world, "single", "v1", contents)()
    published = world.get("single", "v1") is not None
    if n % 2:
        world.recover()
    else:
        world.clock.forward(70)  # the client comes before the sweep
    if published:
        world.verify("single", "v1", contents)
    else:
        world.upload_single("single", data)
        world.verify("single", "v1", contents)
    world.recover()
    world.check_no_work()
    world.end()
    world.check_clean()
    world.verify("single", "v1", contents)


@every(LAST_SINGLE)
def test_dead_form_that_nobody_repeats_leaves_nothing(world: World, n: int) -> None:
    died = world.process.run_to_death(lambda: world.upload_single("single", LARGE["model.onnx"]), n)
    skip_if_alive(world, n, LAST_SINGLE, died=died)
    published = world.get("single", "v1") is not None
    world.recover()
    world.check_no_work()
    world.end()
    world.check_clean()
    assert (world.get("single", "v1") is not None) == published
    if not published:
        assert world.objects() == []
        start_again(world, "single")


# -- a ZIP by form ----------------------------------------------------------------------------------------------------

LAST_FOLDER = 25


@every(LAST_FOLDER)
def test_dead_folder_is_whole_or_nothing(world: World, n: int) -> None:
    died = world.process.run_to_death(lambda: world.upload_folder("folder", ARCHIVE), n)
    skip_if_alive(world, n, LAST_FOLDER, died=died)
    see_nothing_or(world, "folder", "v1", MEMBERS)()
    world.recover()
    if world.get("folder") is None:
        assert world.objects() == []
        world.upload_folder("folder", ARCHIVE)
    world.verify("folder", "v1", MEMBERS)
    world.check_no_work()
    world.end()
    world.check_clean()
    world.verify("folder", "v1", MEMBERS)


# -- update -----------------------------------------------------------------------------------------------------------

LAST_UPDATE = 80


@every(LAST_UPDATE)
def test_dead_update_is_done_or_not(world: World, n: int) -> None:
    """By then or by now, a version is found by just what it says."""
    for version in ("v1", "v2"):
        world.upload_single("model", b"x", version=version, tags="old", name="old name")
    change = {"tags": ["new"], "name": "new name", "is_active": False}
    died = world.process.run_to_death(lambda: world.update("model", "v2", **change), n)
    skip_if_alive(world, n, LAST_UPDATE, died=died)
    shown = world.get("model", "v2")
    assert shown is not None
    told = (shown.tags, shown.name, shown.is_active)
    assert told in [(["old"], "old name", True), (["new"], "new name", False)]
    newest = world.get("model")
    assert newest is not None
    assert newest.version == ("v2" if shown.is_active else "v1")
    for word in ("old", "new"):
        for active in (True, False):
            found = {each.version for each in world.list(query=word, tags=word, is_active=active)}
            assert ("v2" in found) == (word in shown.tags and active == shown.is_active)
    assert [each.version for each in world.list(latest=True)] == [newest.version]
    world.update("model", "v2", is_active=True)
    assert [each.version for each in world.list(latest=True)] == ["v2"]
    world.update("model", "v2", **change)
    assert [each.version for each in world.list(latest=True)] == ["v1"]
    world.end()
    world.check_clean()


# -- delete and abort -------------------------------------------------------------------------------------------------


LAST_DELETE = 13


@every(LAST_DELETE)
def test_dead_delete_is_finished(world: World, n: int) -> None:
    _, event = announce_and_put(world)
    world.receive(event)
    other = world.upload_single("other", b"stays")
    died = world.process.run_to_death(lambda: world.delete("files"), n)
    begun = world.process.writes > 1  # the first write makes it invisible
    assert (world.get("files") is None) == begun
    assert ({each.model_id for each in world.list()} == {"other"}) == begun
    if not begun:
        world.delete("files")
    world.recover()
    assert world.get("files") is None
    assert [key for key in world.objects() if "/files/" in key] == []
    world.check_no_work()
    world.end()
    world.check_clean()
    left = {pk for pk, _ in world.rows() if pk.startswith(("P#", "D#", "F#")) and "files" in pk}
    assert left == set()
    assert world.read(other) == {"model.onnx": b"stays"}
    start_again(world, "files")
    skip_if_alive(world, n, LAST_DELETE, died=died)


LAST_ABORT = 12


@every(LAST_ABORT)
def test_dead_abort_is_finished(world: World, n: int) -> None:
    """One that is half done: a file promoted, one in the inbox, one missing, a multipart begun."""
    from registry.storage import multiparts

    upload = world.start_files("files", FILES)
    world.receive(world.put_files(upload, dict(list(FILES.items())[:1])))
    world.put_files(upload, dict(list(FILES.items())[:2]))
    from registry import naming

    multiparts.create_multipart(naming.inbox_key(world.user_id, upload.upload_id, 2))
    multiparts.create_multipart(naming.file_key(upload.prefix, "data.bin"))
    died = world.process.run_to_death(lambda: world.abort(upload.upload_id), n)
    begun = world.process.writes > 1
    if not begun:
        world.abort(upload.upload_id)
    world.recover()
    assert world.objects() == []
    assert world.multiparts() == []
    world.check_no_work()
    world.end()
    world.check_clean()
    start_again(world, "files")
    skip_if_alive(world, n, LAST_ABORT, died=died)


def test_retry_that_finds_the_dead_ones_lease_is_not_lost(world: World) -> None:
    """Lambda tries again a minute after a death, when the lease may have a second left (here half of it: the machine
    may be slow): that retry does nothing, and is the only one. Of an upload that is hours old the sweep would look an
    hour later."""
    upload = world.start("zipped", archive={"size": len(ARCHIVE)})
    for _ in range(3):
        world.clock.forward(4 * 3600)
        world.sweep()
    event = world.put_archive(upload, ARCHIVE)
    assert world.process.run_to_death(lambda: world.receive(event), 10)
    world.clock.forward(get_settings().lease_seconds // 2)
    world.receive(event)
    world.receive(event)
    assert world.get("zipped") is None
    world.clock.forward(get_settings().lease_seconds + 2)
    world.sweep()
    world.verify("zipped", "v1", MEMBERS)
    world.recover()
    world.check_no_work()
    world.end()
    world.check_clean()
