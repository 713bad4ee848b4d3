"""Real archives of other projects, each with the verdict it deserves (../shared/archives), through the whole upload:
what is accepted has exactly its files, what is refused leaves nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.functional.kit import Api, multiparts, objects, ok, read_object, refused

CORPUS = Path(__file__).parents[3] / "shared" / "archives"
EXPECTED: dict[str, Any] = json.loads((CORPUS / "expected.json").read_text()) if CORPUS.is_dir() else {}
if not EXPECTED:
    pytest.skip(f"the corpus is not at {CORPUS}", allow_module_level=True)


@pytest.mark.case("Z24")
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_archive_gets_its_verdict(api: Api, name: str) -> None:
    entry = EXPECTED[name]
    answer = api.folder((CORPUS / "zips" / name).read_bytes())
    if answer.status == 200:
        assert entry["verdict"] != "REJECT"
        wanted = entry["files"] if entry["verdict"] == "ACCEPT" else entry["if_accepted"]
        shown = answer.body["files"]
        assert triples(shown, "file_size", "file_hash") == triples(wanted, "size", "sha256")
        if entry.get("name_rule") != "content_only":
            assert sorted(file["filename"] for file in shown) == sorted(file["path"] for file in wanted)
        for file in shown:
            assert hashlib.sha256(read_object(file["file_path"])).hexdigest() == file["file_hash"]
        assert set(objects("models/")) == {file["file_path"] for file in shown}
    else:
        assert entry["verdict"] != "ACCEPT", answer.body
        assert refused(answer, 400)
        assert objects() == {}
        assert multiparts() == []
        refused(api.get(), 404)
        assert ok(api.list()) == []


def triples(files: list[dict[str, Any]], size: str, digest: str) -> list[tuple[int, str]]:
    return sorted((file[size], file[digest]) for file in files)
