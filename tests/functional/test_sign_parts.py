"""sign_parts: URLs of parts with their digests signed."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.functional.kit import key_in, multiparts, nothing_written, ok, refused

MIB = 2**20
DIGEST = "ab" * 32


@pytest.fixture
def upload_id(api):
    files = [{"path": "big.bin", "size": 40 * MIB}, {"path": "small.bin", "size": 5}]
    return ok(api.start(files=files, query={"urls": "false"}), 201)["upload_id"]


def test_each_part_has_a_url_that_signs_its_digest(api, upload_id):
    body = ok(api.sign(upload_id, path="big.bin", parts=[{"number": n, "sha256": DIGEST} for n in (3, 1)]))
    assert (body["part_size"], body["part_count"], body["stored_parts"]) == (16 * MIB, 3, [])
    assert [part["number"] for part in body["parts"]] == [3, 1]
    for part in body["parts"]:
        assert part["headers"] == {"x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(DIGEST)).decode()}
        query = parse_qs(urlsplit(part["url"]).query)
        assert "x-amz-checksum-sha256" in query["X-Amz-SignedHeaders"][0]
        assert query["partNumber"] == [str(part["number"])]
        assert key_in(part["url"]).startswith(f"modelkeep/uploads/alice/{upload_id}/")


def test_all_parts_are_signed_for_one_multipart(api, upload_id):
    first = ok(api.sign(upload_id, path="big.bin", parts=[{"number": 1, "sha256": DIGEST}]))
    second = ok(api.sign(upload_id, path="big.bin", parts=[{"number": 2, "sha256": DIGEST}]))
    ids = {parse_qs(urlsplit(body["parts"][0]["url"]).query)["uploadId"][0] for body in (first, second)}
    assert len(ids) == 1 and len(multiparts()) == 1


def test_a_plain_multipart_of_which_nothing_has_arrived_is_replaced(api, upload_id):
    ok(api.upload(upload_id, urls="true"))
    ok(api.sign(upload_id, path="big.bin", parts=[{"number": 1, "sha256": DIGEST}]))
    assert len(multiparts()) == 1


def test_an_archive_is_meant_by_no_path(api):
    upload_id = ok(api.start("z", archive={"size": 40 * MIB}), 201)["upload_id"]
    body = ok(api.sign(upload_id, parts=[{"number": 1, "sha256": DIGEST}]))
    assert key_in(body["parts"][0]["url"]).endswith(f"/{upload_id}/archive")
    refused(api.sign(upload_id, path="a", parts=[{"number": 1, "sha256": DIGEST}]), 400)


def test_what_is_wrong_is_refused_and_nothing_is_written(api, upload_id):
    good = {"number": 1, "sha256": DIGEST}
    with nothing_written():
        for parts in (
            [], [{**good, "number": 0}], [{**good, "number": 4}], [{**good, "number": 10_001}], [{"number": 1}],
            [{"number": 1, "sha256": "x"}], [{**good, "number": "1"}], [good] * 501, [{**good, "size": 5}],
        ):  # fmt: skip
            refused(api.sign(upload_id, path="big.bin", parts=parts), 400)
        refused(api.sign(upload_id, path="small.bin", parts=[good]), 400)
        refused(api.sign(upload_id, path="none.bin", parts=[good]), 404)
        refused(api.sign("0" * 32, path="big.bin", parts=[good]), 404)
    ok(api.abort(upload_id))
    with nothing_written():
        refused(api.sign(upload_id, path="big.bin", parts=[good]), 409)
