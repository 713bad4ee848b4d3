"""Whatever is sent, the answer is a documented one: JSON with `detail`, a string, and `code`."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.parse
from typing import Any

import pytest
import requests

from tests.end_to_end.client import SECONDS, Client
from tests.end_to_end.running import Server

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
FIELDS = {"model_id": "m", "name": "M"}


def assert_documented(answer: requests.Response, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert isinstance(body["code"], str)
    assert "Traceback" not in answer.text
    return body


@pytest.mark.case("A1", "A2", "A3", "A4", "A6", "A7", "A8")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe{}",
        b'{"name": "\\ud800"}',
        b'{"test_accuracy": NaN}',
        b'{"test_accuracy": 1e999}',
        b'{"test_accuracy": "0.5"}',
        b'{"num_parameters": ' + b"9" * 5000 + b"}",
        b'{"custom_metadata": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
        b'{"input_shape": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"name": "a\\u0000b"}',
        b'{"name": "a\\u202eb"}',
        b'{"unknown": 1}',
        b'{"files": []}',
        json.dumps({"tags": [str(number) for number in range(2000)]}).encode(),
        json.dumps({"description": "x" * 5000}).encode(),
        json.dumps({"name": "x" * 257}).encode(),
        json.dumps({"custom_metadata": {"x": "y" * 17_000}}).encode(),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_json_that_can_not_be_meant_is_a_400(client: Client, body: bytes) -> None:
    assert client.single("model.pkl", b"bytes").status_code == 200
    before = client.metadata()
    assert_documented(requests.put(f"{client.models}/model", data=body, headers=JSON, timeout=SECONDS))
    assert client.metadata() == before
    start = f"{client.url}/ai-models/upload/direct"
    assert_documented(requests.post(start, data=body, headers=JSON, timeout=SECONDS))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": None}, "name"),
        ({"model_id": None}, "model_id"),
        ({"model_id": "../x"}, "model_id"),
        ({"version": "latest"}, "version"),
        ({"version": "a/b"}, "version"),
        pytest.param({"user_id": "upload"}, "user_id", marks=pytest.mark.needs("anybody")),
        pytest.param({"user_id": "a b"}, "user_id", marks=pytest.mark.needs("anybody")),
        ({"framework": "cobol"}, "framework"),
        ({"training_accuracy": "nan"}, "training_accuracy"),
        ({"training_accuracy": "much"}, "training_accuracy"),
        ({"is_primary": "perhaps"}, "is_primary"),
        ({"colour": "red"}, "colour"),
    ],
    ids=str,
)
def test_a_wrong_form_field_is_a_400_that_names_it(client: Client, fields: dict[str, Any], named: str) -> None:
    data = {"user_id": client.user_id, **FIELDS, **fields}
    data = {name: value for name, value in data.items() if value is not None}
    answer = requests.post(
        f"{client.url}/ai-models/upload/single", data=data, files={"file": ("m.pkl", b"bytes")}, timeout=SECONDS
    )
    assert named in assert_documented(answer)["detail"]
    assert requests.get(client.models, timeout=SECONDS).json() == []


@pytest.mark.case("A8")
def test_forms_that_are_none_are_400(client: Client) -> None:
    single, folder = (f"{client.url}/ai-models/upload/{kind}" for kind in ("single", "folder"))
    fields = {"user_id": client.user_id, **FIELDS}
    file = {"file": ("m.pkl", b"bytes")}
    for url in (single, folder):
        assert_documented(requests.post(url, timeout=SECONDS))
        assert_documented(requests.post(url, json=fields, timeout=SECONDS))
        assert_documented(requests.post(url, data=fields, timeout=SECONDS))
        assert_documented(requests.post(url, data=b"nonsense", headers=FORM, timeout=SECONDS))
        assert_documented(requests.post(url, data=b"--b\r\n", headers=FORM, timeout=SECONDS))
        assert_documented(
            requests.post(url, data=b"", headers={"Content-Type": "multipart/form-data"}, timeout=SECONDS)
        )
        no_file = {name: (None, value) for name, value in fields.items()}
        assert_documented(requests.post(url, files=no_file, timeout=SECONDS))
    assert_documented(requests.post(folder, data=fields, files=file, timeout=SECONDS))
    assert_documented(requests.post(folder, data=fields, files={"zip_file": ("m.zip", b"no zip")}, timeout=SECONDS))
    two = [("file", ("a.pkl", b"a")), ("file", ("b.pkl", b"b"))]
    assert_documented(requests.post(single, data=fields, files=two, timeout=SECONDS))
    for name in ("", "..", "a/", "con.pkl", "a\x01b", "x" * 300):
        answer = requests.post(single, data=fields, files={"file": (name, b"bytes")}, timeout=SECONDS)
        assert_documented(answer)
    assert requests.get(client.models, timeout=SECONDS).json() == []


def test_queries_and_names_that_do_not_exist(client: Client) -> None:
    def get(path: str) -> requests.Response:
        return requests.get(f"{client.url}/ai-models/{path}", timeout=SECONDS)

    user = client.user_id
    for query in (
        "limit=0",
        "limit=1001",
        "limit=x",
        "skip=-1",
        "framework=cobol",
        "cursor=nonsense",
        "latest=perhaps",
    ):
        assert_documented(get(f"{user}?{query}"))
    assert_documented(get("upload/nonsense"))
    assert_documented(get("upload/" + "0" * 32), 404)
    assert_documented(get(f"{user}/m"), 404)
    assert_documented(get(f"{user}/m/download?filename=" + "x" * 3000), 404)
    assert_documented(requests.delete(f"{client.models}/m", timeout=SECONDS), 404)
    assert_documented(requests.post(f"{client.url}/ai-models/upload/{'0' * 32}/complete", timeout=SECONDS), 404)


@pytest.mark.case("A5")
@pytest.mark.needs("front")  # a gateway knows the routes itself, and `sam local` has none of its own answers
def test_paths_and_methods_that_do_not_exist(client: Client) -> None:
    def get(path: str) -> requests.Response:
        return requests.get(f"{client.url}/ai-models/{path}", timeout=SECONDS)

    user = client.user_id
    for path in (f"{user}/..%2f..%2fetc", f"{user}/a%00b", f"{user}/%ff", "%e2%80%aex/m", f"{user}/{'m' * 2000}"):
        answer = get(path)
        assert_documented(answer, 404 if answer.status_code == 404 else 400)
    assert_documented(get(f"{user}/m/nonsense"), 404)
    assert_documented(get(""), 404)
    assert_documented(requests.patch(f"{client.models}/m", timeout=SECONDS), 405)
    assert_documented(requests.post(f"{client.url}/nonsense", timeout=SECONDS), 404)


@pytest.mark.needs("front")
def test_a_huge_header_does_not_matter(client: Client) -> None:
    answer = requests.get(client.models, headers={"X-Large": "x" * 30_000, "Cookie": "a=b; " * 2000}, timeout=SECONDS)
    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.case("A8", "A9")
def test_json_sent_with_another_type_is_a_400(client: Client) -> None:
    assert client.single("model.pkl", b"bytes").status_code == 200
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"):
        answer = requests.put(f"{client.models}/model", data=b"{}", headers={"Content-Type": kind}, timeout=SECONDS)
        assert_documented(answer)


@pytest.mark.needs("front")
def test_a_web_page_that_points_its_name_here_gets_a_documented_400(client: Client) -> None:
    """DNS rebinding: the name in Host is the page's own."""
    assert_documented(requests.get(client.models, headers={"Host": "evil.example"}, timeout=SECONDS))


@pytest.mark.needs("front")
def test_a_client_that_hangs_up_reserves_nothing(server: Server, client: Client) -> None:
    address = urllib.parse.urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            b"POST /ai-models/upload/single HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="m.pkl"\r\n\r\nhalf of it'
        )
    answer = client.single("m.pkl", b"bytes")
    assert answer.status_code == 200, answer.text


@pytest.mark.needs("front")
def test_a_request_that_is_no_http_ends_its_connection_only(server: Server, client: Client) -> None:
    address = urllib.parse.urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.settimeout(SECONDS)
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    after = http.client.HTTPConnection(address.netloc, timeout=SECONDS)
    after.request("GET", f"/ai-models/{client.user_id}")
    assert after.getresponse().status == 200
