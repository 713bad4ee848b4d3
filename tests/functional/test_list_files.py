"""list_files: the files of a version."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.functional.kit import BUCKET, FILE_KEYS, key_in, link_in, ok, publish, refused

COUNT = 1_250


@pytest.fixture
def big(api):
    from registry.files import StoredFile

    publish("alice", "m", "v1", [StoredFile(f"d{n % 7}/f{n:05d}.bin", n, "0" * 64, "e", 0) for n in range(COUNT)])
    return api


def paths(answer) -> list[str]:
    return [file["filename"] for file in ok(answer)]


def walk(api, **query) -> list[list[str]]:
    pages = []
    for _ in range(100):
        answer = api.files(**query)
        pages.append(paths(answer))
        link = link_in(answer)
        if link is None:
            return pages
        query = {key: values[-1] for key, values in parse_qs(urlsplit(link).query).items()}
    raise AssertionError("the pages never end")


def test_files_are_listed_by_path_with_every_key(api):
    ok(api.folder({"b/z.pkl": b"1", "a.txt": b"2", "b/a.json": b"3"}))
    files = ok(api.files())
    assert [file["filename"] for file in files] == ["a.txt", "b/a.json", "b/z.pkl"]
    assert all(set(file) == FILE_KEYS for file in files)
    assert files == ok(api.get())["files"]
    assert link_in(api.files()) is None


def test_a_version_of_many_files_is_paged(big):
    every = sorted(f"d{n % 7}/f{n:05d}.bin" for n in range(COUNT))
    pages = walk(big)
    assert [len(page) for page in pages] == [1_000, 250]
    assert [path for page in pages for path in page] == every
    pages = walk(big, limit="123")
    assert [path for page in pages for path in page] == every
    assert {len(page) for page in pages[:-1]} == {123}


def test_a_version_whose_files_are_inline_is_paged_alike(api):
    from registry.files import StoredFile

    publish("alice", "m", "v1", [StoredFile(f"f{n}.bin", n, "0" * 64, "e", 0) for n in range(7)])
    assert walk(api, limit="3") == [["f0.bin", "f1.bin", "f2.bin"], ["f3.bin", "f4.bin", "f5.bin"], ["f6.bin"]]
    assert walk(api, limit="7") == [[f"f{n}.bin" for n in range(7)]]


def test_urls_come_500_a_page_each_for_its_own_object(big):
    pages = walk(big, urls="true")
    assert [len(page) for page in pages] == [500, 500, 250]
    files = ok(big.files(urls="true"))
    for file in (files[0], files[-1]):
        assert set(file) == FILE_KEYS | {"url"}
        assert key_in(file["url"]) == file["file_path"]
        query = parse_qs(urlsplit(file["url"]).query)
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"] and int(query["X-Amz-Expires"][0]) <= 3600
        assert query["response-content-type"] == ["application/octet-stream"]
        name = file["filename"].rpartition("/")[2]
        assert query["response-content-disposition"] == [f'attachment; filename="{name}"']
    assert BUCKET in files[0]["url"]


def test_versions_are_chosen_as_get_chooses_them(api):
    ok(api.single(filename="one.pkl"))
    ok(api.single(filename="two.pkl", version="v2"))
    assert paths(api.files(version="v1")) == ["one.pkl"]
    assert paths(api.files()) == paths(api.files(version="latest")) == ["two.pkl"]
    refused(api.files(version="v3"), 404, "version_not_found")
    refused(api.files("none"), 404, "model_not_found")


def test_a_cursor_that_is_none_of_ours_is_a_400(big):
    from registry.catalog import reading

    refused(big.files(cursor="not base64!"), 400, "bad_cursor")
    refused(big.files(cursor=reading.make_cursor("f" * 1500)), 400)
