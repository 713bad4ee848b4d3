"""Metadata at 1,000, 10,000 and 100,000 versions of one user: time, capacity and calls of DynamoDB.

The use cases run in this process, over DynamoDB Local; three users of one table have the three sizes. Each round makes
some calls of each use case for each user in turn. Times are medians of the rounds' medians; a ratio is the median of
the rounds' ratios, so that a slow minute of the machine, which falls on a round, does not count. Units are read and
write units as AWS bills them, on average over all calls: they don't depend on the machine.

The tables are filled without publishing (benchmarks/filling.py), which is not in the figures, and kept in `.cache`; a
run works on a copy. The newest 1,000 versions of each user are alike. Each `searched` and `filtered` fills its page of
100 at every size, so that what differs is what there is beside it. `update` rewrites a description, a metric and
`is_production_ready`; `publish` is what the catalog does of it: reserving the name, and all rows of the version.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import filling, results
from benchmarks.measuring import machine
from benchmarks.metering import Bill, Meter
from benchmarks.results import Result
from local import jars
from local.ports import Ports
from local.servers import Stack, apply_environment
from tests.conftest import forget_everything

if TYPE_CHECKING:
    from registry.files import StoredFile
    from registry.records import UploadRow, VersionRow

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"tiny": (100, 300, 1_000), "small": (1_000, 10_000), "full": (1_000, 10_000, 100_000)}
ROUNDS, CALLS = {"tiny": 2, "small": 5, "full": 5}, {"tiny": 2, "small": 4, "full": 4}
LIMIT = 1.2  # of what the fewest versions cost
SEARCHES: dict[str, dict[str, Any]] = {
    "list(100)": {},
    "filtered: framework, tag": {"framework": "pytorch", "tags": "prod"},
    "searched: one word": {"query": "detection"},
    "searched: two words": {"query": "image text"},
    "searched: a word and a filter": {"query": "model", "framework": "pytorch"},
    "searched: beginning of 2 letters": {"query": "de"},
    "searched: beginning of 3 letters": {"query": "tra"},
    "searched: beginning of 5 letters": {"query": "trans"},
}


class User:
    """One user, who has so many versions, and what is asked of them."""

    def __init__(self, user_id: str, size: int, page: int) -> None:
        self.user_id, self.size, self.page = user_id, size, page
        self.random = random.Random(size)
        self.names = [(each.model_id, each.version) for each in self.list(limit=min(size, 1_000))[0]]
        self.numbers = itertools.count()

    def list(self, *, query: str | None = None, cursor: str | None = None, skip: int = 0, limit: int, **filters: Any):  # type: ignore[no-untyped-def]
        """A page, and where the next one begins."""
        from registry import versions
        from registry.auth import ANYBODY

        return versions.list_models(
            principal=ANYBODY,
            user_id=self.user_id,
            filters=versions.Filters(**filters),
            paging=versions.Paging(limit=limit, cursor=cursor, skip=skip),
            query=query,
        )

    def find(self, asked: dict[str, Any]) -> None:
        """A page that has to be full."""
        found, _ = self.list(limit=self.page, **asked)
        if len(found) != self.page:
            raise SystemExit(f"{asked} finds {len(found)} of {self.size} versions: no full page")

    def get(self, *, newest: bool) -> None:
        """One version."""
        from registry import versions
        from registry.auth import ANYBODY

        model_id, version = self.random.choice(self.names)
        asked = None if newest else version
        versions.get_model(principal=ANYBODY, user_id=self.user_id, model_id=model_id, version=asked)

    def update(self) -> None:
        """Another description, metric, readiness."""
        from registry import versions
        from registry.auth import ANYBODY
        from registry.schemas.requests import VersionFields

        number = next(self.numbers)
        model_id, version = self.names[number % len(self.names)]
        changes = {
            "description": " ".join(filling.choose_words(random.Random(-number), 9)),
            "validation_accuracy": 0.5,
            "is_production_ready": True,
        }
        versions.update_model(
            principal=ANYBODY,
            user_id=self.user_id,
            model_id=model_id,
            version=version,
            changes=VersionFields.model_validate(changes),
            if_match=None,
        )

    def publish(self) -> None:
        """One version more of some model."""
        upload, stored = filling.make_upload(self.user_id, number := next(self.numbers), {})
        upload.model_id, upload.upload_id = self.random.choice(self.names)[0], secrets.token_hex(16)
        upload.pk, upload.version = f"A#{upload.upload_id}", f"b{number}"
        publish(upload, stored)

    def uses(self) -> dict[str, Callable[[], None]]:
        """Each use case by its name."""
        return {
            "get: named": functools.partial(self.get, newest=False),
            "get: newest": functools.partial(self.get, newest=True),
            **{name: functools.partial(self.find, asked) for name, asked in SEARCHES.items()},
            "update": self.update,
            "publish": self.publish,
        }


def publish(upload: UploadRow, stored: list[StoredFile]) -> VersionRow:
    """What the catalog does of a publication: the name is reserved, then all rows of the version are written."""
    from registry import records
    from registry.catalog import publishing, reserving

    upload.principal, upload.kind, upload.status, upload.created = "bench", "form", "uploading", records.now_text()
    upload.fence, upload.expires_at = 1, int(time.time()) + 600
    reserving.note_highest(upload.user_id, upload.model_id, upload.version)
    if not reserving.reserve(upload, due=time.time() + 600):
        raise SystemExit("a version was reserved twice")
    row = publishing.publish(upload, stored)
    if row is None:
        raise SystemExit("a version was not published")
    publishing.remember_digests(row, stored)
    return row


def measure(users: list[User], meter: Meter, rounds: int, calls: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """By use case and size: the median milliseconds of each round; and what all calls used together."""
    milliseconds: dict[str, dict[int, list[float]]] = {}
    used: dict[str, dict[int, tuple[Bill, int]]] = {}
    for round_number in range(rounds + 1):  # the first one fills caches
        for name in users[0].uses():
            taken: dict[int, list[float]] = {user.size: [] for user in users}
            for _, user in itertools.product(range(2 * calls if name.startswith("get") else calls), users):
                meter.bill = Bill()
                began = time.perf_counter()
                user.uses()[name]()
                taken[user.size].append(1_000 * (time.perf_counter() - began))
                if round_number:
                    bill, count = used.setdefault(name, {}).setdefault(user.size, (Bill(), 0))
                    bill.add(meter.bill)
                    used[name][user.size] = bill, count + 1
            for size, times in taken.items() if round_number else ():
                milliseconds.setdefault(name, {}).setdefault(size, []).append(statistics.median(times))
    return milliseconds, used


def walk(user: User, meter: Meter) -> tuple[Bill, int]:
    """All pages: what they used, and how many there were."""
    meter.bill, cursor, seen = Bill(), None, 0
    for pages in itertools.count(1):
        page, cursor = user.list(limit=1_000, cursor=cursor)
        seen += len(page)
        if cursor is None:
            if seen < user.size:
                raise SystemExit(f"all pages have {seen} of {user.size} versions")
            return meter.bill, pages
    raise AssertionError


def skip(user: User, meter: Meter) -> tuple[Bill, float]:
    """The page behind 5,000 versions: what it used, and its seconds."""
    meter.bill, began = Bill(), time.perf_counter()
    user.list(limit=100, skip=5_000)
    return meter.bill, time.perf_counter() - began


def filled(sizes: tuple[int, ...]) -> Path:
    """A folder of `make run`'s that has so many versions of each user; kept for the next run."""
    # Other rows are another table; of all of them, some are enough to tell.
    told = hashlib.sha256(repr(sorted(filling.rows_of_user("user", range(20)))).encode())
    told.update(repr((sizes, jars.VERSION)).encode())
    kept = ROOT / ".cache/bench" / f"metadata-{max(sizes)}-{told.hexdigest()[:12]}"
    if kept.exists():
        return kept
    for other in kept.parent.glob(f"metadata-{max(sizes)}-*"):
        shutil.rmtree(other)
    began = time.monotonic()
    made = kept.with_suffix(".making")
    shutil.rmtree(made, ignore_errors=True)
    with running(made, new=True):
        pass  # the table is there now
    rows = filling.fill(made / filling.DATABASE, {user_of(size): size for size in sizes})
    made.rename(kept)
    print(f"{rows:,} rows filled in {time.monotonic() - began:.0f} s, and kept in {kept.relative_to(ROOT)}", flush=True)
    return kept


