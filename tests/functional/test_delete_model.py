"""delete_model: a version with all its files, or all versions."""

from __future__ import annotations

import importlib
import re

import pytest

from tests.functional.kit import BUCKET, deliver, event_of, items, nothing_written, objects, ok, refused, send, sweep


def test_the_only_version_is_deleted_with_all_its_files(api):
    ok(api.folder({"a.pkl": b"a", "w/b.pt": b"b"}, tags="t"))
    assert ok(api.delete()) == {"user_id": "alice", "model_id": "m", "versions": ["v1"], "status": "deleted"}
    assert objects() == {}
    for answer in (api.get(), api.get(version="v1"), api.download(), api.files(version="v1")):
        refused(answer, 404)
    assert ok(api.list()) == ok(api.search("m")) == ok(api.versions()) == []
    kinds = {pk.split("#")[0] for pk, _ in items()}
    assert kinds <= {"M", "A", "WK"}, kinds  # the tombstone, and what has yet to be looked at once more


def test_several_versions_are_a_400_that_lists_them_and_deletes_nothing(api):
    for version in ("v1", "v2", "final"):
        ok(api.single(version=version))
    with nothing_written():
        detail = refused(api.delete(), 400, "several_versions")
        assert all(version in detail for version in ("v1", "v2", "final"))


def test_an_empty_version_is_no_version(api):
    ok(api.single())
    ok(api.single(version="v2"))
    with nothing_written():
        refused(api.delete(version=""), 400)
    ok(api.delete(version="v1"))
    assert ok(api.delete(version=""))["versions"] == ["v2"]


def test_inactive_versions_count_too(api):
    ok(api.single())
    ok(api.single(version="v2"))
    ok(api.update(changes={"is_active": False}, version="v2"))
    with nothing_written():
        refused(api.delete(), 400, "several_versions")
    assert ok(api.delete(version="v2"))["versions"] == ["v2"]


def test_a_named_version_is_deleted_and_the_others_stay(api):
    ok(api.single(content=b"one"))
    ok(api.single(content=b"two", version="v2"))
    ok(api.single("n", content=b"n"))
    assert ok(api.delete(version="v2"))["versions"] == ["v2"]
    assert sorted(objects()) == ["models/alice/m/v1/model.pkl", "models/alice/n/v1/model.pkl"]
    assert ok(api.get())["version"] == "v1"
    assert ok(api.download(filename="model.pkl")) == b"one"


def test_a_version_whose_name_begins_anothers_takes_nothing_of_it(api):
    ok(api.single(version="v1"))
    ok(api.single(version="v10"))
    ok(api.single(version="v1.0"))
    ok(api.delete(version="v1"))
    assert sorted(objects()) == ["models/alice/m/v1.0/model.pkl", "models/alice/m/v10/model.pkl"]


def test_all_deletes_every_version(api):
    for version in ("v1", "v2", "v3"):
        ok(api.single(version=version))
    ok(api.update(changes={"is_active": False}, version="v2"))
    assert sorted(ok(api.delete(all="true"))["versions"]) == ["v1", "v2", "v3"]
    assert objects() == {}
    refused(api.get(), 404)
    refused(api.delete(all="true"), 404)


def test_version_and_all_together_are_refused(api):
    ok(api.single())
    with nothing_written():
        refused(api.delete(version="v1", all="true"), 400)
        refused(api.delete(all="perhaps"), 400)


def test_what_is_not_there_is_a_404(api):
    ok(api.single())
    with nothing_written():
        refused(api.delete("none"), 404, "model_not_found")
        refused(api.delete(version="v2"), 404, "version_not_found")
        api.user_id = "bob"
        refused(api.delete(), 404)
    api.user_id = "alice"
    ok(api.delete())
    refused(api.delete(), 404)
    refused(api.delete(version="v1"), 404)


