"""What `benchmarks/filling.py` puts into a table is what publishing leaves there, column by column."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from benchmarks import filling, metadata
from local.servers import TABLE, Stack

Columns = tuple[bytes, bytes, int]


def columns_of(database: Path, user_id: str) -> dict[tuple[bytes, bytes], tuple[Columns, dict[str, Any]]]:
    """A user's rows as DynamoDB Local keeps them, by their keys: hashes and size, and the row."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    found = {}
    for pk, sk, hash_pk, hash_sk, size, text in connection.execute(f'SELECT {filling.COLUMNS} FROM "{TABLE}"'):
        if f"#{user_id}".encode() in pk:
            found[pk, sk] = (hash_pk, hash_sk, size), json.loads(text)
    connection.close()
    return found


def places_of_a_model_with_two_versions(user_id: str) -> range:
    """So that the newer one supersedes the other."""
    for count in range(1, 100):
        numbers: dict[str, int] = {}
        for place in range(count):
            filling.make_upload(user_id, place, numbers)
        if max(numbers.values()) > 1:
            return range(count)
    raise AssertionError


def test_rows_that_are_filled_in_are_those_of_a_real_publish(on_servers: Stack, user_id: str) -> None:
    places, numbers, created = places_of_a_model_with_two_versions(user_id), dict[str, int](), {}
    for place in reversed(places):
        row = metadata.publish(*filling.make_upload(user_id, place, numbers))
        created[place] = row.created
    real = columns_of(on_servers.data.path / filling.DATABASE, user_id)
    filled = {}
    for pk, sk, hash_pk, hash_sk, size, text in filling.rows_of_user(user_id, places, created=created.__getitem__):
        filled[pk, sk] = (hash_pk, hash_sk, size), json.loads(text)
    assert filled.keys() == real.keys()
    for key, (columns, row) in filled.items():
        real_columns, real_row = real[key]
        if "token" in row:  # by chance, but always as long
            assert len(row["token"]["S"]) == len(real_row["token"]["S"])
            row["token"] = real_row["token"]
        assert row == real_row
        assert columns[:2] == real_columns[:2], key
        assert abs(columns[2] - real_columns[2]) <= 3, "DynamoDB Local has numbers of its own size"
