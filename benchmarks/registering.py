"""Uploads and versions for benchmarks, made as clients make them, and the registry's own work in a measured process."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from registry import naming
from registry.auth import ANYBODY
from registry.records import UploadRow

from benchmarks.stores import USER, Store
from local.servers import BUCKET

_FUNCTION_SECONDS = 900


def start_zip(store: Store, key: str, model: str) -> UploadRow:
    """A direct upload whose archive has just arrived in the inbox, from `key`."""
    from registry.schemas.starting import StartUpload
    from registry.uploads import starting

    size = store.s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"]
    request = StartUpload.model_validate(
        {"user_id": USER, "model_id": model, "version": "v1", "name": model, "archive": {"size": size}}
    )
    upload = starting.start_upload(principal=ANYBODY, request=request, idempotency_key=None)
    store.copy(key, naming.inbox_key(USER, upload.upload_id, naming.ARCHIVE_SLOT))
    return upload


def make_version(store: Store, model: str, files: Mapping[str, str]) -> UploadRow:
    """A version that is ready, of files copied from keys: by path. The functions run here."""
    from registry.schemas.starting import StartUpload
    from registry.uploads import starting

    from functions.receive_upload.app import lambda_handler
    from local.invoking import LambdaContext

    sizes = {key: store.s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"] for key in set(files.values())}
    listed = [{"path": path, "size": sizes[key]} for path, key in files.items()]
    request = StartUpload.model_validate(
        {"user_id": USER, "model_id": model, "version": "v1", "name": model, "files": listed}
    )
    upload = starting.start_upload(principal=ANYBODY, request=request, idempotency_key=None)
    for number, key in enumerate(files.values()):
        store.copy(key, naming.inbox_key(USER, upload.upload_id, number))
    with serving():
        lambda_handler({"upload_id": upload.upload_id}, LambdaContext("receive_upload", "bench", _FUNCTION_SECONDS))
        return ended(upload.upload_id)


def ended(upload_id: str) -> UploadRow:
    """The upload, once it is ready. RuntimeError for any other end."""
    while True:
        upload = UploadRow.find(f"A#{upload_id}")
        if upload is None or upload.status not in ("uploading", "processing"):
            break
        time.sleep(0.02)
    if upload is None or upload.status != "ready":
        raise RuntimeError(f"the upload ended {upload and (upload.status, upload.code, upload.detail)}")
    return upload


class serving:  # noqa: N801  # a context manager, as contextlib's
    """Functions that are started are run in this process, as `make run` does."""

    def __enter__(self) -> None:
        from local.bridge import Bridge
        from local.http_server import HttpServer
        from local.invoke_api import create_invoke_api
        from local.invoking import InProcess

        port = int(os.environ["AWS_ENDPOINT_URL_LAMBDA"].rsplit(":", 1)[1])
        self._bridge = Bridge(Path(tempfile.mkdtemp()), InProcess())
        key, token = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        # MinIO's events are taken, so that it does not try again, and dropped: the work is begun by us.
        api = create_invoke_api(self._bridge, access_key=key, events_token=token, receive=lambda _: None)
        self._server = HttpServer(api, host="127.0.0.1", port=port)
        self._server.start()

    def __exit__(self, *error: object) -> None:
        self._bridge.close()
        self._server.close()


def unpack(upload_id: str) -> Callable[[], object]:
    """The measured work: `receive_upload` finds the archive and makes a version of it."""
    from functions.receive_upload.app import lambda_handler
    from local.invoking import LambdaContext

    _warm_up()

    def work() -> None:
        lambda_handler({"upload_id": upload_id}, LambdaContext("receive_upload", "bench", _FUNCTION_SECONDS))
        ended(upload_id)

    return work


def build_archive(model: str) -> Callable[[], object]:
    """The measured work: `build_archive` makes the ZIP of a version."""
    from functions.build_archive.app import lambda_handler
    from local.invoking import LambdaContext

    _warm_up()
    event: dict[str, Any] = {"user_id": USER, "model_id": model, "version": "v1"}
    return lambda: lambda_handler(event, LambdaContext("build_archive", "bench", _FUNCTION_SECONDS))


def _warm_up() -> None:
    """What a process does once: clients, connections, what the store can do."""
    from registry.storage import probing

    serving().__enter__()
    probing.probe()
    UploadRow.find(f"A#{naming.new_upload_id()}")