class running:  # noqa: N801 - used as a function
    """The servers over a folder; with a table, if it is `new`."""

    def __init__(self, folder: Path, *, new: bool = False) -> None:
        self._stack, self._new = Stack(folder, Ports.free()), new

    def __enter__(self) -> None:
        from registry import records

        self._stack.start()
        apply_environment(self._stack.environment())
        forget_everything()
        if self._new:  # to see whether it is there, DynamoDB Local counts all its rows
            records.create_table()

    def __exit__(self, *error: object) -> None:
        self._stack.stop()


def user_of(size: int) -> str:
    """Who has so many versions."""
    return f"user-{size}"


def run(sizes: str) -> Result:
    """The whole benchmark."""
    kept, counts = filled(SIZES[sizes]), SIZES[sizes]
    result = Result("Metadata: flat however many versions there are")
    result.notes = [*results.notes_of(__doc__), machine()]
    result.versions = {"DynamoDB Local": jars.VERSION}
    with tempfile.TemporaryDirectory(prefix="modelkeep-bench-") as folder:
        shutil.copytree(kept, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("lock", "run", "logs"))
        with running(Path(folder)), Meter().installed() as meter:
            users = [User(user_of(size), size, page=100 if min(counts) >= 1_000 else 5) for size in counts]
            walks = {user.size: walk(user, meter) for user in users}
            skips = {user.size: skip(user, meter) for user in users}
            report(result, counts, *measure(users, meter, ROUNDS[sizes], CALLS[sizes]))
    report_walks(result, walks, skips)
    return result


