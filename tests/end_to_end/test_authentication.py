"""`python -m local` with an issuer: who has no token gets a 401, who has one gets their own namespace and no other."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modelkeep
import pytest
import requests
from modelkeep import registry
from modelkeep.errors import DeniedError

from tests.end_to_end.running import Server, running
from tests.issuer import Issuer

pytestmark = pytest.mark.needs("process")
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def guarded(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The registry with an issuer; at the end its log must hold no token."""
    folder = tmp_path_factory.mktemp("guarded")
    with running(folder, "--issuer", issuer.url, "--audience", issuer.audience) as server:
        yield server
    assert "eyJ" not in server.log.read_text()  # how every JWT begins


def ask(server: Server, token: str | None, method: str, path: str, **request: Any) -> requests.Response:
    headers = {**request.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
    return requests.request(method, f"{server.url}/ai-models/{path}", headers=headers, timeout=60, **request)


def send(server: Server, token: str | None, user_id: str, model_id: str, content: bytes) -> requests.Response:
    data = {"user_id": user_id, "model_id": model_id, "name": "A model"}
    return ask(server, token, "POST", "upload/single", files={"file": ("model.pkl", content)}, data=data)


def assert_unauthenticated(answer: requests.Response) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == "unauthenticated"
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_published_curl_needs_one_more_header_and_no_more(guarded: Server, issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"weights")

    def curl(*words: str) -> tuple[str, Any]:
        command = ["curl", "-s", "-w", "\n%{http_code}", *words]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True).stdout
        body, _, status = said.rpartition("\n")
        return status, json.loads(body)

    upload = f"{guarded.url}/ai-models/upload/single"
    form = ["-X", "POST", upload]
    for field in ("file=@model.pkl", "user_id=carol", "model_id=churn", "name=Churn", "version=v1"):
        form += ["-F", field]
    status, body = curl(*form)
    assert (status, body["code"]) == ("401", "unauthenticated")
    status, body = curl("-H", f"Authorization: Bearer {issuer.token('carol')}", *form)
    assert (status, body["status"], body["user_id"]) == ("200", "ready", "carol")
    status, body = curl(f"{guarded.url}/ai-models/carol/churn")
    assert (status, body["code"]) == ("401", "unauthenticated")
    status, body = curl("-H", f"Authorization: Bearer {issuer.token('dave')}", f"{guarded.url}/ai-models/carol/churn")
    assert (status, body["code"]) == ("404", "not_found")


def test_ones_own_namespace_works_and_anothers_is_not_there(guarded: Server, issuer: Issuer) -> None:
    alice, bob = issuer.token("alice"), issuer.token("bob")
    assert send(guarded, alice, "alice", "m", b"one").status_code == 200
    assert send(guarded, alice, "alice", "n", b"two").status_code == 200
    assert send(guarded, alice, "bob", "m", b"x").status_code == 404
    assert ask(guarded, alice, "GET", "alice/m/download?filename=model.pkl").content == b"one"
    page = ask(guarded, alice, "GET", "alice?limit=1")
    following = requests.get(page.links["next"]["url"], headers={"Authorization": f"Bearer {alice}"}, timeout=60)
    assert [each["model_id"] for each in page.json() + following.json()] == ["n", "m"]
    assert_unauthenticated(requests.get(page.links["next"]["url"], timeout=60))
    assert ask(guarded, bob, "GET", "alice").json() == []
    assert ask(guarded, bob, "GET", "search/alice?query=m").json() == []
    for method, path in (
        ("GET", "alice/m"),
        ("GET", "alice/m/download"),
        ("DELETE", "alice/m"),
        ("GET", "alice/m/files"),
    ):
        assert ask(guarded, bob, method, path).status_code == 404
    assert ask(guarded, alice, "GET", "alice/m").status_code == 200


