"""A presigned URL is good for what it was made for and nothing else: one key, method, size, digest and time, on every
store that checks signatures. Whatever else is tried changes nothing."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import requests
from botocore.exceptions import ClientError
from registry import downloads
from registry.auth import ANYBODY
from registry.deadlines import Deadline
from registry.schemas.starting import StartUpload
from registry.storage import multiparts, objects, presigning
from registry.storage.client import base64_of_crc, base64_of_hex, bucket, put_presigner, s3
from registry.storage.objects import CONTENT_TYPE
from registry.uploads import showing, starting, waking, working

from tests.contract.test_storage import MIB, put, sha256

DATA, OTHER = b"some bytes", b"SOME bytes"
SECRET = b"of another"  # as many bytes
# MinIO does not look at the signature of a PUT with an unsigned trailer (CVE-2026-41145): docs/stores.md.
LETS_FORGED_PASS = {"seaweedfs": False, "minio": True}


class Signed(NamedTuple):
    """A request that a URL was made for."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""


Misuse = Callable[[Signed], Signed]


def by(method: str, **changes: Any) -> Misuse:
    return lambda signed: signed._replace(method=method, **changes)


def instead(old: str, new: str) -> Misuse:
    """The same with another URL."""

    def change(signed: Signed) -> Signed:
        url = re.sub(old, new, signed.url)
        assert url != signed.url
        return signed._replace(url=url)

    return change


