"""A ZIP in the store becomes files in the store: the registry's unpacking against what is usual.

Usual is: `download_file`, `extractall`, a digest of each file, `upload_file`; or `zipfile` over smart_open, which needs
no disk. Each works in a process of its own on the same store, in rounds that take turns; the first is not counted.
Ours also checks the archive as a hostile one, holds each member against its CRC-32, and publishes the version.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks import content, registering, results, stores, workers
from benchmarks.results import OURS, Result
from benchmarks.stores import USER, Store
from benchmarks.workers import Usage
from local.servers import BUCKET

_NAIVE, _POOLED, _SMART_OPEN = "download, extract, upload", "the same, 8 uploads at once", "zipfile + smart_open"
_SMALL_BYTES = 8_000


@dataclass(frozen=True)
class Case:
    """One archive."""

    name: str
    size: int
    members: int
    deflated: bool

    @property
    def small(self) -> bool:
        """Requests count here, not bytes."""
        return self.members >= 100

    @property
    def slug(self) -> str:
        """For names."""
        return "small" if self.small else "deflated" if self.deflated else "stored"

    def write(self, path: Path) -> Path:
        """Makes it."""
        return content.write_archive(path, size=self.size, members=self.members, deflated=self.deflated)

    def contenders(self) -> list[str]:
        """Who takes turns: for many members also the usual way with uploads side by side."""
        return [OURS, _NAIVE, _SMART_OPEN] if not self.small else [OURS, _NAIVE, _POOLED, _SMART_OPEN]


def cases(sizes: str, size: int | None, files: int | None) -> list[Case]:
    """The archives of a run."""
    size = size or {"tiny": 32_000_000, "small": 64_000_000, "full": 192_000_000}[sizes]
    small = files or {"tiny": 100, "small": 100, "full": 500}[sizes]
    return [
        Case(f"deflated weights, {size / 1e6:.0f} MB in 4 files", size, 4, deflated=True),
        Case(f"stored weights, {size / 1e6:.0f} MB in 4 files", size, 4, deflated=False),
        Case(f"{small:,} files of {_SMALL_BYTES // 1_000} kB, deflated", small * _SMALL_BYTES, small, deflated=True),
    ]


def measure_case(case: Case, store: Store, rounds: int) -> tuple[dict[str, list[Usage]], Usage]:
    """What each took, round by round; and ours once more, with its profile."""
    key = "bench/archive.zip"
    path = case.write(store.folder / "archive.zip")
    store.put(path, key)
    path.unlink()
    seen: dict[str, list[Usage]] = {name: [] for name in case.contenders()}
    uncounted = 1 if rounds > 1 else 0
    for round_number in range(rounds + uncounted):
        for name in seen:
            model = f"{case.slug}-{round_number}"
            if name == OURS:
                upload = registering.start_zip(store, key, model)
                usage = store.run("registering:unpack", {"upload_id": upload.upload_id})
                prefix = f"models/{USER}/{model}/"
            else:
                prefix = f"bench/{round_number}/"
                job = "ingest_peers:smart_open" if name == _SMART_OPEN else "ingest_peers:naive"
                more = {} if name == _SMART_OPEN else {"at_once": 8 if name == _POOLED else 1}
                usage = store.run(job, {"bucket": BUCKET, "key": key, "prefix": prefix, **more})
            found = store.sizes(prefix)
            if (len(found), sum(found.values())) != (case.members, case.size):
                raise SystemExit(f"{name} made {len(found)} files of {sum(found.values())} bytes of {case}")
            store.delete(prefix)
            if round_number >= uncounted:
                seen[name].append(usage)
    upload = registering.start_zip(store, key, f"{case.slug}-profiled")
    profiled = store.run("registering:unpack", {"upload_id": upload.upload_id}, profile=True)
    store.delete(f"models/{USER}/{case.slug}-profiled/")
    store.s3.delete_object(Bucket=BUCKET, Key=key)
    return seen, profiled


def report(result: Result, case: Case, seen: dict[str, list[Usage]], profiled: Usage, store: str) -> None:
    """The case's table, chart and goals."""
    gigabytes = case.size / 1e9
    rows, bars = [], {}
    for name, runs in seen.items():
        usage = workers.median(runs)
        times = results.median_ratio([each.wall for each in runs], [each.wall for each in seen[OURS]])
        moved = (usage.down + usage.up) / case.size
        rows.append(
            [
                name,
                f"{usage.wall:.2f}",
                f"{min(each.wall for each in runs):.2f} to {max(each.wall for each in runs):.2f}",
                f"{case.size / 1e6 / usage.wall:.0f}",
                f"{times:.2f}",
                f"{usage.cpu / gigabytes:.2f}",
                f"{usage.store / gigabytes:.2f}",
                f"{max(each.mb for each in runs):.0f}",
                f"{usage.written / case.size:.2f}",
                f"{moved:.2f}",
            ]
        )
        bars[name] = (case.members if case.small else case.size / 1e6) / usage.wall
    columns = [
        "",
        "s",
        "from, to",
        "MB/s",
        "x our time",
        "CPU s/GB",
        "store's CPU s/GB",
        "MB above idle",
        "disk / size",
        "network / size",
    ]
    result.table(case.name[0].upper() + case.name[1:], columns, rows)
    whole = profiled.cpu or 1.0
    rows = [[f"`{name}`", f"{seconds:.2f}", f"{seconds / whole:.0%}"] for name, seconds in profiled.profile.items()]
    rest = profiled.cpu - sum(profiled.profile.values())
    rows += [["others", f"{rest:.2f}", f"{rest / whole:.0%}"], ["all of it", f"{profiled.cpu:.2f}", "100%"]]
    title = f"{case.name}: where our processor time goes (one more run, sampled, by innermost Python function)"
    result.table(title, ["", "CPU s", "share"], rows)
    unit = "files a second" if case.small else "MB/s"
    result.chart(f"ingest-{case.slug}-{store}", f"ZIP to files: {case.name}", unit, bars)
    ours, naive = seen[OURS], seen[_NAIVE]
    ratio = results.median_ratio([each.wall for each in naive], [each.wall for each in ours])
    usage = workers.median(ours)
    result.goal(f"{case.name}: ≥ 3 x the usual way's throughput", ratio, 3.0, " x", at_least=True)
    if not case.small:
        result.goal(f"{case.name}: ≤ 6 CPU-seconds a GB", usage.cpu / gigabytes, 6.0, " s/GB")
    result.goal(f"{case.name}: ≤ 128 MB above idle", float(round(max(each.mb for each in ours))), 128.0, " MB")
    disk = max(each.written for each in ours) / case.size
    result.goal(f"{case.name}: no disk", 100 * disk, 0.1, " % of the size")  # its log is written


