"""What the stores do that nothing of ours relies on: the table of docs/stores.md, held against each of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError
from registry.storage import presigning, probing
from registry.storage.client import bucket, s3

from tests.contract.test_storage import CHECKS_CRCS, DIGEST_METHOD, LISTS_DIGESTS

FEATURES = {
    "put_if_none_match": {"moto": True, "seaweedfs": True, "minio": True},
    "complete_if_none_match": {"moto": True, "seaweedfs": True, "minio": True},  # in races SeaweedFS's is none
    "copy_if_none_match": {"moto": False, "seaweedfs": True, "minio": False},
    "lifecycle_of_multiparts": {"moto": True, "seaweedfs": True, "minio": False},
    "cors": {"moto": True, "seaweedfs": True, "minio": False},
}


def put_if_none_match(prefix: str) -> bool:
    s3().put_object(Bucket=bucket(), Key=f"{prefix}a", Body=b"old")
    return refuses(lambda: s3().put_object(Bucket=bucket(), Key=f"{prefix}a", Body=b"new", IfNoneMatch="*"))


def complete_if_none_match(prefix: str) -> bool:
    key = f"{prefix}a"
    upload = s3().create_multipart_upload(Bucket=bucket(), Key=key)["UploadId"]
    part = s3().upload_part(Bucket=bucket(), Key=key, UploadId=upload, PartNumber=1, Body=b"new")
    s3().put_object(Bucket=bucket(), Key=key, Body=b"old")
    parts: Any = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    return refuses(
        lambda: s3().complete_multipart_upload(
            Bucket=bucket(), Key=key, UploadId=upload, MultipartUpload=parts, IfNoneMatch="*"
        )
    )


def copy_if_none_match(prefix: str) -> bool:
    for name in "ab":
        s3().put_object(Bucket=bucket(), Key=f"{prefix}{name}", Body=name.encode())
    source: Any = {"Bucket": bucket(), "Key": f"{prefix}a"}
    return refuses(lambda: s3().copy_object(Bucket=bucket(), Key=f"{prefix}b", CopySource=source, IfNoneMatch="*"))


def lifecycle_of_multiparts(prefix: str) -> bool:
    rule: Any = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": prefix}}
    rule["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": 14}
    return not refuses(
        lambda: s3().put_bucket_lifecycle_configuration(Bucket=bucket(), LifecycleConfiguration={"Rules": [rule]})
    )


def cors(prefix: str) -> bool:
    rule: Any = {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://example.com"]}
    done = not refuses(lambda: s3().put_bucket_cors(Bucket=bucket(), CORSConfiguration={"CORSRules": [rule]}))
    if done:
        s3().delete_bucket_cors(Bucket=bucket())
    return done


def refuses(call: Callable[[], Any]) -> bool:
    try:
        call()
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 412, 501)
        return True
    return False


@pytest.mark.parametrize("feature", FEATURES)
def test_the_table_of_what_a_store_has_is_right(store: str, prefix: str, feature: str) -> None:
    assert globals()[feature](prefix) is FEATURES[feature][store]


def test_a_browser_of_any_origin_may_send_where_the_store_has_no_rules(real_store: str, inbox: str) -> None:
    """What is sent needs a signed URL all the same."""
    url, headers = presigning.presign_put(f"{inbox}a", size=5, sha256=None)
    answer = requests.put(url, data=b"bytes", headers={**headers, "Origin": "https://example.com"}, timeout=60)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", "https://example.com")


def test_the_probe_says_what_it_found_logs_it_once_and_leaves_nothing(
    store: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        found = probing.probe()
        assert probing.probe() == found
    by = {"part_copy": "by the part", "copy": "by the object"}
    assert found[0].endswith(by[DIGEST_METHOD[store]])
    assert found[1].startswith("it lists the digests") is LISTS_DIGESTS[store]
    assert found[2].startswith("it holds what it makes") is CHECKS_CRCS[store]
    assert [record.getMessage() for record in caplog.records].count("store probed") == 3
    listed = s3().list_objects_v2(Bucket=bucket(), Prefix="modelkeep/uploads/_probe/")
    assert listed["KeyCount"] == 0
