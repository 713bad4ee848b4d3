"""The issuer's keys: asked for seldom, kept through an outage, and never replaced by nonsense."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from registry import signing_keys
from registry.errors import UnauthenticatedError, UnavailableError
from registry.signing_keys import SigningKeys

from tests.issuer import DISCOVERY, JWKS, Issuer

Move = Callable[[float], None]


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer(algorithm="ES256") as issuer:
        yield issuer


@pytest.fixture
def move_clock(monkeypatch: pytest.MonkeyPatch) -> Move:
    real, ahead = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])

    def move(seconds: float) -> None:
        ahead[0] += seconds

    return move


def knows(keys: SigningKeys, key_id: str) -> bool:
    try:
        return keys.find(key_id).key_id == key_id
    except (UnauthenticatedError, UnavailableError):
        return False


def test_keys_are_found_by_discovery_and_asked_for_once(issuer: Issuer) -> None:
    keys = SigningKeys(issuer.url)
    for _ in range(100):
        assert knows(keys, "key-1")
    assert issuer.requests == {DISCOVERY: 1, JWKS: 1}


def test_a_jwks_url_that_is_given_spares_discovery(issuer: Issuer) -> None:
    assert knows(SigningKeys("https://somewhere.example", jwks_url=issuer.jwks_url), "key-1")
    assert issuer.requests == {JWKS: 1}


def test_no_authorization_or_cookie_is_sent_to_the_issuer(issuer: Issuer) -> None:
    SigningKeys(issuer.url).find("key-1")
    assert {name.lower() for sent in issuer.headers for name in sent} == {
        "accept",
        "accept-encoding",
        "connection",
        "host",
        "user-agent",
    }


@pytest.mark.case("N7", "N10")
def test_a_storm_of_unknown_keys_makes_us_ask_once_a_minute(issuer: Issuer, move_clock: Move) -> None:
    keys = SigningKeys(issuer.url)
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(lambda number: knows(keys, f"unknown-{number}"), range(1_000)))
    assert issuer.requests[JWKS] == 1
    for _ in range(60):  # ten minutes of it
        move_clock(10)
        for number in range(20):
            assert not knows(keys, f"unknown-{number}")
            assert knows(keys, "key-1")
    assert issuer.requests[JWKS] <= 1 + 10


@pytest.mark.case("N10")
def test_a_storm_in_an_outage_makes_us_ask_no_more_often(issuer: Issuer, move_clock: Move) -> None:
    issuer.outage = True
    keys = SigningKeys(issuer.url)
    for number in range(1_000):
        assert not knows(keys, f"unknown-{number}")
    assert sum(issuer.requests.values()) == 1
    move_clock(signing_keys.RETRY_SECONDS)  # nobody gets in, so the next try comes soon
    assert not knows(keys, "key-1")
    assert sum(issuer.requests.values()) == 2


@pytest.mark.case("N10")
def test_a_new_key_is_known_a_minute_after_the_last_look(issuer: Issuer, move_clock: Move) -> None:
    keys = SigningKeys(issuer.url)
    assert knows(keys, "key-1")
    issuer.add_key("ES256")
    assert not knows(keys, "key-2")
    move_clock(signing_keys.COOLDOWN_SECONDS)
    assert knows(keys, "key-2")
    assert knows(keys, "key-1")
    assert issuer.requests[JWKS] == 2


def test_a_key_that_is_withdrawn_is_good_for_ten_minutes_at_most(issuer: Issuer, move_clock: Move) -> None:
    keys = SigningKeys(issuer.url)
    assert knows(keys, "key-1")
    issuer.rotate("ES256")
    move_clock(signing_keys.RENEW_SECONDS - 1)
    assert knows(keys, "key-1")
    move_clock(1)
    assert not knows(keys, "key-1")
    assert knows(keys, "key-2")


@pytest.mark.case("N10")
def test_known_keys_outlive_an_outage_but_not_for_ever(issuer: Issuer, move_clock: Move) -> None:
    keys = SigningKeys(issuer.url)
    assert knows(keys, "key-1")
    issuer.outage = True
    move_clock(signing_keys.STALE_SECONDS - 1)
    assert knows(keys, "key-1")
    with pytest.raises(UnauthenticatedError):
        keys.find("unknown")
    move_clock(1)
    with pytest.raises(UnavailableError) as raised:
        keys.find("key-1")
    assert raised.value.code == "issuer_unreachable"
    issuer.outage = False
    move_clock(signing_keys.COOLDOWN_SECONDS)
    assert knows(keys, "key-1")


@pytest.mark.case("N10")
def test_without_any_key_it_is_the_issuer_that_fails_not_the_token(issuer: Issuer, move_clock: Move) -> None:
    issuer.close()
    keys = SigningKeys(issuer.url)
    with pytest.raises(UnavailableError):
        keys.find("key-1")


def test_a_clock_that_is_put_back_renews_instead_of_trusting_longer(issuer: Issuer, move_clock: Move) -> None:
    keys = SigningKeys(issuer.url)
    assert knows(keys, "key-1")
    issuer.rotate("ES256")
    move_clock(-3_600)
    assert not knows(keys, "key-1")


def test_whoever_has_a_key_does_not_wait_for_the_one_who_renews_it(
    issuer: Issuer, move_clock: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_keys, "TIMEOUT_SECONDS", 120)
    keys = SigningKeys(issuer.url)
    assert knows(keys, "key-1")
    move_clock(signing_keys.RENEW_SECONDS)
    issuer.answers.clear()
    renewing = threading.Thread(target=keys.find, args=("key-1",))
    renewing.start()
    while issuer.requests[DISCOVERY] != 2:
        time.sleep(0.01)
    assert knows(keys, "key-1")
    assert renewing.is_alive()
    issuer.answers.set()
    renewing.join()
    assert issuer.requests == {DISCOVERY: 2, JWKS: 2}


EC_KEY = {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "key-1"}
NO_KEYS: list[Any] = [
    b"",
    b"<html>",
    b"[" * 100_000,
    b'"keys"',
    [],
    {},
    {"keys": []},
    {"keys": {}},
    {"keys": "none"},
    {"keys": [None, 1, "x"]},
    {"keys": [{}]},
    {"keys": [{"kty": "EC", "kid": "key-1"}]},
    {"keys": [EC_KEY]},
    {"keys": [{**EC_KEY, "alg": ["ES256"]}]},
    {"keys": [{**EC_KEY, "alg": "none"}]},
    {"keys": [{"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "key-1", "alg": "HS256"}]},
]


@pytest.mark.parametrize("document", NO_KEYS, ids=lambda document: str(document)[:40])
@pytest.mark.case("N10")
def test_nonsense_gives_no_keys_and_takes_none_away(issuer: Issuer, move_clock: Move, document: Any) -> None:
    warm = SigningKeys(issuer.url)
    assert knows(warm, "key-1")
    issuer.documents[JWKS] = document
    with pytest.raises(UnavailableError):
        SigningKeys(issuer.url).find("key-1")
    move_clock(signing_keys.RENEW_SECONDS)
    assert knows(warm, "key-1")
    assert issuer.requests[JWKS] == 3


def test_an_answer_that_is_too_large_is_not_read(issuer: Issuer) -> None:
    document = json.dumps({"keys": [issuer.keys[0].jwk()]}).encode()
    issuer.documents[JWKS] = document + b" " * (signing_keys.MAX_BYTES - len(document))
    assert knows(SigningKeys(issuer.url), "key-1")
    issuer.documents[JWKS] += b" "
    assert not knows(SigningKeys(issuer.url), "key-1")


def test_only_keys_for_signatures_with_an_id_of_text_are_taken(issuer: Issuer) -> None:
    good = issuer.keys[0].jwk()
    issuer.documents[JWKS] = {
        "keys": [
            {**good, "kid": "for-encryption", "use": "enc"},
            {**good, "kid": 7},
            {name: value for name, value in good.items() if name != "kid"},
            {**good, "kid": "for-signing", "key_ops": ["sign"]},
            {**good, "kid": "for-nothing", "key_ops": 7},
            {**good, "kid": "unnamed-use", "use": None, "key_ops": None},
            {**good, "kid": "curve-says-it", "alg": None},
            {"kty": "unheard-of", "kid": "new"},
            {**good, "kid": "not-signed", "alg": "none"},
            {**good, "kid": "two-algorithms", "alg": ["ES256", "ES384"]},
            {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "shared-secret"},
            "no key",
            good,
        ]
    }
    keys = SigningKeys(issuer.url)
    names = (
        "for-encryption",
        "for-signing",
        "for-nothing",
        "unnamed-use",
        "curve-says-it",
        "new",
        "not-signed",
        "two-algorithms",
        "shared-secret",
        "key-1",
    )
    assert [name for name in names if knows(keys, name)] == ["unnamed-use", "curve-says-it", "key-1"]
    assert keys.find("curve-says-it").algorithm_name == "ES256"


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "http://127.0.0.1:1"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": 7},
        {"jwks_uri": "http://keys.example/jwks.json"},
        {"jwks_uri": "http://169.254.169.254/latest/meta-data/"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "ftp://127.0.0.1/jwks.json"},
    ],
    ids=str,
)
def test_a_discovery_that_names_another_issuer_or_an_unsafe_place_is_not_followed(
    issuer: Issuer, changes: dict[str, Any]
) -> None:
    issuer.documents[DISCOVERY] = {"issuer": issuer.url, "jwks_uri": issuer.jwks_url, **changes}
    with pytest.raises(UnavailableError):
        SigningKeys(issuer.url).find("key-1")
    assert issuer.requests == {DISCOVERY: 1}


def test_keys_are_read_from_no_file_and_from_no_url_that_holds_them(issuer: Issuer, tmp_path: Path) -> None:
    document = json.dumps({"keys": [issuer.keys[0].jwk()]})
    (tmp_path / "jwks.json").write_text(document)
    for url in ((tmp_path / "jwks.json").as_uri(), f"data:application/json,{quote(document)}"):
        issuer.documents[DISCOVERY] = {"issuer": issuer.url, "jwks_uri": url}
        assert not knows(SigningKeys(issuer.url), "key-1")


def test_an_issuer_with_a_slash_at_its_end_is_itself(issuer: Issuer) -> None:
    issuer.documents[DISCOVERY] = {"issuer": issuer.url + "/", "jwks_uri": issuer.jwks_url}
    assert knows(SigningKeys(issuer.url + "/"), "key-1")
    assert not knows(SigningKeys(issuer.url), "key-1")


def test_no_redirect_is_followed(issuer: Issuer) -> None:
    issuer.documents["/moved"] = issuer.jwks_url
    with pytest.raises(UnavailableError):
        SigningKeys(issuer.url, jwks_url=issuer.url + "/moved").find("key-1")
    assert issuer.requests == {"/moved": 1}


def test_an_issuer_that_does_not_answer_is_given_up(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_keys, "TIMEOUT_SECONDS", 0.3)
    issuer.answers.clear()
    with pytest.raises(UnavailableError):
        SigningKeys(issuer.url).find("key-1")
    issuer.answers.set()


def test_an_issuer_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(signing_keys, "TIMEOUT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sent: list[int] = []

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
                try:
                    while len(sent) < 10_000:
                        sent.append(connection.send(b" "))
                        time.sleep(0.05)
                except OSError:
                    pass

        thread = threading.Thread(target=trickle)
        thread.start()
        with pytest.raises(UnavailableError):
            SigningKeys("https://x.example", jwks_url=f"http://127.0.0.1:{listener.getsockname()[1]}/").find("k")
        thread.join()
        assert len(sent) < 10_000  # it did not wait for the end


def test_plain_http_never_leaves_the_machine_by_a_proxy(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    with Issuer() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert knows(SigningKeys(issuer.url), "key-1")
        assert not proxy.requests


def test_a_host_that_can_be_none_is_an_issuer_that_does_not_answer() -> None:
    with pytest.raises(UnavailableError):
        SigningKeys(f"https://{'a' * 64}.example").find("key-1")


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that only those believe who are given its file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = folder / "key.pem"
    form, unencrypted = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, unencrypted))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, private)
    return path, context


def test_a_certificate_that_nobody_vouches_for_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, context = certificate(tmp_path)
    with Issuer(algorithm="ES256", tls=context) as issuer:
        assert issuer.url.startswith("https://")
        with pytest.raises(UnavailableError):
            SigningKeys(issuer.url).find("key-1")
        assert not issuer.requests
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        assert knows(SigningKeys(issuer.url), "key-1")
        with Issuer(algorithm="ES256") as plain:
            issuer.documents[DISCOVERY] = {"issuer": issuer.url, "jwks_uri": plain.jwks_url}
            assert not knows(SigningKeys(issuer.url), "key-1")  # keys by http, though the issuer has https
            assert not plain.requests


def test_many_that_come_first_at_once_wait_for_one_fetch(issuer: Issuer) -> None:
    issuer.delay_seconds = 0.3
    keys = SigningKeys(issuer.url)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: knows(keys, "key-1"), range(8)))
    assert issuer.requests == {DISCOVERY: 1, JWKS: 1}


@pytest.mark.case("N6")
def test_every_algorithm_is_an_asymmetric_one() -> None:
    assert not [name for name in signing_keys.ALGORITHMS if name == "none" or name.startswith("HS")]
    for name in signing_keys.ALGORITHMS:
        assert type(jwt.get_algorithm_by_name(name)) is not jwt.algorithms.HMACAlgorithm
