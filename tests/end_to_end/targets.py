"""The registry that the suite talks to: one that it starts itself as `make run` does, or one that already runs.

MODELKEEP_TEST_TARGET names a JSON file about the latter: `url`; `s3` {endpoint, access_key, secret_key, bucket}, to
look into the bucket with; `lacks`, what it does not have of ALL, so that tests which need that are left out; `issuer`
{url, audience, algorithm, key_id, private_key}, where it wants tokens; `patience`, how many times longer than
`make run` it may take.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ALL = {
    "process": "one process of ours that may be killed and measured",
    "front": "an HTTP server of ours, that sees a request as it came",
    "unlimited": "forms and answers of any size: API Gateway ends at some MiB",
    "anybody": "no tokens: callers may name any user, and are told what is wrong with the name",
    "binary": "bytes in forms and answers that come through as they are",
}


@dataclass(frozen=True)
class Target:
    """A registry that runs already."""

    url: str
    s3: dict[str, str]
    lacks: frozenset[str] = frozenset()
    issuer: dict[str, str] | None = None
    patience: float = 1.0

    def token(self, user_id: str) -> str:
        """A token as the target's issuer makes it."""
        import jwt

        assert self.issuer is not None
        now = int(time.time())
        claims = {"iss": self.issuer["url"], "aud": self.issuer["audience"], "sub": user_id}
        return jwt.encode(
            {**claims, "iat": now, "exp": now + 3600},
            self.issuer["private_key"],
            algorithm=self.issuer["algorithm"],
            headers={"kid": self.issuer["key_id"]},
        )


def resolve_localhost() -> None:
    """RFC 6761 has `*.localhost` be this machine, and curl knows it; not every system's resolver does."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *arguments, **options)

    socket.getaddrinfo = getaddrinfo


def read_target(path: str = os.environ.get("MODELKEEP_TEST_TARGET", "")) -> Target | None:
    """The one that the environment names; None: the suite starts one."""
    if not path:
        return None
    said = json.loads(Path(path).read_text())
    lacks = frozenset(said.get("lacks", ()))
    assert lacks <= ALL.keys(), lacks - ALL.keys()
    return Target(said["url"], said["s3"], lacks, said.get("issuer"), said.get("patience", 1.0))