def main() -> None:
    """Measures and writes the result."""
    parser = results.arguments(__doc__)
    parser.add_argument("--store", default="seaweedfs", help="seaweedfs or minio (%(default)s)")
    parser.add_argument("--size", type=results.megabytes, help="of the two archives of weights: 3GB, 500MB")
    parser.add_argument("--files", type=int, help="in the archive of small files, 100 or more")
    parser.add_argument("--rounds", type=int, help="of each, beside the one that is not counted")
    chosen = parser.parse_args()
    rounds = chosen.rounds or (1 if chosen.sizes == "tiny" else 5)
    versions = stores.versions(chosen.store, "boto3", "smart-open", "isal")
    result = Result(f"ZIP to files, on {stores.TITLES[chosen.store]}", versions=versions)
    result.notes += results.notes_of(__doc__)
    result.notes.append(
        f"Medians of {rounds} rounds; ratios are the medians of each round's. CPU is that of the process that does the "
        "work, memory its largest beyond what it had before it began; network is what it moved to and from the store."
    )
    for together in stores.grouped(cases(chosen.sizes, chosen.size, chosen.files), chosen.sizes):
        with stores.running(chosen.store) as store:
            for case in together:
                seen, profiled = measure_case(case, store, rounds)
                report(result, case, seen, profiled, chosen.store)
    result.write(chosen.json)


if __name__ == "__main__":
    main()