def test_a_direct_upload_carries_the_token_to_the_registry_and_never_to_the_store(
    guarded: Server, issuer: Issuer
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("weights/a.pth", b"a" * 1_000)
    data = buffer.getvalue()
    token, other = issuer.token("erin"), issuer.token("frank")
    begun = ask(
        guarded,
        token,
        "POST",
        "upload/direct",
        json={"user_id": "erin", "model_id": "m", "version": "v1", "name": "M", "archive": {"size": len(data)}},
    ).json()
    upload = f"upload/{begun['upload_id']}"
    put = begun["archive"]["put"]
    assert "authorization" not in {name.lower() for name in put["headers"]}
    for path in (upload, f"{upload}?urls=true"):
        assert ask(guarded, other, "GET", path).status_code == 404
        assert_unauthenticated(ask(guarded, None, "GET", path))
    assert ask(guarded, other, "DELETE", upload).status_code == 404
    requests.put(put["url"], data=data, headers=put["headers"], timeout=60).raise_for_status()
    assert ask(guarded, other, "POST", f"{upload}/complete").status_code == 404
    assert ask(guarded, token, "POST", f"{upload}/complete").json()["status"] == "ready"
    moved = ask(guarded, token, "GET", "erin/m/download?filename=weights/a.pth&redirect=true", allow_redirects=False)
    assert moved.status_code == 307
    assert requests.get(moved.headers["location"], timeout=60).content == b"a" * 1_000


@pytest.mark.case("N5", "N11", "N12", "N13")
def test_a_registry_token_does_what_it_was_made_for_until_it_is_revoked(guarded: Server, issuer: Issuer) -> None:
    grace = issuer.token("grace")
    for model_id in ("bert", "other"):
        assert send(guarded, grace, "grace", model_id, b"one").status_code == 200

    def make(**asked: Any) -> tuple[str, str]:
        made = ask(guarded, grace, "POST", "tokens", json={"name": "job", **asked})
        assert (made.status_code, made.headers["cache-control"]) == (201, "no-store"), made.text
        return made.json()["token"], made.json()["token_id"]

    (reads, reads_id), (writes, _) = make(models="bert"), make(scope="write", models="b*")
    for _ in range(2):  # the second time by the answer that the gateway has kept
        assert ask(guarded, reads, "GET", "grace/bert").json()["model_id"] == "bert"
        assert ask(guarded, reads, "GET", "grace/bert/download?filename=model.pkl").content == b"one"
        assert ask(guarded, reads, "DELETE", "grace/bert").status_code == 403
        assert ask(guarded, reads, "GET", "grace/other").status_code == 403
        assert ask(guarded, reads, "GET", "erin/bert").status_code == 404
        assert send(guarded, reads, "grace", "bert2", b"two").status_code == 403
        assert send(guarded, writes, "grace", "model", b"two").status_code == 403
        for token in (reads, writes):
            assert ask(guarded, token, "POST", "tokens", json={"name": "more"}).status_code == 403
            assert ask(guarded, token, "GET", "tokens").status_code == 403
            assert ask(guarded, token, "DELETE", f"tokens/{reads_id}").status_code == 403
    assert send(guarded, writes, "grace", "bert2", b"two").status_code == 200
    assert ask(guarded, writes, "DELETE", "grace/bert2").status_code == 200
    assert ask(guarded, writes, "GET", "grace/bert").headers["etag"]
    listed = ask(guarded, grace, "GET", "tokens").json()
    assert [each["models"] for each in listed] == ["b*", "bert"]
    assert all(each["last_used_at"] for each in listed)
    assert ask(guarded, issuer.token("erin"), "DELETE", f"tokens/{reads_id}").status_code == 404
    assert ask(guarded, grace, "DELETE", f"tokens/{reads_id}").json()["status"] == "revoked"
    # What the gateway has kept, it has kept for a header to the letter: another asks the authorizer anew.
    assert_unauthenticated(ask(guarded, None, "GET", "grace/bert", headers={"Authorization": f"bearer {reads}"}))
    assert_unauthenticated(ask(guarded, writes[:-1], "GET", "grace/bert"))
    for secret in (reads, writes):
        assert secret not in guarded.log.read_text()


def test_the_client_takes_a_registry_token_as_it_takes_any(
    guarded: Server, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELKEEP_HOME", str(tmp_path / "home"))
    asked = {"name": "ci", "scope": "write", "models": "m*"}
    made = ask(guarded, issuer.token("heidi"), "POST", "tokens", json=asked).json()
    (tmp_path / "model.pkl").write_bytes(b"weights")
    assert registry.ask(guarded.url, made["token"]).status == 200  # as `login` and `whoami` do
    with modelkeep.Client(guarded.url, made["token"]) as client:
        pushed = client.push(tmp_path / "model.pkl", "heidi/m", metadata={"name": "M"})
        client.pull(f"heidi/m:{pushed.version}", tmp_path / "copy")
        assert [each.model_id for each in client.models("heidi")] == ["m"]
        with pytest.raises(DeniedError):
            client.push(tmp_path / "model.pkl", "heidi/other", metadata={"name": "M"})
    assert (tmp_path / "copy/model.pkl").read_bytes() == b"weights"


def test_bad_tokens_get_in_nowhere(guarded: Server, issuer: Issuer) -> None:
    for token in (
        issuer.token("alice", lifetime_seconds=-60),
        issuer.token("alice", aud="another-service"),
        issuer.token("alice", exp=None),
        issuer.token("admin"),
        issuer.token("alice")[:-3] + "AAA",
        "nonsense",
    ):
        assert_unauthenticated(ask(guarded, token, "GET", "alice"))
    authorization = f"Basic {issuer.token('alice')}"
    assert_unauthenticated(ask(guarded, None, "GET", "alice", headers={"Authorization": authorization}))


def test_whoever_sends_much_without_a_token_reads_a_401_and_no_broken_pipe(guarded: Server) -> None:
    assert_unauthenticated(send(guarded, None, "alice", "big", bytes(64 * MIB)))


def test_known_keys_outlive_an_outage_of_the_issuer_and_a_restart_does_not(guarded: Server, issuer: Issuer) -> None:
    assert ask(guarded, issuer.token("alice"), "GET", "alice").status_code == 200
    issuer.outage = True
    try:
        assert ask(guarded, issuer.token("alice", jti="another"), "GET", "alice").status_code == 200
        guarded.restart()
        answer = ask(guarded, issuer.token("alice"), "GET", "alice")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert_unauthenticated(ask(guarded, None, "GET", "alice"))
    finally:
        issuer.outage = False
    guarded.restart()
    assert ask(guarded, issuer.token("alice"), "GET", "alice").status_code == 200


def test_the_documentation_is_open(guarded: Server) -> None:
    for path in ("docs", "openapi.json"):
        assert requests.get(f"{guarded.url}/{path}", timeout=60).status_code == 200
