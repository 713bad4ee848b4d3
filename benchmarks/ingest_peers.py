"""What others do to make files on S3 of a ZIP on S3: the measured work of `ingest.py`."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

_CHUNK = 1024 * 1024
_ONE_PUT = 8 * _CHUNK  # boto3 too sends what is smaller by one PUT


def naive(bucket: str, key: str, prefix: str, at_once: int) -> Callable[[], object]:
    """To disk, out of it, each file hashed and uploaded: `download_file`, `extractall`, `upload_file`."""
    import boto3

    s3 = boto3.client("s3")
    s3.head_bucket(Bucket=bucket)

    def work() -> None:
        with tempfile.TemporaryDirectory() as name:
            archive, folder = Path(name) / "archive.zip", Path(name) / "files"
            s3.download_file(bucket, key, str(archive))
            with ZipFile(archive) as opened:
                opened.extractall(folder)

            def put(path: Path) -> str:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                s3.upload_file(str(path), bucket, prefix + path.relative_to(folder).as_posix())
                return digest

            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(put, [path for path in folder.rglob("*") if path.is_file()]))

    return work


def smart_open(bucket: str, key: str, prefix: str) -> Callable[[], object]:
    """Member by member without a disk: `zipfile` reads by ranges through smart_open, which also writes."""
    import boto3
    from smart_open import open as open_remote

    s3 = boto3.client("s3")
    s3.head_bucket(Bucket=bucket)

    def work() -> None:
        parameters = {"client": s3}
        with (
            open_remote(f"s3://{bucket}/{key}", "rb", transport_params=parameters) as source,
            ZipFile(source) as opened,
        ):
            for info in opened.infolist():
                digest = hashlib.sha256()
                place = f"s3://{bucket}/{prefix}{info.filename}"
                written = {**parameters, "multipart_upload": info.file_size > _ONE_PUT}
                with opened.open(info) as member, open_remote(place, "wb", transport_params=written) as target:
                    while chunk := member.read(_CHUNK):
                        digest.update(chunk)
                        target.write(chunk)

    return work
