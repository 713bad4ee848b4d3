"""The rows of the one DynamoDB table.

| row            | pk                 | sk                       | what it is                                  |
| :------------- | :----------------- | :----------------------- | :------------------------------------------ |
| VersionRow     | M#user#model       | V#version                | a version, from reservation to tombstone    |
| ModelRow       | M#user#model       | #                        | the highest vN ever used                    |
| ManifestRow    | F#upload_id        | path of its first file   | up to 100 files of a version, by path       |
| PostingRow     | P#user#a or i#term | created#model#version    | a hint: this version has that term (search) |
| DigestRow      | D#user#sha256      | upload_id                | a hint: where these bytes lie               |
| UploadRow      | A#upload_id        | #                        | one attempt to make a version               |
| SpecRow        | A#upload_id        | S#number                 | up to 100 files of it, as asked for         |
| ResultRow      | A#upload_id        | R#number                 | what became of those 100                    |
| MemberRow      | A#upload_id        | T#number                 | how far a member is that outlasts a function |
| ShareRow       | A#upload_id        | U#number                 | who unpacks a share of an archive           |
| ProgressRow    | A#upload_id        | P                        | how many of them are done, and their bytes  |
| GrantRow       | G#user             | grantee (user or @group) | what the user lets them do                  |
| OpenRow        | O#user             | upload_id                | the user's open uploads                     |
| IdempotencyRow | I#user#hash        | #                        | which upload an Idempotency-Key started     |
| ArchiveRow     | Z#upload_id        | #                        | who builds a version's ZIP                  |
| TokenRow       | T#sha256           | #                        | a registry token: whose, and what it allows |
| TokenPlaceRow  | TK#user            | number of the place      | one of the user's 100 places for tokens     |
| WorkRow        | WK#shard           | due#upload_id[#of]       | what the sweep has to look at, and when     |
| CheckRow       | V#files            | #                        | how far the check of all files is           |

`expires` is DynamoDB's TTL: seconds since 1970. Readers never count on it having come true.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pynamodb.attributes import (
    BooleanAttribute,
    MapAttribute,
    NumberAttribute,
    NumberSetAttribute,
    UnicodeAttribute,
)
from pynamodb.connection.table import TableConnection
from pynamodb.expressions.condition import Condition as Condition
from pynamodb.models import Model

from registry.records.attributes import JsonAttribute, TextsAttribute, read_plainly
from registry.settings import get_settings

R = TypeVar("R", bound="Row")
FILES_A_ROW = 100  # a row of 100 files is some 25 KB: a page of 1,000 is ten of them, a look-up reads one
_POOL = 32


class _TableName:
    """The table's name, read at first use: importing does nothing."""

    def __get__(self, instance: object, owner: type) -> str:
        return get_settings().table


class Row(Model):
    """What all rows share: one table, one connection."""

    class Meta:
        table_name = _TableName()
        max_pool_connections = _POOL
        connect_timeout_seconds = 2
        read_timeout_seconds = 8  # pynamodb's 30 s outlive API Gateway's patience
        max_retry_attempts = 5

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    expires = NumberAttribute(null=True)

    @classmethod
    def _get_connection(cls) -> TableConnection:
        if cls is not Row:
            return Row._get_connection()
        before = cls._connection
        connection = super()._get_connection()
        if connection is not before:
            events = connection.connection.client.meta.events
            for read in ("GetItem", "Query", "BatchGetItem"):
                events.register(f"before-parse.dynamodb.{read}", read_plainly, unique_id=read)
        return connection

    @classmethod
    def find(cls: type[R], pk: str, sk: str = "#") -> R | None:
        """The row as it is now (a consistent read), or None."""
        try:
            return cls.get(pk, sk, consistent_read=True)
        except cls.DoesNotExist:
            return None


class VersionRow(Row):
    """A version. `fields` are VersionFields; `files` are the packed files that fit inline, by path."""

    status = UnicodeAttribute()  # uploading, ready, deleting, gone
    user_id = UnicodeAttribute()
    model_id = UnicodeAttribute()
    version = UnicodeAttribute()
    upload_id = UnicodeAttribute()
    prefix = UnicodeAttribute()
    created = UnicodeAttribute(null=True)
    updated = UnicodeAttribute(null=True)
    rev = NumberAttribute(default=0)
    active = BooleanAttribute(default=True)
    fields: Any = JsonAttribute(null=True)
    files: Any = JsonAttribute(null=True)
    file_count = NumberAttribute(default=0)
    total_size = NumberAttribute(default=0)
    primary = UnicodeAttribute(null=True)


class ModelRow(Row):
    """The highest N of all versions vN that were ever reserved."""

    highest = NumberAttribute(default=0)


class ManifestRow(Row):
    """Packed files of a version, by path."""

    files: Any = JsonAttribute()


class PostingRow(Row):
    """A version's term; `rev` is the version's revision that wrote it, `token` tells one writing from another."""

    upload_id = UnicodeAttribute()
    rev = NumberAttribute(default=0)
    token = UnicodeAttribute(null=True)


class DigestRow(Row):
    """Where bytes with this digest lie."""

    key = UnicodeAttribute()
    etag = UnicodeAttribute()
    size = NumberAttribute()
    crc32 = NumberAttribute(null=True)
    model_id = UnicodeAttribute()
    version = UnicodeAttribute()


