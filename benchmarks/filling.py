"""Tables with many versions, for `metadata.py`: what publishing leaves, made without publishing.

DynamoDB Local takes some milliseconds a row, which for millions of rows are hours. So they go into its SQLite file, by
its own layout: a test (tests/integration/test_filling.py) publishes a version and holds each row of it, and each column
that DynamoDB Local made of it, against what is written here.

The versions are those of no real registry: names and descriptions of words whose frequency falls as 1 / rank (some
hundred that people use, and a long tail that grows as versions come), models of which few have many versions and many
have few, one to three files. They are a function of how many versions came after, so that the newest ones of each user
are alike, however many there are before them.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from registry import records, search
from registry.catalog import publishing, reading
from registry.files import StoredFile
from registry.records import DigestRow, ModelRow, Row, UploadRow, VersionRow

# By frequency: the first is in most versions.
WORDS = """
model image text transformer classification detection language vision speech segmentation large base small training
learning deep network neural encoder decoder attention tuned pretrained multilingual english german french chinese
japanese spanish recognition generation translation summarization embedding sentence document question answering
sentiment analysis entity object pose face face2 depth video audio music voice medical clinical legal financial
fraud churn demand forecast price anomaly sensor satellite street product review ranking recommendation retrieval
search query click user session graph node edge molecule protein drug gene cell xray tumor brain heart retina skin
lung bert roberta distilbert albert electra deberta gpt llama mistral qwen gemma phi falcon bloom mamba vit resnet
efficientnet mobilenet convnext swin yolo detr unet diffusion whisper wav2vec hubert clip blip siglip lora adapter
quantized int8 int4 fp16 bf16 gguf onnx pruned distilled teacher student ensemble xgboost lightgbm catboost forest
tree linear logistic ridge lasso kmeans dbscan isolation autoencoder gan vae reinforcement policy reward agent robot
grasp driving lane traffic pedestrian weather climate energy load grid battery crop yield soil water forest2 fire
flood quake news tweet chat support ticket email spam toxic safety moderation policy2 contract invoice receipt table
layout ocr handwriting signature plate barcode defect surface weld steel fabric paper pcb wafer chip yield2
maintenance pump turbine engine bearing vibration
""".split()  # noqa: SIM905 - as a list it would be four pages
_SYLLABLES = [a + b for a in [*"bcdfgklmnprstvwz", "br", "cr", "dr", "pr", "st", "tr", "pl"] for b in "aeiou"]
_TAIL = 20_000  # words that nobody uses often
_MODELS = 10_000
_FRAMEWORKS = ["pytorch"] * 8 + ["huggingface"] * 5 + ["onnx"] * 3 + ["tensorflow"] * 2 + ["sklearn", "keras"]
_TYPES = ["nlp"] * 8 + ["computer_vision"] * 6 + ["classification"] * 4 + ["regression", "time_series"]
_TAGS = ["prod"] * 6 + ["eu", "us"] * 3 + ["experiment"] * 2 + ["team-a", "team-b", "team-c", "gpu", "cpu", "draft"]
_SUFFIX = {"pytorch": "pt", "onnx": "onnx", "tensorflow": "pb", "sklearn": "pkl", "keras": "h5"}
_NEWEST = 1_790_000_000  # seconds since 1970, when the newest version of all was published
DATABASE = "dynamodb/shared-local-instance.db"  # in a data folder of `make run`
_ROWS_AT_ONCE = 50_000
_TOKEN = "0" * 12
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
COLUMNS = "hashKey, rangeKey, hashValue, rangeValue, itemSize, ObjectJSON"
SqliteRow = tuple[bytes, bytes, bytes, bytes, int, bytes]


def _vocabulary() -> list[str]:
    choose = random.Random(1)
    words, known = list(WORDS), set(WORDS)
    while len(words) < len(WORDS) + _TAIL:
        # Half of them begin as words that people use do: a prefix is shared by ever more words.
        stem = choose.choice(WORDS)[: choose.randint(2, 5)] if choose.random() < 0.5 else ""
        word = stem + "".join(choose.choices(_SYLLABLES, k=choose.randint(1, 3)))
        if word not in known:
            known.add(word)
            words.append(word)
    return words


_VOCABULARY = _vocabulary()
_CUMULATED = list(itertools.accumulate(1 / rank for rank in range(1, len(_VOCABULARY) + 1)))


def choose_words(choose: random.Random, count: int) -> list[str]:
    """Words of names and descriptions, by their frequency."""
    return [_VOCABULARY[bisect.bisect(_CUMULATED, choose.random() * _CUMULATED[-1])] for _ in range(count)]


def make_upload(user_id: str, place: int, numbers: dict[str, int]) -> tuple[UploadRow, list[StoredFile]]:
    """The version after which `place` others came, as an upload that is about to be published, and its files. `numbers`
    counts the versions of each model."""
    choose = random.Random(place)
    rank = int(_MODELS ** choose.random())
    of_model = random.Random(-rank)
    title = choose_words(of_model, 2)
    model_id = f"{'-'.join(title)}-{rank}"
    framework = of_model.choice(_FRAMEWORKS)
    numbers[model_id] = number = numbers.get(model_id, 0) + 1
    version, upload_id = f"v{number}", hashlib.md5(f"{user_id}{place}".encode()).hexdigest()
    fields = {
        "name": " ".join([*title, *choose_words(choose, 1)]).capitalize(),
        "description": " ".join(choose_words(choose, 9)).capitalize() + ".",
        "framework": framework,
        "model_type": of_model.choice(_TYPES),
        "algorithm": title[0],
        "tags": sorted(set(choose.sample(_TAGS, choose.randint(1, 4)))),
        "training_accuracy": round(choose.uniform(0.7, 1), 4),
        "validation_accuracy": round(choose.uniform(0.6, 0.95), 4),
        "num_parameters": choose.randint(1, 8_000) * 1_000_000,
        "training_dataset": f"s3://warehouse/datasets/{title[1]}/{choose.randint(1, 40)}",
        "custom_metadata": {"run": upload_id[:12], "seed": choose.randint(0, 9_999), "git": upload_id[12:]},
    }
    names = [f"model.{_SUFFIX.get(framework, 'safetensors')}", "config.json", "README.md"][: choose.randint(1, 3)]
    stored = []
    for name in sorted(names):  # as publishing sorts them
        digest = hashlib.sha256(f"{upload_id}{name}".encode()).hexdigest()
        stored.append(StoredFile(name, choose.randint(1_000, 10**9), digest, f'"{digest[:32]}"', int(digest[:7], 16)))
    upload = UploadRow(
        f"A#{upload_id}",
        "#",
        upload_id=upload_id,
        user_id=user_id,
        model_id=model_id,
        version=version,
        prefix=f"models/{user_id}/{model_id}/{version}/",
        fields=fields,
    )
    return upload, stored


def fill(database: Path, sizes: dict[str, int]) -> int:
    """Puts so many versions of each user into a table that is there, in a file that no server has open; the number of
    rows."""
    connection = sqlite3.connect(database, isolation_level=None)
    table = records.Row.Meta.table_name
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000", "temp_store=FILE"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(f"CREATE TEMP TABLE filling ({COLUMNS})")
    rows = itertools.chain.from_iterable(rows_of_user(user_id, range(size)) for user_id, size in sizes.items())
    count = 0
    for batch in _batches(rows):
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO filling VALUES (?, ?, ?, ?, ?, ?)", batch)
        connection.execute("COMMIT")
        count += len(batch)
    # In the order of the keys, and with the index made at the end: thirty times as fast as in the order that they came.
    connection.execute(f'DROP INDEX "{table}*HVI"')
    connection.execute("BEGIN")
    connection.execute(f'INSERT INTO "{table}" ({COLUMNS}) SELECT {COLUMNS} FROM filling ORDER BY hashKey, rangeKey')
    connection.execute(f'CREATE INDEX "{table}*HVI" ON "{table}" (hashValue)')
    connection.execute("COMMIT")
    connection.close()
    return count


def created_at(place: int) -> str:
    """When that version was published."""
    return records.time_text(_NEWEST - 60 * place, place % 1_000_000)


def rows_of_user(
    user_id: str, places: range, *, created: Callable[[int], str | None] = created_at
) -> Iterator[SqliteRow]:
    """All rows that publishing those versions, the last one first, leaves; less the uploads' own, which expire within
    days."""
    numbers: dict[str, int] = {}
    newest: dict[str, VersionRow] = {}
    for place in reversed(places):
        upload, stored = make_upload(user_id, place, numbers)
        row = publishing._version_row(upload, stored, None)
        row.created = row.updated = created(place)
        terms = search.version_terms(row.model_id, reading.fields_of(row))
        yield from rows_of_version(row, stored, terms)
        newest[row.model_id] = row
    for row in newest.values():
        yield from _postings(row, [search.LATEST])
    for model_id, number in numbers.items():
        yield sqlite_row(ModelRow(f"M#{user_id}#{model_id}", "#", highest=number))


def rows_of_version(row: VersionRow, stored: Iterable[StoredFile], terms: Iterable[str]) -> Iterator[SqliteRow]:
    """The rows of one version: its own, its postings, its digests."""
    yield sqlite_row(row)
    yield from _postings(row, terms)
    for file in stored:
        digest = DigestRow(
            records.digest_pk(row.user_id, file.sha256),
            row.upload_id,
            key=row.prefix + file.path,
            etag=file.etag,
            size=file.size,
            crc32=file.crc32,
            model_id=row.model_id,
            version=row.version,
        )
        yield sqlite_row(digest)


def _postings(row: VersionRow, terms: Iterable[str]) -> Iterator[SqliteRow]:
    """As `search.make_postings` and `sqlite_row` make them, at a tenth of the time: nine rows of ten are postings."""
    sk = search.posting_sk(row.created or "", row.model_id, row.version)
    rest = {"upload_id": {"S": row.upload_id}, "rev": {"N": "0"}, "token": {"S": _TOKEN}}
    head, tail = f'{{"sk":{{"S":"{sk}"}},"pk":{{"S":', "}," + _to_json(rest)[1:]
    size, key = len(sk) + len(row.upload_id) + len(_TOKEN) + len("pkskupload_idtokenrev") + 1, sk.encode()
    hashed = _hash(key)
    for term in terms:
        text = search.posting_pk(row.user_id, term)
        pk = text.encode()
        yield pk, key, _hash(pk), hashed, size + len(pk), (head + _to_json(text) + tail).encode()


def sqlite_row(row: Row) -> SqliteRow:
    """A row as DynamoDB Local 3.1 keeps it."""
    item = row.serialize(null_check=True)  # type: ignore[no-untyped-call]
    pk, sk = item["pk"]["S"].encode(), item["sk"]["S"].encode()
    size = sum(len(name) + _size(*next(iter(value.items()))) for name, value in item.items())
    return pk, sk, _hash(pk), _hash(sk), size, _to_json(item).encode()


def _hash(key: bytes) -> bytes:
    return hashlib.sha1(b"LocalDdb" + key).digest()  # the salt is its own


def _size(kind: str, value: Any) -> int:
    """What DynamoDB counts a value as."""
    if kind == "N":
        digits = value.lstrip("-").replace(".", "").strip("0")
        return 1 if not digits else (len(digits) + 1) // 2 + 1
    return len(value.encode()) if kind == "S" else 1


def _batches(rows: Iterable[SqliteRow]) -> Iterator[list[SqliteRow]]:
    walk = iter(rows)
    while batch := list(itertools.islice(walk, _ROWS_AT_ONCE)):
        yield batch