def report(result: Result, counts: tuple[int, ...], milliseconds: dict[str, Any], used: dict[str, Any]) -> None:
    """The table of the use cases, the goal, the chart."""
    few, many = counts[0], counts[-1]
    rows, worst = [], {"capacity": ("", 0.0), "p50": ("", 0.0)}
    for name, by_size in milliseconds.items():
        units = {size: (bill.reads + bill.writes) / count for size, (bill, count) in used[name].items()}
        calls = {size: sum(bill.table.values()) / count for size, (bill, count) in used[name].items()}
        ratios = {
            "capacity": max(units.values()) / min(units.values()),
            "p50": max(results.median_ratio(by_size[size], by_size[few]) for size in counts),
        }
        for key, ratio in ratios.items():
            worst[key] = max(worst[key], (name, ratio), key=lambda each: each[1])
        rows.append(
            [
                name,
                *(statistics.median(by_size[size]) for size in counts),
                ratios["p50"],
                *(units[size] for size in counts),
                ratios["capacity"],
                *(calls[size] for size in (few, many)),
            ]
        )
    columns = ["", *(f"p50 at {size:,}, ms" for size in counts), "ratio", *(f"units at {size:,}" for size in counts)]
    columns += ["ratio", *(f"calls at {size:,}" for size in (few, many))]
    result.table("Use cases, by the number of the user's versions", columns, rows)
    for key, (name, ratio) in worst.items():
        result.goal(f"{key} at any size over that at {few:,}: <= {LIMIT} (the worst is `{name}`)", ratio, LIMIT)
    shown = ("get: named", "list(100)", "searched: two words")
    bars = {f"{name}, {size:,}": statistics.median(milliseconds[name][size]) for name in shown for size in (few, many)}
    result.chart("metadata", "Metadata, by the number of versions", "ms (p50)", bars)


def report_walks(result: Result, walks: dict[int, tuple[Bill, int]], skips: dict[int, tuple[Bill, float]]) -> None:
    """All pages, and `skip`."""
    per_version = {size: bill.reads / size for size, (bill, _) in walks.items()}
    rows = [
        [f"{size:,}", pages, bill.reads, per_version[size], sum(bill.table.values())]
        for size, (bill, pages) in walks.items()
    ]
    result.table("All pages of 1,000", ["versions", "pages", "read units", "units a version", "calls"], rows)
    spread = max(per_version.values()) / min(per_version.values())
    result.goal(f"walking all pages is linear: units a version at any size over the least <= {LIMIT}", spread, LIMIT)
    rows = [
        [f"{size:,}", bill.reads, sum(bill.table.values()), 1_000 * seconds] for size, (bill, seconds) in skips.items()
    ]
    result.table("`skip=5000&limit=100`, the most that can be skipped", ["versions", "read units", "calls", "ms"], rows)
    result.goal(
        "skip=5000 reads at most 2 units a version that it skips or shows",
        max(b.reads for b, _ in skips.values()),
        2 * 5_100,
    )


def main() -> None:
    """Measure and write."""
    chosen = results.arguments(__doc__).parse_args()
    run(chosen.sizes).write(chosen.json)


if __name__ == "__main__":
    main()
