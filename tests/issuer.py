"""An issuer for tests: keys made in this process, OIDC discovery and JWKS on a loopback port, tokens for anybody.

with Issuer() as issuer:
    environment = issuer.environment()  # what the registry is to be told
    headers = {"Authorization": f"Bearer {issuer.token('alice')}"}
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import api_jws as jws
from registry import signing_keys

# A busy machine may take longer to answer itself than an issuer far away does. Who is given up is the tests' of that.
signing_keys.TIMEOUT_SECONDS = 60

AUDIENCE = "modelkeep"
DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/jwks.json"


class SigningKey:
    """A private key, the algorithm that it signs by, and the id under which its public half is published."""

    def __init__(self, algorithm: str, key_id: str) -> None:
        self.algorithm = algorithm
        self.key_id = key_id
        curves: dict[str, ec.EllipticCurve] = {
            "ES256": ec.SECP256R1(),
            "ES384": ec.SECP384R1(),
            "ES512": ec.SECP521R1(),
        }
        self.private: Any
        if algorithm in curves:
            self.private = ec.generate_private_key(curves[algorithm])
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwk(self) -> dict[str, Any]:
        """The public half, as a JWKS lists it."""
        kind: Any = jwt.get_algorithm_by_name(self.algorithm)
        return {
            **kind.to_jwk(self.private.public_key(), as_dict=True),
            "kid": self.key_id,
            "alg": self.algorithm,
            "use": "sig",
            "key_ops": ["verify"],
        }

    def public_pem(self) -> bytes:
        """The public half as a file, which everybody may have."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        pem: bytes = self.private.public_key().public_bytes(serialization.Encoding.PEM, form)
        return pem


class Issuer:
    """Serves until closed. `keys` are those that sign and are published; the last one signs unless another is named.

    `outage`: everything is answered 503. `delay_seconds`: how long each answer takes. `requests`: how often each path
    was asked for. `documents`: what a path answers instead of what it should: JSON, bytes as they are,
    or a str, which is where to go instead (302).
    `name`: what the host is called in URLs, where those who fetch (a container) do not call it 127.0.0.1.
    `tls`: a certificate for that name, to be served by https.
    """

    def __init__(
        self, *, algorithm: str = "RS256", port: int = 0, name: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.keys = [SigningKey(algorithm, "key-1")]
        self.audience = AUDIENCE
        self.outage = False
        self.delay_seconds = 0.0
        self.answers = threading.Event()  # cleared: no answer until it is set
        self.answers.set()
        self.requests: Counter[str] = Counter()
        self.documents: dict[str, Any] = {}
        self.headers: list[dict[str, str]] = []  # of every request
        self._made = 1
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="issuer", daemon=True)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://{name}:{self.port}"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.jwks_url = self.url + JWKS

    def start(self) -> Issuer:
        """Begin to answer."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop; from now on connections are refused."""
        if self._thread.ident is not None:
            self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Issuer:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def environment(self) -> dict[str, str]:
        """What the registry's functions are told of this issuer."""
        return {
            "REGISTRY_AUTHENTICATION": "authorizer",
            "REGISTRY_ISSUER": self.url,
            "REGISTRY_AUDIENCE": self.audience,
        }

    def add_key(self, algorithm: str = "RS256") -> SigningKey:
        """One more key, which signs from now on."""
        self._made += 1
        self.keys.append(SigningKey(algorithm, f"key-{self._made}"))
        return self.keys[-1]

    def rotate(self, algorithm: str = "RS256") -> SigningKey:
        """A new key instead of the last one, which is published no longer; the old one."""
        old = self.keys[-1]
        self.add_key(algorithm)
        self.keys.remove(old)
        return old

    def token(
        self,
        user_id: str | None,
        *,
        lifetime_seconds: float = 600,
        key: SigningKey | None = None,
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A token as real issuers make it; `claims` and `headers` add to it, replace, or (None) take away."""
        key = key or self.keys[-1]
        now = int(time.time())
        payload = {
            "iss": self.url,
            "aud": self.audience,
            "sub": user_id,
            "iat": now,
            "nbf": now,
            "exp": int(now + lifetime_seconds),
            **claims,
        }
        payload = {name: value for name, value in payload.items() if value is not None}
        head = {"kid": key.key_id, **(headers or {})}
        head = {name: value for name, value in head.items() if value is not None}
        # Not jwt.encode, which refuses to make some of the tokens that we have to refuse.
        return jws.encode(json.dumps(payload).encode(), key.private, algorithm=key.algorithm, headers=head)

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and body for a path."""
        self.requests[path] += 1
        time.sleep(self.delay_seconds)
        self.answers.wait(120)
        if self.outage:
            return 503, b"outage"
        documents: dict[str, Any] = {
            DISCOVERY: {"issuer": self.url, "jwks_uri": self.jwks_url},
            JWKS: {"keys": [key.jwk() for key in self.keys]},
            **self.documents,
        }
        if path not in documents:
            return 404, b"{}"
        document = documents[path]
        if isinstance(document, str):
            return 302, document.encode()
        return 200, document if isinstance(document, bytes) else json.dumps(document).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.headers.append(dict(self.headers.items()))
                status, body = issuer.answer(self.path)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", body.decode())
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler
