"""add_files: more files of an upload."""

from __future__ import annotations

from tests.functional.kit import deliver, event_of, nothing_written, ok, refused, send


def start(api, count: int = 1):
    return ok(api.start(version="v1", files=[{"path": f"a{n}", "size": 1} for n in range(count)]), 201)["upload_id"]


def test_added_files_are_part_of_the_upload_and_of_the_version(api):
    upload_id = start(api)
    body = ok(api.add(upload_id, [{"path": "b", "size": 2}, {"path": "w/c.pt", "size": 3, "is_primary": True}]))
    assert (body["file_count"], body["bytes_total"]) == (3, 6)
    upload = ok(api.upload(upload_id, urls="true"))
    assert [file["path"] for file in upload["files"]] == ["a0", "b", "w/c.pt"]
    keys = [send(file, b"x" * file["size"]) for file in upload["files"]]
    assert len(set(keys)) == 3
    deliver(event_of(keys[0]))
    assert ok(api.upload(upload_id))["status"] != "ready" or ok(api.get())["file_count"] == 3
    deliver(event_of(*keys[1:]))
    version = ok(api.get())
    assert version["file_count"] == 3 and version["primary_file_path"].endswith("w/c.pt")


def test_the_version_waits_for_the_files_that_were_added(api):
    upload_id = start(api)
    ok(api.add(upload_id, [{"path": "b", "size": 2}]))
    first = ok(api.upload(upload_id, urls="true"))["files"][0]
    deliver(event_of(send(first, b"x")))
    assert ok(api.upload(upload_id))["status"] in ("uploading", "processing")
    refused(api.get(), 404)


def test_paths_must_fit_those_announced_before(api):
    upload_id = start(api, 3)
    with nothing_written():
        for path in ("a1", "A1", "a1/x", "../a", "", "a\0"):
            refused(api.add(upload_id, [{"path": "fine", "size": 1}, {"path": path, "size": 1}]), 400)


def test_only_one_file_is_the_primary_one(api):
    upload_id = ok(api.start(files=[{"path": "a", "size": 1, "is_primary": True}]), 201)["upload_id"]
    with nothing_written():
        refused(api.add(upload_id, [{"path": "b", "size": 1, "is_primary": True}]), 400)


def test_what_is_wrong_is_a_400(api):
    upload_id = start(api)
    with nothing_written():
        for files in ([], None, [{"path": "b"}], [{"path": "b", "size": -1}], [{"path": "b", "size": 1, "etag": "x"}]):
            refused(api.add(upload_id, files), 400)
        refused(api.add(upload_id, [{"path": f"f{n}", "size": 1} for n in range(5_001)]), 400)
        refused(api.add("nonsense", [{"path": "b", "size": 1}]), 400)
        refused(api.add("0" * 32, [{"path": "b", "size": 1}]), 404, "upload_not_found")


def test_an_upload_may_have_50000_files(api):
    upload_id = start(api)
    for group in range(9):
        ok(api.add(upload_id, [{"path": f"g{group}/f{n}", "size": 1} for n in range(5_000)]))
    ok(api.add(upload_id, [{"path": f"last/f{n}", "size": 1} for n in range(4_999)]))
    assert ok(api.upload(upload_id, limit=1))["file_count"] == 50_000
    refused(api.add(upload_id, [{"path": "one/too/many", "size": 1}]), 400)


def test_an_archive_takes_no_files_and_an_ended_upload_none_either(api):
    archive = ok(api.start("z", archive={"size": 10}), 201)["upload_id"]
    aborted = start(api)
    ok(api.abort(aborted))
    with nothing_written():
        refused(api.add(archive, [{"path": "b", "size": 1}]), 409)
        refused(api.add(aborted, [{"path": "b", "size": 1}]), 409)
    upload = ok(api.start("n", files=[{"path": "a", "size": 1}]), 201)
    deliver(event_of(send(upload["files"][0], b"x")))
    with nothing_written():
        refused(api.add(upload["upload_id"], [{"path": "b", "size": 1}]), 409)


def test_files_arrive_however_many_requests_it_took_to_announce_them(api):
    from registry.records import UploadRow

    upload_id = start(api)
    # As if 10,000 requests of one file each had come before: an upload may have 50,000 files.
    UploadRow(f"A#{upload_id}", "#").update(actions=[UploadRow.next_row.set(10_000)])
    ok(api.add(upload_id, [{"path": "late.bin", "size": 1}]))
    files = ok(api.upload(upload_id, urls="true"))["files"]
    assert [file["path"] for file in files] == ["a0", "late.bin"]
    deliver(event_of(*[send(file, b"x") for file in files]))
    assert ok(api.upload(upload_id))["status"] == "ready"