def besides(**headers: str) -> Misuse:
    """The same with further headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda signed: signed._replace(headers={**signed.headers, **named})


OF_ANY: dict[str, Misuse] = {
    "another_key": instead(r"/a\?", "/b?"),
    "a_version": instead("$", "&versionId=null"),
    "no_signature": instead("&X-Amz-Signature=[^&]*", ""),
    "another_signature": instead("X-Amz-Signature=[^&]{8}", "X-Amz-Signature=00000000"),
    "another_date": instead("X-Amz-Date=[^&]*", "X-Amz-Date=20300101T000000Z"),
    "expires_later": instead("X-Amz-Expires=3600", "X-Amz-Expires=3601"),
    "expires_never": instead("X-Amz-Expires=3600", "X-Amz-Expires=609901"),
    "expires_at_once": instead("X-Amz-Expires=3600", "X-Amz-Expires=0"),
    "expires_before": instead("X-Amz-Expires=3600", "X-Amz-Expires=-7"),
    "fewer_headers_signed": instead("X-Amz-SignedHeaders=[^&]*", "X-Amz-SignedHeaders=host"),
    "acl": instead("$", "&acl"),
    "tagging": instead("$", "&tagging"),
    "delete": by("DELETE"),
}
OF_PUT: dict[str, Misuse] = {
    **OF_ANY,
    "get": by("GET", body=b""),
    "post": by("POST"),
    "one_byte_more": lambda signed: signed._replace(body=signed.body + b"!"),
    "one_byte_less": lambda signed: signed._replace(body=signed.body[:-1]),
    "nothing": lambda signed: signed._replace(body=b""),
    "other_bytes": lambda signed: signed._replace(body=OTHER),
    "no_digest": lambda signed: signed._replace(headers={}),
    "another_digest": lambda signed: signed._replace(
        headers={"x-amz-checksum-sha256": base64_of_hex(sha256(OTHER))}, body=OTHER
    ),
    "a_part": instead("$", "&partNumber=1&uploadId=x"),
}
OF_GET: dict[str, Misuse] = {
    **{name: misuse for name, misuse in OF_ANY.items() if name != "fewer_headers_signed"},
    "put": by("PUT", body=OTHER),
    "post": by("POST"),
    "another_type": instead("response-content-type=[^&]*", "response-content-type=text%2Fhtml"),
    "no_type": instead("&?response-content-type=[^&]*", ""),
    "shown": instead("attachment", "inline"),
    "saved_as_another": instead("a.bin", "b.html"),
    "another_language": instead("$", "&response-content-language=de"),
}


def everything(*prefixes: str) -> dict[str, str]:
    entries = [entry for prefix in prefixes for entry in objects.list_objects(prefix)]
    return {entry.key: objects.read_range(entry.key, 0, entry.size).hex() for entry in entries}


def send(signed: Signed) -> requests.Response:
    return requests.request(signed.method, signed.url, data=signed.body, headers=signed.headers, timeout=30)


def presign_put(key: str) -> Signed:
    url, headers = presigning.presign_put(key, size=len(DATA), sha256=sha256(DATA))
    return Signed("PUT", url, headers, DATA)


def presign_get(key: str) -> Signed:
    return Signed("GET", presigning.presign_get(key, disposition='attachment; filename="a.bin"'), {})


@pytest.mark.case("A11", "A13")
@pytest.mark.parametrize("misuse", OF_PUT)
def test_a_put_is_for_its_key_size_digest_and_time_alone(inbox: str, misuse: str) -> None:
    put(f"{inbox}b", SECRET)
    before = everything(inbox)
    assert send(OF_PUT[misuse](presign_put(f"{inbox}a"))).status_code >= 400
    assert everything(inbox) == before
    assert send(presign_put(f"{inbox}a")).status_code == 200, "what it is for is let pass"


@pytest.mark.case("A11")
@pytest.mark.parametrize("misuse", OF_GET)
def test_a_get_is_for_its_key_and_way_of_answering_alone(real_store: str, prefix: str, misuse: str) -> None:
    put(f"{prefix}a", DATA)
    put(f"{prefix}b", SECRET)
    before = everything(prefix)
    answer = send(OF_GET[misuse](presign_get(f"{prefix}a")))
    assert answer.status_code >= 400
    assert DATA not in answer.content and SECRET not in answer.content
    assert everything(prefix) == before
    assert send(presign_get(f"{prefix}a")).content == DATA, "what it is for is let pass"


# Headers that would do more than store the bytes, as each store answers them. AWS refuses every `x-amz-` header that is
# not signed; a store that only passes over one is as good, as the test looks at what came of it.
HEADERS: dict[str, Misuse] = {
    "acl": besides(x_amz_acl="public-read"),
    "grant": besides(x_amz_grant_read="uri=http://acs.amazonaws.com/groups/global/AllUsers"),
    "redirect": besides(x_amz_website_redirect_location="https://evil.example/"),
    "type": besides(Content_Type="text/html", Content_Disposition="inline", Content_Encoding="gzip"),
    "replica": besides(X_Amz_Bucket_Replication_Status="REPLICA"),
    "unpacked": besides(X_Amz_Meta_Snowball_Auto_Extract="true"),
}


@pytest.mark.case("A12")
@pytest.mark.parametrize("misuse", HEADERS)
def test_headers_of_ones_own_give_nothing_away(inbox: str, misuse: str) -> None:
    signed = HEADERS[misuse](presign_put(f"{inbox}a"))
    answer = send(signed)
    if answer.status_code == 200:  # then it is the bytes that were sent, and as private as without the header
        assert objects.read_range(f"{inbox}a", 0, len(DATA)) == DATA
        plain = signed.url.partition("?")[0]
        assert requests.get(plain, timeout=30).status_code == 403
    else:
        assert answer.status_code >= 400
        assert objects.find_object(f"{inbox}a") is None


@pytest.fixture(params=["model", "upload"])
def secret(request: pytest.FixtureRequest, prefix: str, inbox: str) -> str:
    """The key of what somebody else has."""
    key = f"{prefix if request.param == 'model' else inbox}secret"
    put(key, SECRET)
    return key


def copying(signed: Signed, secret: str) -> Signed:
    """The same, asking for another object instead of what is sent."""
    return besides(x_amz_copy_source=f"/{bucket()}/{secret}")(signed)


@pytest.mark.case("A12")
@pytest.mark.parametrize("digest", [True, False])
def test_no_put_copies_another_object(prefix: str, inbox: str, secret: str, digest: bool) -> None:
    """AWS and SeaweedFS refuse the header; MinIO obeys it, and refuses the signer."""
    before = everything(prefix, inbox)
    url, headers = presigning.presign_put(f"{inbox}a", size=len(DATA), sha256=sha256(DATA) if digest else None)
    signed = Signed("PUT", url, headers, DATA)
    assert send(copying(signed, secret)).status_code == 403
    assert everything(prefix, inbox) == before
    assert send(signed).status_code == 200
    assert objects.read_range(f"{inbox}a", 0, len(DATA)) == DATA


@pytest.mark.case("A12")
@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("ranged", [True, False])
def test_no_put_of_a_part_copies_another_object(inbox: str, secret: str, digest: bool, ranged: bool) -> None:
    key, data = f"{inbox}a", os.urandom(5 * MIB)
    multipart = multiparts.create_multipart(key, checksum="SHA256" if digest and multiparts.lists_digests() else None)
    url, headers = presigning.presign_part(key, multipart, 1, size=len(data), sha256=sha256(data) if digest else None)
    signed = Signed("PUT", url, headers, data)
    evil = copying(signed, secret)
    if ranged:
        evil = besides(x_amz_copy_source_range=f"bytes=0-{len(SECRET) - 1}")(evil)
    assert send(evil).status_code == 403
    assert multiparts.list_parts(key, multipart) == []
    assert send(signed).status_code == 200
    multiparts.complete_multipart(key, multipart, multiparts.list_parts(key, multipart))
    assert objects.read_range(key, 0, len(data)) == data


@pytest.mark.case("A11")
def test_a_put_with_an_unsigned_trailer_needs_a_signature(real_store: str, prefix: str, inbox: str) -> None:
    """As whoever signed a URL that one has: a PUT's may only write the inbox, so that no model is lost to it."""
    body = b"4\r\nEVIL\r\n0\r\nx-amz-checksum-crc32:" + base64_of_crc(zlib.crc32(b"EVIL")).encode() + b"\r\n\r\n"
    headers = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": "4",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "Content-Encoding": "aws-chunked",
    }

    def forge(url: str, key: str) -> int:
        url = re.sub("X-Amz-Signature=[^&]*", f"X-Amz-Signature={'0' * 64}", url)
        url = re.sub("X-Amz-SignedHeaders=[^&]*", "X-Amz-SignedHeaders=host", url)
        url = urlsplit(url)._replace(path=f"/{bucket()}/{key}").geturl()
        return send(Signed("PUT", url, headers, body)).status_code

    model, sent, got = f"{prefix}a", presign_put(f"{inbox}a").url, presign_get(f"{prefix}a").url
    put(model, SECRET)
    assert forge(sent, model) == 403
    assert everything(prefix, inbox) == {model: SECRET.hex()}
    if LETS_FORGED_PASS[real_store]:
        assert forge(sent, f"{inbox}b") == forge(got, model) == 200, "the store has learnt: say so in the table"
        assert everything(prefix) == {model: b"EVIL".hex()}
    else:
        assert forge(sent, f"{inbox}b") == forge(got, model) == 403
        assert everything(prefix, inbox) == {model: SECRET.hex()}


