"""Every route of the app: what is sent to it, what its owner is answered, and what others are."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.functional.kit import form_body, make_zip

META = [("user_id", "alice"), ("model_id", "new"), ("name", "New")]
TOKEN_ID = "tok_" + "0" * 32  # of alice's token
MODEL, UPLOAD = "/ai-models/{user_id}/{model_id}", "/ai-models/upload/{upload_id}"
GRANTS, GRANT = "/ai-models/grants/{user_id}", "/ai-models/grants/{user_id}/{grant:path}"
TOKENS = "/ai-models/tokens"
PART = {"path": "big", "parts": [{"number": 1, "sha256": "0" * 64}]}
Key = tuple[str, str]


class Route(NamedTuple):
    """What is sent for alice's model `m`, open upload, token, or grant to carol, and the status that she gets. `kind`:
    which others may call it, a key of VERDICTS."""

    kind: str
    request: dict[str, Any]
    status: int = 200


def form(*file: Any) -> dict[str, Any]:
    body, headers = form_body([*META, file])
    return {"content": body, "headers": headers}


DIRECT = {"user_id": "alice", "model_id": "new", "name": "New", "archive": {"size": 1}}
ROUTES: dict[Key, Route] = {
    ("POST", "/ai-models/upload/single"): Route("write", form("file", "model.pkl", b"1")),
    ("POST", "/ai-models/upload/folder"): Route("write", form("zip_file", "a.zip", make_zip({"a": b"1"}))),
    ("POST", "/ai-models/upload/direct"): Route("write", {"json": DIRECT}, 201),
    ("GET", "/ai-models/upload"): Route("uploads", {"params": {"user_id": "alice"}}),
    ("GET", UPLOAD): Route("upload", {"params": {"urls": "true"}}),
    ("POST", f"{UPLOAD}/files"): Route("upload", {"json": {"files": [{"path": "b", "size": 1}]}}),
    ("POST", f"{UPLOAD}/parts"): Route("upload", {"json": PART}),
    ("POST", f"{UPLOAD}/complete"): Route("upload", {}, 400),  # upload_incomplete
    ("DELETE", UPLOAD): Route("upload", {}),
    ("GET", "/ai-models/{user_id}"): Route("list", {"params": {"latest": "true"}}),
    ("GET", "/ai-models/search/{user_id}"): Route("list", {"params": {"query": "m"}}),
    ("GET", MODEL): Route("read", {}),
    ("PUT", MODEL): Route("write", {"json": {"name": "x"}}),
    ("DELETE", MODEL): Route("write", {"params": {"all": "true"}}),
    ("GET", f"{MODEL}/download"): Route("read", {"params": {"filename": "model.pkl"}}),
    ("GET", f"{MODEL}/files"): Route("read", {"params": {"urls": "true"}}),
    ("GET", f"{MODEL}/versions"): Route("read", {}),
    ("POST", TOKENS): Route("own", {"json": {"name": "New"}}, 201),
    ("GET", TOKENS): Route("own", {}),
    ("DELETE", f"{TOKENS}/{{token_id}}"): Route("own token", {}),
    ("GET", GRANTS): Route("grants", {}),
    ("GET", GRANT): Route("grant", {}),
    ("PUT", GRANT): Route("granting", {"json": {"role": "write"}}),
    ("DELETE", GRANT): Route("granting", {}),
}

OK, NONE = 0, 1  # as the owner is answered; an empty list
# By kind of route and caller: what is answered. Callers: who was granted nothing by alice; who may read, write,
# administer all models, or is in a group that may read; who may write another model; and tokens of alice's own, one for
# reading, one for other models.
CALLERS = ("mallory", "reader", "writer", "chief", "member", "elsewhere", "read token", "other token")
VERDICTS: dict[str, tuple[int, ...]] = {
    "read": (404, OK, OK, OK, OK, 404, OK, 403),
    "list": (NONE, OK, OK, OK, OK, NONE, OK, NONE),
    "write": (404, 403, OK, OK, 403, 404, 403, 403),
    "uploads": (404, NONE, OK, OK, NONE, NONE, OK, NONE),
    "upload": (404, 404, OK, OK, 404, 404, 403, 403),
    "own token": (404, 404, 404, 404, 404, 404, 403, 403),
    "grants": (404, 403, 403, OK, 403, 403, OK, 403),
    "grant": (404, 403, 403, OK, 403, 404, OK, 403),
    "granting": (404, 403, 403, OK, 403, 404, 403, 403),
    "own": (OK, OK, OK, OK, OK, OK, 403, 403),
}


def verdict(route: Key, caller: str) -> int:
    """What a caller is answered: OK, NONE, or a status."""
    return VERDICTS[ROUTES[route].kind][CALLERS.index(caller)]


def path_of(path: str, upload_id: str) -> str:
    """A route's path, of what is alice's."""
    places = {"user_id": "alice", "model_id": "m", "upload_id": upload_id, "token_id": TOKEN_ID, "grant": "m/carol"}
    return path.replace(":path}", "}").format(**places)