@pytest.mark.case("U16")
def test_the_version_is_free_again_and_a_new_one_has_its_own_bytes_and_place(api):
    ok(api.single(content=b"old", name="Old", tags="old"))
    ok(api.delete())
    body = ok(api.single(content=b"new", name="New"))
    assert (body["name"], body["tags"]) == ("New", [])
    assert re.fullmatch(r"models/alice/m/v1~[0-9a-f]{32}/model\.pkl", body["files"][0]["file_path"])
    assert ok(api.download(filename="model.pkl")) == b"new"
    assert ok(api.get()) == body
    assert len(ok(api.list())) == 1
    assert list(objects()) == [body["files"][0]["file_path"]]


def test_a_week_later_the_plain_place_is_used_again(api, move_clock):
    ok(api.single())
    ok(api.delete())
    move_clock(8 * 86_400)
    assert ok(api.single())["files"][0]["file_path"] == "models/alice/m/v1/model.pkl"


def test_a_delete_that_dies_is_invisible_at_once_and_finished_by_the_sweep(api, move_clock, monkeypatch):
    from registry import deleting

    ok(api.single(content=b"old"))
    with monkeypatch.context() as patch:
        patch.setattr(deleting.objects, "delete_prefix", lambda prefix: (_ for _ in ()).throw(ConnectionError("died")))
        refused(api.delete(), 500)
    refused(api.get(), 404)
    assert ok(api.list()) == []
    refused(api.single(content=b"new"), 409, "version_deleting")
    assert list(objects()) == ["models/alice/m/v1/model.pkl"]
    move_clock(3600)
    sweep()
    assert objects() == {}
    assert ok(api.single(content=b"new"))["version"] == "v1"


def test_a_delete_that_outlasts_the_gateway_is_a_202_and_finished_by_the_sweep(api, no_time, move_clock):
    for version in ("v1", "v2"):
        ok(api.single(version=version))
    with no_time():
        body = ok(api.delete(all="true"), 202)
    assert body["status"] == "deleting" and sorted(body["versions"]) == ["v1", "v2"]
    refused(api.get(), 404)
    refused(api.get(version="v1"), 404)
    assert ok(api.list()) == []
    refused(api.single(version="v1"), 409, "version_deleting")
    move_clock(3600)
    sweep()
    assert objects() == {}
    assert ok(api.single(version="v1"))["version"] == "v1"


def test_while_the_newest_is_deleted_the_one_before_it_is_the_newest(api, no_time, move_clock):
    ok(api.single(version="v1"))
    move_clock(1)
    ok(api.single(version="v2"))
    with no_time():
        ok(api.delete(version="v2"), 202)
    assert ok(api.get())["version"] == "v1"
    assert [each["version"] for each in ok(api.list(latest="true"))] == ["v1"]


def test_a_delete_that_somebody_else_began_is_not_said_to_be_done(api, monkeypatch):
    from registry import deleting

    ok(api.single())
    begin = deleting.changing.begin_delete

    def begin_second(*arguments, **named):
        assert begin(*arguments, **named) is not None  # another's, who has not finished yet
        return begin(*arguments, **named)

    monkeypatch.setattr(deleting.changing, "begin_delete", begin_second)
    assert ok(api.delete(), 202)["status"] == "deleting"


def test_versions_that_were_deleted_are_not_counted_again_by_a_direct_upload(api):
    ok(api.single(version="v1"))
    ok(api.single(version="v7"))
    ok(api.delete(all="true"))
    assert ok(api.start(files=[{"path": "a", "size": 1}]), 201)["version"] == "v8"


def test_a_misspelt_or_repeated_parameter_deletes_nothing(api):
    ok(api.single())
    with nothing_written():
        assert "verison" in refused(api.delete(verison="v7"), 400, "unknown_parameter")
        assert "verison" in refused(api.update(changes={"name": "x"}, verison="v7"), 400, "unknown_parameter")


