"""How the benchmarks' results become a page: what is missed must show, and what no run can have given is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as bench
from benchmarks import content, rendering, results
from benchmarks.results import InsaneError, Result


@pytest.fixture
def result() -> Result:
    made = Result("Things, on Store", notes=["Why."], versions={"thing": "1.2"})
    made.table("Times", ["", "s"], [["Modelkeep", 0.51234], ["a|b", 123.4]])
    made.chart("things", "Things", "s", {"Modelkeep": 0.5, "other": 123.4})
    return made


def page(*found: Result) -> str:
    facts, left_out = ["a quiet machine"], ["MinIO"]
    return rendering.render([json.loads(json.dumps(vars(each))) for each in found], facts=facts, left_out=left_out)


def test_a_page_has_the_tables_charts_and_versions_and_says_what_was_left_out(result: Result) -> None:
    text = page(result)
    assert "| Modelkeep | 0.512 |" in text
    assert "| a\\|b | 123 |" in text
    assert "| :-- | --: |" in text
    assert "![Things, s](charts/things.png)" in text
    assert "| thing | 1.2 |" in text
    assert "- Left out: MinIO" in text


def test_a_missed_goal_says_by_how_much_and_is_counted(result: Result) -> None:
    result.goal("≥ 3 x", 2.4, 3.0, " x", at_least=True)
    result.goal("≤ 6 s", 4.5, 6.0, " s")
    result.goal("0 bytes", 7, 0, " bytes")
    text = page(result)
    assert "1 of 3 are met." in text
    assert "| ≥ 3 x | 2.40 x (missed by 20%) | **no** |" in text
    assert "| ≤ 6 s | 4.50 s | yes |" in text
    assert "| 0 bytes | 7 bytes (missed) | **no** |" in text


@pytest.mark.parametrize(
    "break_it",
    [
        lambda result: result.tables.clear(),
        lambda result: result.tables[0]["rows"].clear(),
        lambda result: result.tables[0]["rows"][0].append("too many"),
        lambda result: result.tables[0]["rows"][0].__setitem__(1, "nan"),
        lambda result: result.charts[0]["bars"].__setitem__("other", 0.0),
        lambda result: result.charts[0]["bars"].__setitem__("other", float("inf")),
        lambda result: result.goals.append({"goal": "g", "reached": "", "met": True}),
    ],
)
def test_a_result_without_sane_figures_is_refused_and_not_written(
    result: Result, break_it: Any, tmp_path: Path
) -> None:
    break_it(result)
    with pytest.raises(InsaneError, match="Things, on Store"):
        result.write(tmp_path / "result.json")
    assert not (tmp_path / "result.json").exists()


def test_a_ratio_is_the_median_of_the_rounds_so_that_a_slow_one_does_not_count() -> None:
    assert results.median_ratio([4.0, 40.0, 4.2], [2.0, 20.0, 1.0]) == 2.0


@pytest.mark.parametrize(("text", "size"), [("3GB", 3_000_000_000), ("500MB", 500_000_000), ("64", 64_000_000)])
def test_sizes_are_read(text: str, size: int) -> None:
    assert results.megabytes(text) == size


def test_every_benchmark_runs_once_on_each_store_and_less_on_the_second() -> None:
    planned = [(each.module, options[1], options[3:4]) for each, options in bench.plan("full", ["a", "b"])]
    assert ("ingest", "full", ["a"]) in planned
    assert ("ingest", "small", ["b"]) in planned
    assert len([each for each in planned if each[0] == "metadata"]) == 1


def test_a_benchmark_that_fails_fails_the_run_by_its_name() -> None:
    with pytest.raises(SystemExit, match="no_such_benchmark"):
        bench.run(bench.Benchmark("no_such_benchmark", on_stores=False), [])


@pytest.mark.parametrize("deflated", [True, False])
def test_archives_to_measure_with_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, deflated: bool) -> None:
    monkeypatch.setattr(content, "_PIECE", 300_000)  # of which a member has no whole number
    path = content.write_archive(tmp_path / "a.zip", size=6_000_000, members=3, deflated=deflated)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert [info.file_size for info in archive.infolist()] == [2_000_000] * 3
        pressed = sum(info.compress_size for info in archive.infolist()) / 6_000_000
    assert 0.8 < pressed < 0.95 if deflated else pressed == 1


def test_charts_are_drawn(result: Result, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="it is in .venv-bench; `make bench SIZES=tiny` draws too")
    assert rendering.draw(result.charts[0], tmp_path).read_bytes().startswith(b"\x89PNG")
