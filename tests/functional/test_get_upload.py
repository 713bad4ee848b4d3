"""get_upload: an upload as it is now, and how to go on with it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.functional.kit import deliver, event_of, key_in, link_in, multiparts, nothing_written, ok, refused, send


def walk(api, upload_id: str, **query):
    pages = []
    for _ in range(50):
        answer = api.upload(upload_id, **query)
        pages.append(ok(answer)["files"])
        link = link_in(answer)
        if link is None:
            return pages
        query = {key: values[-1] for key, values in parse_qs(urlsplit(link).query).items()}
    raise AssertionError("the pages never end")


def test_files_are_paged_in_the_order_they_were_announced(api):
    paths = [f"f{n:04d}" for n in range(1_234)]
    upload_id = ok(api.start(files=[{"path": path, "size": 1} for path in paths]), 201)["upload_id"]
    pages = walk(api, upload_id)
    assert [len(page) for page in pages] == [1_000, 234]
    assert [file["path"] for page in pages for file in page] == paths
    assert not any("put" in file for page in pages for file in page)
    pages = walk(api, upload_id, limit="300")
    assert [file["path"] for page in pages for file in page] == paths
    assert max(map(len, pages)) == 300


def test_urls_come_500_a_page_until_every_file_had_its_own(api):
    upload_id = ok(api.start(files=[{"path": f"f{n:04d}", "size": 1} for n in range(1_234)]), 201)["upload_id"]
    pages = walk(api, upload_id, urls="true")
    assert [len(page) for page in pages] == [500, 500, 234]
    keys = {key_in(file["put"]["url"]) for page in pages for file in page}
    assert len(keys) == 1_234


def test_state_narrows_to_files_in_that_state(api):
    upload = ok(api.start(files=[{"path": f"f{n}", "size": 1} for n in range(5)]), 201)
    deliver(event_of(send(upload["files"][1], b"x"), send(upload["files"][3], b"x")))
    bad = ok(api.upload(upload["upload_id"], urls="true"))["files"][4]
    deliver(event_of(send(bad, b"too long")))

    def paths(state):
        return [file["path"] for file in ok(api.upload(upload["upload_id"], state=state))["files"]]

    assert paths("verified") == ["f1", "f3"]
    assert paths("pending") == ["f0", "f2"]
    assert paths("failed") == ["f4"]
    assert paths("stored") == []
    assert [len(page) for page in walk(api, upload["upload_id"], state="pending", limit="1")] == [1, 1]
    refused(api.upload(upload["upload_id"], state="done"), 400)


def test_progress_tells_bytes_and_digests_of_what_is_stored(api):
    upload = ok(api.start(files=[{"path": "a", "size": 3}, {"path": "b", "size": 5}]), 201)
    deliver(event_of(send(upload["files"][0], b"abc")))
    now = ok(api.upload(upload["upload_id"]))
    assert (now["bytes_stored"], now["bytes_total"], now["status"]) == (3, 8, "uploading")
    assert now["files"][0]["status"] == "verified"
    assert now["files"][0]["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    deliver(event_of(send(upload["files"][1], b"defgh")))
    done = ok(api.upload(upload["upload_id"], urls="true"))
    assert (done["bytes_stored"], done["status"], done["code"]) == (8, "ready", None)
    assert not any("put" in file for file in done["files"])


def test_urls_show_only_what_is_missing_so_that_a_client_resumes(api):
    upload = ok(api.start(files=[{"path": f"f{n}", "size": 1} for n in range(3)]), 201)
    deliver(event_of(send(upload["files"][1], b"x")))
    again = ok(api.upload(upload["upload_id"], urls="true"))
    assert [("put" in file) for file in again["files"]] == [True, False, True]
    assert key_in(again["files"][0]["put"]["url"]) == key_in(upload["files"][0]["put"]["url"])


@pytest.mark.case("U2")
def test_a_multipart_tells_its_stored_parts_and_urls_for_the_rest(api, setting):
    from registry.storage.client import s3

    setting(part_bytes=5 * 2**20)
    size = 11 * 2**20
    upload = ok(api.start(files=[{"path": "a", "size": size}]), 201)
    first = upload["files"][0]["multipart"]
    url = first["parts"][1]["url"]
    multipart_id = parse_qs(urlsplit(url).query)["uploadId"][0]
    s3().upload_part(
        Bucket="modelkeep", Key=key_in(url), UploadId=multipart_id, PartNumber=2, Body=b"x" * first["part_size"]
    )
    again = ok(api.upload(upload["upload_id"], urls="true"))["files"][0]["multipart"]
    assert again["stored_parts"] == [2]
    assert [part["number"] for part in again["parts"]] == [1, 3]
    assert parse_qs(urlsplit(again["parts"][0]["url"]).query)["uploadId"][0] == multipart_id
    assert len(multiparts()) == 1
    without = ok(api.upload(upload["upload_id"]))["files"][0]["multipart"]
    assert (without["stored_parts"], without["parts"]) == ([2], [])


def test_looking_without_urls_writes_nothing(api):
    upload_id = ok(api.start(files=[{"path": "a", "size": 2**30}], query={"urls": "false"}), 201)["upload_id"]
    with nothing_written():
        ok(api.upload(upload_id))
    assert multiparts() == []  # a multipart begins when its URLs are asked for
    ok(api.upload(upload_id, urls="true"))
    assert len(multiparts()) == 1


def test_an_upload_that_is_not_there_is_a_404_and_a_bad_id_a_400(api):
    refused(api.upload("0" * 32), 404, "upload_not_found")
    for bad in ("x", "0" * 31, "0" * 33, "A" * 32, "..", "0" * 2049):
        refused(api.upload(bad), 400, "bad_upload_id")


def test_limits_and_cursors_that_are_none_are_a_400(api):
    from registry.catalog import reading

    upload_id = ok(api.start(files=[{"path": "a", "size": 1}]), 201)["upload_id"]
    for limit in ("0", "1001", "x"):
        refused(api.upload(upload_id, limit=limit), 400)
    for cursor in ("!", reading.make_cursor("x"), reading.make_cursor("-1")):
        refused(api.upload(upload_id, cursor=cursor), 400, "bad_cursor")


def test_cursors_beyond_reason_are_no_500(api):
    from registry.catalog import reading

    upload_id = ok(api.start(files=[{"path": "a", "size": 1}]), 201)["upload_id"]
    for number in ("100", "99999999", "9" * 50, "9" * 5000, "\u0663"):
        answer = api.upload(upload_id, cursor=reading.make_cursor(number))
        assert answer.status in (200, 400), number[:60]
