"""download_model: one file, or a whole version as a ZIP: as bytes, or by a presigned URL."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.functional.kit import key_in, nothing_written, objects, ok, read_object, refused, unzip

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def model(api):
    ok(api.single(filename="model.pkl", content=CONTENT))
    return api


@pytest.mark.case("A14")
def test_a_file_is_answered_with_its_bytes_to_be_saved_and_never_shown(api):
    for filename in ("page.html", "image.svg", "MLmodel", "model.pkl", "readme.md"):
        ok(api.single(filename=filename, content=b"<script>alert(1)</script>", version=filename))
        answer = api.download(filename=filename)
        assert ok(answer) == b"<script>alert(1)</script>"
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"] == f'attachment; filename="{filename}"'
        assert answer.headers["content-length"] == "25"
        assert answer.headers["accept-ranges"] == "bytes"


def test_a_file_is_named_by_its_whole_path_and_saved_by_its_last_segment(api):
    ok(api.folder({"w/deep/model.pt": b"1", "model.pt": b"2"}))
    answer = api.download(filename="w/deep/model.pt")
    assert ok(answer) == b"1"
    assert answer.headers["content-disposition"] == 'attachment; filename="model.pt"'
    assert ok(api.download(filename="model.pt")) == b"2"


@pytest.mark.case("A10")
def test_names_beyond_ascii_are_sent_as_rfc_5987_says(api):
    ok(api.folder({"Модель é.pkl": b"1"}))
    disposition = api.download(filename="Модель é.pkl").headers["content-disposition"]
    assert disposition.startswith('attachment; filename="')
    assert disposition.endswith("filename*=UTF-8''%D0%9C%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C%20%C3%A9.pkl")


def test_versions_are_chosen_as_get_chooses_them(api):
    ok(api.single(content=b"one"))
    ok(api.single(content=b"two", version="v2"))
    assert ok(api.download(filename="model.pkl", version="v1")) == b"one"
    assert ok(api.download(filename="model.pkl")) == b"two"
    assert ok(api.download(filename="model.pkl", version="latest")) == b"two"


def test_what_is_not_there_is_a_404(model):
    with nothing_written():
        for filename in ("none.pkl", "MODEL.PKL", "../model.pkl", "/model.pkl", "model.pkl/", "a\0b", "x" * 2049, "."):
            refused(model.download(filename=filename), 404, "file_not_found")
        refused(model.download(filename="model.pkl", version="v2"), 404, "version_not_found")
        refused(model.download("none", filename="model.pkl"), 404, "model_not_found")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=100-199", 100, 199),
        ("bytes=1000-", 1000, 1023),
        ("bytes=1023-1023", 1023, 1023),
        ("bytes=-1", 1023, 1023),
        ("bytes=-1024", 0, 1023),
        ("bytes=-5000", 0, 1023),
        ("bytes=1000-99999", 1000, 1023),
        ("bytes=0-" + "9" * 30, 0, 1023),
    ],
)
def test_a_range_is_answered_by_206_and_just_these_bytes(model, asked, first, last):
    answer = model.download(filename="model.pkl", headers={"range": asked})
    assert ok(answer, 206) == CONTENT[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/1024"
    assert answer.headers["content-length"] == str(last - first + 1)


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_outside_the_file_is_a_416_that_tells_its_size(model, asked):
    answer = model.download(filename="model.pkl", headers={"range": asked})
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */1024"


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,5-6", "items=0-1", "bytes=a-b", "bytes=", "bytes=-", "0-1"])
def test_a_range_that_is_none_or_several_is_answered_by_the_whole(model, asked):
    answer = model.download(filename="model.pkl", headers={"range": asked})
    assert ok(answer) == CONTENT
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("asked", ["bytes=0-" + "9" * 5000, "bytes=" + "9" * 5000 + "-", "bytes=-" + "9" * 5000])
def test_numbers_beyond_reason_in_a_range_are_no_500(model, asked):
    assert model.download(filename="model.pkl", headers={"range": asked}).status in (200, 206, 400, 416)


def test_an_empty_file_has_no_range(api):
    ok(api.single(content=b""))
    assert ok(api.download(filename="model.pkl")) == b""
    assert api.download(filename="model.pkl", headers={"range": "bytes=0-"}).status in (200, 416)


def test_the_etag_is_the_files_digest_and_saves_the_bytes(model):
    etag = model.download(filename="model.pkl").headers["etag"]
    assert etag == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    answer = model.download(filename="model.pkl", headers={"if-none-match": etag})
    assert ok(answer, 304) == b"" and answer.headers["etag"] == etag
    assert ok(model.download(filename="model.pkl", headers={"if-none-match": '"other"'})) == CONTENT


@pytest.mark.parametrize("form", ['"x", {}', "W/{}", "*"])
def test_if_none_match_may_be_a_list_weak_or_a_star(model, form):  # RFC 9110, 13.1.2
    etag = model.download(filename="model.pkl").headers["etag"]
    answer = model.download(filename="model.pkl", headers={"if-none-match": form.format(etag)})
    assert answer.status == 304


def test_if_range_answers_the_range_only_of_the_same_bytes(model):
    etag = model.download(filename="model.pkl").headers["etag"]
    same = model.download(filename="model.pkl", headers={"range": "bytes=0-9", "if-range": etag})
    assert ok(same, 206) == CONTENT[:10]
    other = model.download(filename="model.pkl", headers={"range": "bytes=0-9", "if-range": '"other"'})
    assert ok(other) == CONTENT


def test_a_file_too_large_for_the_gateway_is_a_307_to_its_own_object(api, setting):
    setting(inline_limit_bytes=1023)
    ok(api.folder({"w/model é.pkl": CONTENT, "small.pkl": CONTENT[:1023]}))
    answer = api.download(filename="w/model é.pkl")
    assert answer.status == 307
    url = answer.headers["location"]
    assert key_in(url) == "models/alice/m/v1/w/model é.pkl"
    query = parse_qs(urlsplit(url).query)
    assert query["response-content-type"] == ["application/octet-stream"]
    assert query["response-content-disposition"][0].startswith("attachment; ")
    assert int(query["X-Amz-Expires"][0]) <= 3600
    assert "no-store" in answer.headers["cache-control"]
    assert ok(api.download(filename="small.pkl")) == CONTENT[:1023]


def test_4_mib_are_answered_inline_and_a_byte_more_is_a_307(api, setting):
    setting(request_limit_bytes=0)
    ok(api.single(content=b"x" * 4 * 1024 * 1024))
    ok(api.single("n", content=b"x" * (4 * 1024 * 1024 + 1)))
    assert len(ok(api.download(filename="model.pkl"))) == 4 * 1024 * 1024
    assert api.download("n", filename="model.pkl").status == 307


def test_redirect_is_a_307_whatever_the_size(model):
    answer = model.download(filename="model.pkl", redirect="true")
    assert answer.status == 307
    assert key_in(answer.headers["location"]) == "models/alice/m/v1/model.pkl"


FILES = {"w/a.pt": b"a" * 1000, "w/b.pt": b"", "ünï/c.json": b"{}", "d": bytes(range(256))}


def test_without_filename_the_whole_version_comes_as_a_zip_of_the_same_bytes(api):
    ok(api.folder(FILES, "my-model", version="v1.0"))
    answer = api.download("my-model")
    assert unzip(ok(answer)) == FILES
    assert answer.headers["content-disposition"] == 'attachment; filename="my-model-v1.0.zip"'
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert api.download("my-model", filename="").body == answer.body  # empty is not sent
    assert api.download("my-model").body == answer.body  # the same bytes each time


def test_the_zip_too_is_answered_in_ranges_and_by_its_etag(api):
    ok(api.folder(FILES))
    whole = api.download()
    size = len(whole.body)
    for first, last in ((0, 0), (10, 500), (size - 30, size - 1), (0, size - 1)):
        part = api.download(headers={"range": f"bytes={first}-{last}"})
        assert ok(part, 206) == whole.body[first : last + 1]
    assert api.download(headers={"if-none-match": whole.headers["etag"]}).status == 304
    assert whole.headers["etag"] not in (api.download(filename="d").headers["etag"],)


def test_a_version_of_one_file_comes_as_a_zip_as_well(model):
    assert unzip(ok(model.download())) == {"model.pkl": CONTENT}


def test_small_downloads_write_nothing(api):
    ok(api.folder(FILES))
    with nothing_written():
        ok(api.download())
        ok(api.download(filename="d"))
        api.download(filename="d", redirect="true")


def test_a_version_too_large_for_the_gateway_is_built_in_the_store_and_redirected_to(api, setting, at_once):
    setting(inline_limit_bytes=100)
    ok(api.folder(FILES))
    answer = api.download()
    assert answer.status == 307
    key = key_in(answer.headers["location"])
    assert key.startswith("modelkeep/archives/alice/m/v1/")
    assert unzip(read_object(key)) == FILES
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["response-content-disposition"] == ['attachment; filename="m-v1.zip"']
    assert api.download(redirect="true").status == 307


def test_what_is_answered_inline_is_never_larger_than_the_limit(api, setting, at_once):
    files = {f"{number}" + "n" * 200 + ".bin": b"x" * 10 for number in range(9)}
    ok(api.folder(files))
    setting(inline_limit_bytes=1000)  # 90 bytes of files, in a ZIP of some thousands
    answer = api.download()
    assert answer.status == 307 or len(answer.body) <= 1000
    assert unzip(read_object(key_in(answer.headers["location"]))) == files


def test_a_request_that_has_waited_long_enough_is_a_307_to_itself_and_at_last_a_503(api, setting, started):
    ok(api.folder(FILES))
    setting(inline_limit_bytes=100, wait_seconds=1)
    answer = api.download()
    assert answer.status == 307
    location = urlsplit(answer.headers["location"])
    assert location.path.endswith("/ai-models/alice/m/download")
    query = {key: values[-1] for key, values in parse_qs(location.query).items()}
    assert query["version"] == "v1"
    assert [name for name, _ in started] == ["build_archive"]
    last = api.download(**{**query, "wait": "1000"})
    refused(last, 503)
    assert int(last.headers["retry-after"]) > 0
    started.run()
    done = api.download(**query)
    assert done.status == 307 and unzip(read_object(key_in(done.headers["location"]))) == FILES


def test_only_one_archive_is_built_and_kept(api, setting, at_once):
    setting(inline_limit_bytes=100)
    ok(api.folder(FILES))
    first, second = api.download(), api.download()
    assert key_in(first.headers["location"]) == key_in(second.headers["location"])
    assert len(objects("modelkeep/archives/")) == 1