# -- for good ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def versioned(api):
    """The bucket keeps what is deleted or written over; its versions as (key, is a marker)."""
    from registry.storage.client import s3

    s3().put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})

    def kept() -> list[tuple[str, bool]]:
        page = s3().list_object_versions(Bucket=BUCKET)
        listed = [(each, False) for each in page.get("Versions", [])]
        listed += [(each, True) for each in page.get("DeleteMarkers", [])]
        return sorted((each["Key"], marker) for each, marker in listed if not each["Key"].endswith("/_claim.json"))

    yield kept
    for each in kept():
        page = s3().list_object_versions(Bucket=BUCKET, Prefix=each[0])
        for version in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            s3().delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])
    s3().put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})


def published(api, started) -> None:
    """A version that came by the inbox, and has its ZIP in the store."""
    upload = ok(api.start(version="v1", files=[{"path": "a.bin", "size": 1}, {"path": "b.bin", "size": 1}]), 201)
    deliver(event_of(*(send(file, b"x") for file in upload["files"])))
    importlib.import_module("functions.build_archive.app").lambda_handler(
        {"user_id": "alice", "model_id": "m", "version": "v1"}, None
    )


def test_an_ordinary_delete_keeps_versions_for_the_restore_window(api, versioned, started):
    published(api, started)
    ok(api.delete())
    assert objects() == {}
    assert ("models/alice/m/v1/a.bin", False) in versioned()


def test_a_purge_leaves_no_version_and_no_marker_of_files_inbox_and_archive(api, versioned, started):
    ok(api.single("other"))
    others = versioned()
    published(api, started)
    places = {key.split("/")[1] if key.startswith("modelkeep/") else "models" for key, _ in versioned()}
    assert places == {"models", "uploads", "archives"}
    assert ok(api.delete(purge="true"))["status"] == "deleted"
    assert versioned() == others
    refused(api.get(), 404)
    assert ok(api.single(version="v1"))["version"] == "v1"


def test_a_purge_where_objects_have_no_versions_is_a_delete(api, started):
    published(api, started)
    ok(api.delete(purge="true"))
    assert objects() == {}


def test_all_versions_are_purged(api, versioned):
    for version in ("v1", "v2"):
        ok(api.single(version=version))
    assert sorted(ok(api.delete(all="true", purge="true"))["versions"]) == ["v1", "v2"]
    assert versioned() == []


def test_a_purge_that_outlasts_the_gateway_is_a_202_and_finished_by_the_sweep(
    api, versioned, started, no_time, move_clock
):
    published(api, started)
    with no_time():
        assert ok(api.delete(purge="true"), 202)["status"] == "deleting"
    before = versioned()
    # What is on record is finished; saying it again is a 404, as for every delete.
    refused(api.delete(version="v1", purge="true"), 404, "version_not_found")
    assert versioned() == before
    move_clock(61)
    sweep()
    assert versioned() == []


def test_a_delete_is_no_purge_afterwards(api, versioned):
    ok(api.single())
    ok(api.delete())
    before = versioned()
    refused(api.delete(version="v1", purge="true"), 404)
    assert versioned() == before != []


@pytest.mark.parametrize("step", ["delete_versions", "delete_prefix", "delete_object"])
@pytest.mark.parametrize("after", [False, True])
def test_a_purge_that_dies_is_finished_as_one(api, versioned, started, move_clock, monkeypatch, step, after):
    from registry import deleting

    published(api, started)
    real = getattr(deleting.objects, step)

    def die(*arguments, **named):
        if after:
            real(*arguments, **named)
        raise ConnectionError("died")

    with monkeypatch.context() as patch:
        patch.setattr(deleting.objects, step, die)
        refused(api.delete(purge="true"), 500)
    refused(api.get(), 404)
    move_clock(61)
    sweep()
    assert versioned() == []
    assert ok(api.single(version="v1"))["version"] == "v1"


def test_purge_is_true_or_false(api):
    ok(api.single())
    with nothing_written():
        refused(api.delete(purge="perhaps"), 400)