class UploadRow(Row):
    """One attempt to make a version; who may work on it (`lease_until`, `fence`) and how often it was woken."""

    upload_id = UnicodeAttribute()
    user_id = UnicodeAttribute()
    model_id = UnicodeAttribute()
    version = UnicodeAttribute()
    principal = UnicodeAttribute()
    kind = UnicodeAttribute()  # form, folder, archive, files
    status = UnicodeAttribute()
    code = UnicodeAttribute(null=True)
    detail = UnicodeAttribute(null=True)
    prefix = UnicodeAttribute()
    fields: Any = JsonAttribute()
    primary = UnicodeAttribute(null=True)
    archive: Any = JsonAttribute(null=True)
    created = UnicodeAttribute()
    expires_at = NumberAttribute()
    wake = NumberAttribute(default=0)
    lease_until = NumberAttribute(default=0)
    fence = NumberAttribute(default=0)
    hops = NumberAttribute(default=0)
    file_count = NumberAttribute(default=0)
    bytes_total = NumberAttribute(default=0)
    rows = NumberAttribute(default=0)  # how many rows of files it has,
    row_set = NumberSetAttribute(null=True)  # which ones,
    next_row = NumberAttribute(default=0)  # and the next number that nobody has used
    source_rows = NumberSetAttribute(null=True)  # rows with files that are to be copied from versions that have them
    complete = BooleanAttribute(default=False)
    due = UnicodeAttribute(null=True)


class SpecRow(Row):
    """Up to 100 files as a client announced them."""

    files: Any = JsonAttribute()


class ResultRow(Row):
    """What became of them: `done` by the file's number (JSON text), `multiparts` likewise (S3's upload ids)."""

    done: Any = MapAttribute(default=dict)  # type: ignore[no-untyped-call]
    multiparts: Any = MapAttribute(default=dict)  # type: ignore[no-untyped-call]


class MemberRow(Row):
    """How far a member of an archive (`etag`) is that one function does not live long enough for: its `multipart`, the
    CRC-32s of the parts that count, and the decoder's or the hash's state. Only who has `fence` of `share` writes."""

    share = NumberAttribute(default=0)
    fence = NumberAttribute(default=0)
    etag = UnicodeAttribute(null=True)
    key = UnicodeAttribute(null=True)
    multipart = UnicodeAttribute(null=True)
    crcs = UnicodeAttribute(null=True)  # base64 of 4 bytes a part: 10,000 are 53 KB, beside a state of 45 KB
    state = UnicodeAttribute(null=True)


class ShareRow(Row):
    """A share of an archive that several functions unpack: who may work on it, as an UploadRow says it."""

    lease_until = NumberAttribute(default=0)
    fence = NumberAttribute(default=0)
    hops = NumberAttribute(default=0)
    done = BooleanAttribute(default=False)


class ProgressRow(Row):
    """How far an upload is, by its rows: bytes that are stored, rows that are done."""

    stored: Any = MapAttribute(default=dict)  # type: ignore[no-untyped-call]
    done = NumberSetAttribute(null=True)


class GrantRow(Row):
    """What somebody may do in a user's namespace: `roles` by model id, or ALL_MODELS."""

    roles: Any = TextsAttribute(default=dict)


class OpenRow(Row):
    """An open upload, under its user."""


class IdempotencyRow(Row):
    """The upload that an Idempotency-Key started, and what was asked then."""

    upload_id = UnicodeAttribute()
    request = UnicodeAttribute()


class ArchiveRow(Row):
    """Who builds a version's ZIP, and until when nobody else does; the multipart upload it is assembled in, of which
    plan, how much was `done` when a builder last ran out of time, and how often none did any since."""

    lease_until = NumberAttribute(default=0)
    fence = NumberAttribute(default=0)
    multipart = UnicodeAttribute(null=True)
    plan = UnicodeAttribute(null=True)
    done = NumberAttribute(default=0)
    hops = NumberAttribute(default=0)


class TokenRow(Row):
    """A registry token, by its hash: whose it is, what it allows, and when (seconds since 1970) it was made and, to the
    hour, last used. It ends at `expires`."""

    token_id = UnicodeAttribute()
    user_id = UnicodeAttribute()
    name = UnicodeAttribute()
    scope = UnicodeAttribute()  # read, write
    models = UnicodeAttribute(null=True)
    created = NumberAttribute()
    last_used = NumberAttribute(null=True)


class TokenPlaceRow(Row):
    """A place that a token of the user's has, until it is revoked or `expires`: the key of its TokenRow. As a place is
    taken by a condition, nobody has more tokens than places, however many are made at once."""

    token_id = UnicodeAttribute()
    token_pk = UnicodeAttribute()


class WorkRow(Row):
    """Something unfinished. `kind`: upload (look at it), delete (finish it), purge (delete
    once more what lies there), archive (drop a ZIP that was built for download). `for_good`: a delete that takes the
    objects' earlier versions too."""

    kind = UnicodeAttribute()
    upload_id = UnicodeAttribute()
    user_id = UnicodeAttribute()
    model_id = UnicodeAttribute()
    version = UnicodeAttribute()
    prefix = UnicodeAttribute()
    for_good = BooleanAttribute(null=True)


class CheckRow(Row):
    """Where the next run of `verify_files` goes on (`verifying.Place`)."""

    place: Any = JsonAttribute()


def create_table() -> None:
    """Makes the table where the template did not: locally and in tests. Does nothing if it is there."""
    if not Row.exists():
        Row.create_table(wait=True, billing_mode="PAY_PER_REQUEST")


def reset_connection() -> None:
    """Forgets the connection, for tests that change servers."""
    Row._connection = None
