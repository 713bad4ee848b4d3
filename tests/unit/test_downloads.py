"""Downloads: the header that names the file, and which bytes a Range asks for."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from registry import files
from registry.exports import Content
from registry.web.contents import content_answer

settings.register_profile("unhurried", deadline=None)  # others work on this machine too
settings.load_profile("unhurried")


names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)


@given(names)
@example("model.pkl")
@example("a\r\nX-Evil: 1")
@example('a"; filename="b.html')
@example("Модель.pkl")
@example("a\\b.pkl")
@example("%41.pkl")
@example("a;b.pkl")
@example("'quoted'.pkl")
@example("\u202egnp.exe")
@pytest.mark.case("A10")
def test_a_name_cannot_break_out_of_its_header_and_is_kept(name):
    header = files.disposition(name)
    assert header.isascii() and header.isprintable()
    matched = re.fullmatch(r'attachment; filename="([^"\\%]*)"(?:; filename\*=UTF-8\'\'([A-Za-z0-9._~%-]*))?', header)
    assert matched, header
    assert unquote(matched[2], errors="strict") == name if matched[2] is not None else matched[1] == name


def test_a_plain_name_is_sent_plainly():
    assert files.disposition("my model (1).v2+a=b,c@d.pkl") == 'attachment; filename="my model (1).v2+a=b,c@d.pkl"'


def test_a_name_beyond_ascii_is_sent_twice_for_old_and_new_clients():
    assert files.disposition("é.pkl") == "attachment; filename=\"_.pkl\"; filename*=UTF-8''%C3%A9.pkl"


class FakeRequest:
    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def answer(size: int, **headers: str):
    content = Content("f.bin", size, '"etag"', [], [])
    return content_answer(FakeRequest(**headers), content)  # type: ignore[arg-type]


@given(st.integers(1, 2_000), st.integers(0, 3_000), st.one_of(st.none(), st.integers(0, 3_000)))
def test_a_range_is_cut_at_the_files_end(size, first, last):
    response = answer(size, range=f"bytes={first}-{'' if last is None else last}")
    if last is not None and last < first:
        assert response.status_code == 200 and response.headers["content-length"] == str(size)
    elif first >= size:
        assert response.status_code == 416 and response.headers["content-range"] == f"bytes */{size}"
    else:
        end = min(size - 1 if last is None else last, size - 1)
        assert response.status_code == 206
        assert response.headers["content-range"] == f"bytes {first}-{end}/{size}"
        assert response.headers["content-length"] == str(end - first + 1)


@given(st.integers(1, 2_000), st.integers(0, 3_000))
def test_a_suffix_range_is_the_files_end(size, count):
    response = answer(size, range=f"bytes=-{count}")
    if count == 0:
        assert response.status_code == 416
    else:
        first = max(0, size - count)
        assert response.status_code == 206
        assert response.headers["content-range"] == f"bytes {first}-{size - 1}/{size}"


@given(st.text(st.characters(codec="latin-1"), max_size=40))
@example("bytes=1-2, 3-4")
@example("bytes=--1")
@example("bytes=1")
@example("bytes 0-1")
@example("bytes=²-³")
def test_a_range_that_nobody_can_read_is_answered_by_the_whole(text):
    response = answer(100, range=text)
    assert response.status_code in (200, 206, 416)
    if not re.fullmatch(r"\s*bytes=(\d+-\d*|-\d+)\s*", text, re.ASCII | re.IGNORECASE):
        assert response.status_code == 200


@pytest.mark.parametrize("text", ["bytes=0-" + "9" * 5_000, "bytes=" + "9" * 5_000 + "-", "bytes=-" + "9" * 5_000])
def test_a_number_beyond_reason_is_no_error_of_ours(text):
    assert answer(100, range=text).status_code in (200, 206, 400, 416)


def test_the_units_case_does_not_matter():  # RFC 9110, 14.1: range units are case-insensitive
    assert answer(100, range="Bytes=0-1").status_code == 206


def test_an_unchanged_file_is_a_304_and_if_range_guards_the_range():
    assert answer(100, if_none_match='"etag"').status_code == 304
    assert answer(100, if_none_match='"other"').status_code == 200
    assert answer(100, range="bytes=0-1", if_range='"etag"').status_code == 206
    assert answer(100, range="bytes=0-1", if_range='"other"').status_code == 200
    assert answer(100, range="bytes=0-1", if_range='W/"etag"').status_code == 200  # weak never matches strongly


@pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-1"}])
def test_every_answer_with_bytes_is_saved_and_never_shown(headers):
    response = answer(100, **headers)
    assert response.headers["content-disposition"] == 'attachment; filename="f.bin"'
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-type"] == "application/octet-stream"
