"""The files of a version in the store become one ZIP in the store: what a download of the whole version waits for.

Usual is to stream: each file is got, zipstream-ng makes a stored ZIP of them, `upload_fileobj` sends it in parts. Each
works in a process of its own on the same store, in rounds that take turns. The first round is not counted; in it ours
also finds out the CRC-32s of files that were sent directly, once for all.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass

from benchmarks import content, registering, results, stores, workers
from benchmarks.results import OURS, Result
from benchmarks.stores import USER, Store
from benchmarks.workers import Usage
from local.servers import BUCKET

_MIB = 1024 * 1024
_PEER = "zipstream-ng"
_BORROWED_MB = 5.5  # what lies between two copied parts has 5 MiB at least


@dataclass(frozen=True)
class Case:
    """One version."""

    name: str
    files: int
    file_bytes: int
    limit: float | None  # of the version's bytes, that may pass through the function; None: so much a file

    @property
    def size(self) -> int:
        """In all."""
        return self.files * self.file_bytes


def cases(sizes: str) -> list[Case]:
    """The versions of a run. What a large file costs is the same whatever its size: the goal of 1 % is set for files of
    1 GB, and held here against files of 100 MB."""
    large, count = {"tiny": (8_000_000, 12), "small": (25_000_000, 20), "full": (100_000_000, 40)}[sizes]
    return [
        Case(f"10 files of {large / 1e6:.0f} MB", 10, large, 0.01 if sizes == "full" else None),
        Case(f"{count} files of 5 MiB", count, 5 * _MIB, 0.15),
    ]


def measure_case(case: Case, store: Store, rounds: int) -> dict[str, list[Usage]]:
    """What each took, round by round; the first of ours knows no CRC-32 yet."""
    from registry import naming

    path = content.write_file(store.folder / "file.bin", case.file_bytes)
    store.put(path, "bench/file")
    paths = [f"weights/{number:05d}.bin" for number in range(case.files)]
    model = f"model-{case.file_bytes}"
    upload = registering.make_version(store, model, dict.fromkeys(paths, "bench/file"))
    key = naming.archive_key(USER, model, "v1", upload.upload_id)
    seen: dict[str, list[Usage]] = {OURS: [], _PEER: []}
    for round_number in range(rounds + 1):
        for name, runs in seen.items():
            made = key if name == OURS else "bench/archive.zip"
            if name == OURS:
                usage = store.run("registering:build_archive", {"model": model})
            else:
                more = {"bucket": BUCKET, "prefix": upload.prefix, "paths": paths, "key": made}
                usage = store.run("archive_peers:zipstream_ng", more)
            _check(store, made, case, whole=round_number == 0)
            store.s3.delete_object(Bucket=BUCKET, Key=made)
            runs.append(usage)
    return seen


def _check(store: Store, key: str, case: Case, *, whole: bool) -> None:
    size = store.s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"]
    if not case.size < size < case.size + 1_000 * case.files:
        raise SystemExit(f"{key} has {size} bytes: it is no ZIP of {case}")
    if not whole:
        return
    path = store.folder / "made.zip"
    store.s3.download_file(BUCKET, key, str(path))
    with zipfile.ZipFile(path) as opened:
        if len(opened.infolist()) != case.files or opened.testzip() is not None:
            raise SystemExit(f"{key} is a damaged ZIP")
    path.unlink()


def report(result: Result, case: Case, seen: dict[str, list[Usage]], store: str) -> None:
    """The case's table, chart and goals."""
    counted = {name: runs[1:] for name, runs in seen.items()}
    rows = []
    for name, runs in counted.items():
        usage = workers.median(runs)
        times = results.median_ratio([each.wall for each in runs], [each.wall for each in counted[OURS]])
        rows.append(_row(name, usage, case, f"{times:.2f}", max(each.mb for each in runs)))
    first = seen[OURS][0]
    rows.append(_row(f"{OURS}, the first time (one run)", first, case, "", first.mb))
    columns = [
        "",
        "s",
        "MB/s",
        "x our time",
        "CPU s/GB",
        "store's CPU s/GB",
        "MB above idle",
        "got / size",
        "sent / size",
    ]
    result.table(f"A version of {case.name}", columns, rows)
    ours = workers.median(counted[OURS])
    through = max(ours.down, ours.up)
    if case.limit is None:
        goal = f"{case.name}: ≤ {_BORROWED_MB} MB of each through the function, whatever its size"
        result.goal(goal, through / 1e6 / case.files, _BORROWED_MB, " MB")
    else:
        goal = f"{case.name}: ≤ {case.limit:.0%} of the bytes through the function"
        result.goal(goal, 100 * through / case.size, 100 * case.limit, " %")
    usages = {name: workers.median(runs) for name, runs in counted.items()}
    slug = "many" if case.file_bytes == 5 * _MIB else "large"
    bars = {name: usage.wall for name, usage in usages.items()}
    result.chart(f"archive-{slug}-{store}", f"{case.name} to one ZIP", "seconds, less is better", bars)
    shares = {name: 100 * (usage.down + usage.up) / case.size for name, usage in usages.items()}
    title, unit = f"{case.name} to one ZIP: bytes got and sent by the function", "% of the size, less is better"
    result.chart(f"archive-bytes-{slug}-{store}", title, unit, shares)


def _row(name: str, usage: Usage, case: Case, times: str, mb: float) -> list[str]:
    return [
        name,
        f"{usage.wall:.2f}",
        f"{case.size / 1e6 / usage.wall:.0f}",
        times,
        f"{usage.cpu / case.size * 1e9:.2f}",
        f"{usage.store / case.size * 1e9:.2f}",
        f"{mb:.0f}",
        f"{usage.down / case.size:.2%}",
        f"{usage.up / case.size:.2%}",
    ]


def main() -> None:
    """Measures and writes the result."""
    parser = results.arguments(__doc__)
    parser.add_argument("--store", default="seaweedfs", help="seaweedfs or minio (%(default)s)")
    parser.add_argument("--rounds", type=int, help="of each, beside the one that is not counted")
    chosen = parser.parse_args()
    rounds = chosen.rounds or (1 if chosen.sizes == "tiny" else 5)
    versions = stores.versions(chosen.store, "zipstream-ng", "boto3")
    result = Result(f"Files to a ZIP, on {stores.TITLES[chosen.store]}", versions=versions)
    result.notes += results.notes_of(__doc__)
    result.notes.append(
        f"Medians of {rounds} rounds; ratios are the medians of each round's. CPU is that of the process that does the "
        "work, memory its largest beyond what it had before it began; got and sent is what it moved from and to the "
        "store."
    )
    for together in stores.grouped(cases(chosen.sizes), chosen.sizes):
        with stores.running(chosen.store) as store:
            for case in together:
                report(result, case, measure_case(case, store, rounds), chosen.store)
    result.write(chosen.json)


if __name__ == "__main__":
    main()
