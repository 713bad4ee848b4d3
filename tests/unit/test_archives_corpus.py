"""Real archives of other projects, each with the verdict it deserves (../shared/archives)."""

import hashlib
import json
from pathlib import Path

import pytest
from registry.errors import ArchiveError

from tests.unit.zip_builder import unpack

CORPUS = Path(__file__).parents[3] / "shared" / "archives"

CODES = {
    "absolute_path": {"archive_absolute_path"},
    "bad_crc": {"archive_bad_crc"},
    "bomb": {"archive_bomb"},
    "corrupt_structure": {"archive_malformed", "archive_stray_bytes", "archive_bad_deflate"},
    "duplicate": {"archive_duplicate"},
    "encrypted": {"archive_encrypted"},
    "file_dir_conflict": {"archive_file_dir_conflict"},
    "header_mismatch": {"archive_header_mismatch"},
    "multi_disk": {"archive_multi_disk"},
    "name_too_long": {"archive_name_too_long"},
    "not_a_zip": {"archive_not_a_zip"},
    "overlapping": {"archive_overlap"},
    "size_mismatch": {"archive_size_mismatch"},
    "symlink": {"archive_symlink"},
    "traversal": {"archive_traversal"},
    "truncated": {"archive_truncated"},
    "unsupported_method": {"archive_unsupported_method"},
}
# What tools differ about and this registry takes; all other EITHER archives are refused.
TAKEN = {"safearchive__specialmodes.zip", "warehouse__non_ascii_original_name.zip"}

EXPECTED = json.loads((CORPUS / "expected.json").read_text()) if CORPUS.is_dir() else {}
if not EXPECTED:
    pytest.skip(f"the corpus is not at {CORPUS}", allow_module_level=True)


def names_with(verdict: str) -> list[str]:
    return sorted(name for name, entry in EXPECTED.items() if entry["verdict"] == verdict)


def digests(name: str) -> list[tuple[str, int, str]]:
    files = unpack((CORPUS / "zips" / name).read_bytes())
    return sorted((path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items())


def triples(files: list[dict[str, object]]) -> list[tuple[str, int, str]]:
    return sorted((file["path"], file["size"], file["sha256"]) for file in files)  # type: ignore[misc]


@pytest.mark.case("Z24")
@pytest.mark.parametrize("name", names_with("ACCEPT"))
def test_a_sound_archive_gives_exactly_its_files(name: str) -> None:
    assert digests(name) == triples(EXPECTED[name]["files"])


@pytest.mark.case("Z1", "Z4", "Z6", "Z8", "Z12", "Z13", "Z15", "Z16", "Z18", "Z19", "Z21", "Z23")
@pytest.mark.parametrize("name", names_with("REJECT"))
def test_a_hostile_archive_is_refused_for_the_right_reason(name: str) -> None:
    with pytest.raises(ArchiveError) as refused:
        digests(name)
    assert refused.value.code in set().union(*(CODES[reason] for reason in EXPECTED[name]["reasons"]))
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 500


@pytest.mark.parametrize("name", names_with("EITHER"))
def test_a_doubtful_archive_is_refused_or_gives_exactly_its_content(name: str) -> None:
    if name not in TAKEN:
        with pytest.raises(ArchiveError) as refused:
            digests(name)
        assert refused.value.code != ArchiveError.code
        return
    by_content = slice(1, None) if EXPECTED[name]["name_rule"] == "content_only" else slice(None)
    wanted = triples(EXPECTED[name]["if_accepted"])
    assert [file[by_content] for file in digests(name)] == [file[by_content] for file in wanted]