def test_whoever_signs_puts_on_minio_may_do_nothing_else(on_minio: object, user_id: str) -> None:
    """Not even with the secret, which no URL has."""
    models, key = f"models/{user_id}/m/v1/a", f"modelkeep/uploads/{user_id}/x/1"
    put(models, SECRET)
    put(key, DATA)
    multipart = multiparts.create_multipart(f"{key}0")
    place: Any = {"Bucket": bucket()}
    writer, before = put_presigner(), everything(f"models/{user_id}/", f"modelkeep/uploads/{user_id}/")
    calls: list[Callable[[], Any]] = [
        writer.list_buckets,
        lambda: writer.list_objects_v2(**place),
        lambda: writer.list_objects_v2(**place, Prefix=f"modelkeep/uploads/{user_id}/"),
        lambda: writer.list_multipart_uploads(**place, Prefix=f"{key}0"),
        lambda: writer.list_parts(**place, Key=f"{key}0", UploadId=multipart),
        lambda: writer.abort_multipart_upload(**place, Key=f"{key}0", UploadId=multipart),
        lambda: writer.get_bucket_notification_configuration(**place),
        lambda: writer.put_object(**place, Key=f"modelkeep/archives/{user_id}", Body=DATA),
        lambda: writer.put_object(**place, Key="modelkeep/uploads", Body=DATA),
        lambda: writer.put_object(**place, Key=models, Body=DATA),
        lambda: writer.copy_object(**place, Key=f"{key}1", CopySource={**place, "Key": key}),
        *(
            call
            for each in (models, key)
            for call in (
                lambda each=each: writer.get_object(**place, Key=each),
                lambda each=each: writer.head_object(**place, Key=each),
                lambda each=each: writer.delete_object(**place, Key=each),
                lambda each=each: writer.get_object_tagging(**place, Key=each),
                lambda each=each: writer.put_object_tagging(**place, Key=each, Tagging={"TagSet": []}),
            )
        ),
    ]
    for call in calls:
        with pytest.raises(ClientError) as refused:
            call()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert everything(f"models/{user_id}/", f"modelkeep/uploads/{user_id}/") == before
    writer.put_object(**place, Key=key, Body=OTHER)
    assert objects.read_range(key, 0, len(OTHER)) == OTHER
    objects.delete_prefix(f"modelkeep/uploads/{user_id}/")
    multiparts.abort_multipart(f"{key}0", multipart)


@pytest.mark.case("A12", "A14")
def test_what_came_as_a_page_is_published_and_downloaded_as_bytes(real_store: str, user_id: str) -> None:
    """The type of what is sent is not signed, as clients send what they like; none of it survives."""
    page = b"<script>alert(1)</script>"
    files: Any = [{"path": "page.html", "size": len(page), "sha256": sha256(page)}]
    request = StartUpload(user_id=user_id, model_id="m", version="v1", files=files)
    upload = starting.start_upload(principal=ANYBODY, request=request, idempotency_key=None)
    file = showing.show(upload, urls=True)[0].files[0]
    assert file.put is not None
    evil = {"Content-Type": "text/html", "Content-Disposition": "inline", "Cache-Control": "public"}
    assert requests.put(file.put.url, data=page, headers={**file.put.headers, **evil}, timeout=30).status_code == 200
    waking.wake(upload.upload_id)
    working.work(upload.upload_id, Deadline(None))
    where = {"principal": ANYBODY, "user_id": user_id, "model_id": "m", "version": "v1", "filename": "page.html"}
    found = downloads.download_model(**where, redirect=True)  # type: ignore[arg-type]
    assert isinstance(found, downloads.Redirect)
    answer = requests.get(found.url, timeout=30)
    assert (answer.status_code, answer.content) == (200, page)
    assert answer.headers["Content-Type"] == CONTENT_TYPE
    assert answer.headers["Content-Disposition"] == 'attachment; filename="page.html"'
    stored = s3().head_object(Bucket=bucket(), Key=f"models/{user_id}/m/v1/page.html")
    assert "ContentDisposition" not in stored and "CacheControl" not in stored
    if real_store != "seaweedfs":  # which guesses by the key's end where the type is this one
        assert stored["ContentType"] == CONTENT_TYPE
