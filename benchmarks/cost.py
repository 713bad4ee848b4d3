"""What running the registry costs on AWS, from calls that were counted: `PYTHONPATH=.:layers/registry python
benchmarks/cost.py [--write docs/deploy.md]`.

The functions run here, over the embedded SeaweedFS and DynamoDB Local; every call to S3 is counted, DynamoDB says what
it consumed, and what is logged is weighed. Durations can't be measured here: they are assumed, in ASSUMED. Prices are
in PRICES (benchmarks/metering.py). Nothing else is put in by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

from benchmarks.metering import (
    ASSUMED,
    AUTHORIZED_EACH,
    BEGIN,
    END,
    GIB,
    MIB,
    MONTH_MINUTES,
    PARTS_A_LIST,
    PLATFORM_LOG_BYTES,
    PRICES,
    TEMPLATE,
    URLS_A_PAGE,
    USER,
    Bill,
    Meter,
    event_of,
    put,
)
from local.ports import Ports
from local.servers import Stack, apply_environment
from tests.conftest import forget_everything
from tests.template.loading import resources_of

METRICS = {"POWERTOOLS_METRICS_NAMESPACE": "Modelkeep"}  # as the template has it


def count_file(meter: Meter, model_id: str, parts: int) -> dict[str, Bill]:
    """One file in parts, by direct upload: what each kind of invocation used."""
    data = os.urandom(parts * 16 * MIB)
    body = {"user_id": USER, "model_id": model_id, "version": "v1", "name": "M"}
    files = [{"path": "model.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}]
    upload, start = meter.call("start_upload", 201, json_body={**body, "files": files}, query={"urls": "false"})
    path = {"upload_id": upload["upload_id"]}
    shown, page = meter.call("get_upload", path=path, query={"urls": "true"})
    assert put(shown["files"][0], data) == parts
    done, complete = meter.call("complete_upload", path=path)
    assert done["status"] == "ready", done
    return {"start": start, "page": page, "complete": complete, "event": meter.receive(event_of(upload, 0))}


def bill_of_file(counted: dict[str, Bill], size: int, *, large: bool) -> Bill:
    """A file of that size: pages of URLs, a PUT a part, and where it is above 5 GiB copies of 1 GiB and one reading."""
    parts, copies = math.ceil(size / (16 * MIB)), math.ceil(size / GIB)
    bill = Bill(s3=Counter({"UploadPart": parts}))
    for name, each in counted.items():
        scaled = Bill()
        scaled.add(each)
        scaled.s3["ListParts"] *= math.ceil(parts / PARTS_A_LIST)
        if scaled.s3["UploadPartCopy"]:
            scaled.s3["UploadPartCopy"] = copies if large else 1
        bill.add(scaled, math.ceil(parts / URLS_A_PAGE) if name == "page" else 1)
    bill.seconds["receive_upload"] += ASSUMED["copy_seconds"]  # type: ignore[assignment]
    if large:
        bill.seconds["receive_upload"] += size / 1e6 / ASSUMED["read_mb_s"]  # type: ignore[assignment]
    return bill


def count_files(meter: Meter, model_id: str, count: int) -> Bill:
    """So many files of one PUT each, each with its event."""
    data = os.urandom(6 * MIB)
    body = {"user_id": USER, "model_id": model_id, "version": "v1", "name": "M"}
    files = [{"path": f"f{number:04}.bin", "size": len(data)} for number in range(count)]
    upload, bill = meter.call("start_upload", 201, json_body={**body, "files": files})
    for number, entry in enumerate(upload["files"]):
        bill.s3["PutObject"] += put(entry, data)
        bill.add(meter.receive(event_of(upload, number)))
    shown, _ = meter.call("get_model", path={"user_id": USER, "model_id": model_id}, query={"version": "v1"})
    assert shown["file_count"] == count
    return bill


def cases(meter: Meter) -> dict[str, tuple[Bill, float, str]]:
    """Each row of the table: the use, the gigabytes that are kept for a month, and how it was counted."""
    from registry.storage import copying, multiparts

    from functions.sweep_uploads.app import lambda_handler as sweep

    # What is done once a process, not once an upload: the store is probed, the inbox claimed.
    copying.digest_method()
    first = {"user_id": USER, "model_id": "first", "name": "M", "files": [{"path": "f", "size": 1}]}
    meter.call("start_upload", 201, json_body=first)
    ordinary = count_file(meter, "ordinary", 3)
    again = count_file(meter, "again", 6)
    for name in ("start", "page", "complete", "event"):  # what a part costs more is its own PUT
        assert ordinary[name].s3 == again[name].s3, (name, ordinary[name].s3, again[name].s3)
    # Above 5 GiB a file is read once and copied in parts; here above 8 MiB, in parts of 8 MiB.
    with mock.patch.object(multiparts, "MAX_PART_BYTES", 16 * MIB), mock.patch.object(copying, "_COPY_PART", 16 * MIB):
        large = count_file(meter, "large", 3)
    few, many = count_files(meter, "few", 4), count_files(meter, "many", 8)
    a_file, base = Bill(), Bill()
    a_file.add(many, 1 / 4)
    a_file.add(few, -1 / 4)
    base.add(few)
    base.add(a_file, -4)

    found: dict[str, tuple[Bill, float, str]] = {}
    model = {"user_id": USER, "model_id": "ordinary"}
    bill = Bill()
    bill.add(meter.call("get_model", path=model, query={"version": "v1"})[1], 1e6)
    found["1,000,000 gets of a named version"] = (bill, 0, "one call times 1,000,000")
    bill = Bill()
    redirect = {"version": "v1", "filename": "model.bin", "redirect": "true"}
    download = meter.call("download_model", 307, path=model, query=redirect)[1]
    bill.add(download, 1e6)
    bill.s3["GetObject"] += 1_000_000
    found["1,000,000 redirects to a file"] = (
        bill,
        0,
        "one call and the client's GET, times 1,000,000; bytes out extra",
    )
    bill = bill_of_file(ordinary, 4 * GIB, large=False)
    found["upload of one file of 4 GiB"] = (bill, 4, f"{math.ceil(4 * GIB / (16 * MIB))} parts")
    for size in (10, 100):
        bill = bill_of_file(large, size * GIB, large=True)
        parts, copies = math.ceil(size * GIB / (16 * MIB)), size
        found[f"upload of one file of {size} GiB"] = (bill, size, f"{parts:,} parts, {copies} copied parts, read once")
    bill = Bill()
    bill.add(base)
    bill.add(a_file, 1_000)
    found["upload of 10 GB in 1,000 files"] = (bill, 10, "one PUT, one event and one copy a file")
    bill = Bill()
    work = lambda: sweep({}, None)  # noqa: E731
    bill.add(meter.invoke("sweep_uploads", work, seconds=ASSUMED["sweep_seconds"], api=False)[1], MONTH_MINUTES)
    found["a month idle"] = (bill, 0, f"one sweep times {MONTH_MINUTES:,}")
    return found


def table(found: dict[str, tuple[Bill, float, str]], metrics: dict[str, set[str]]) -> str:
    """The document's part, in Markdown."""
    every, idle = len(set().union(*metrics.values())), len(metrics["sweep_uploads"])
    names = list(Bill().dollars())
    alarms = [each["Properties"] for each in resources_of(TEMPLATE, "AWS::CloudWatch::Alarm").values()]
    watched = sum(sum("MetricStat" in one for one in each.get("Metrics", [{"MetricStat": 1}])) for each in alarms)
    lines = [
        "| what | counted | S3 PUT class | S3 GET class | RRU | WRU | invocations |"
        + "".join(f" {name} |" for name in names)
        + " **together** | storage a month |",
        "|---|---|" + "--:|" * (7 + len(names)),
    ]
    for what, (bill, stored, how) in found.items():
        dollars = bill.dollars()
        use = (bill.s3_puts(), bill.s3_gets(), bill.reads, bill.writes, sum(bill.invocations.values()))
        lines.append(
            f"| {what} | {how} |"
            + "".join(f" {round(each, 1):,.0f} |" for each in use)
            + "".join(f" {money(dollars[name])} |" for name in names)
            + f" **{money(sum(dollars.values()))}** | {money(stored * PRICES['s3_gb_month']) if stored else '-'} |"
        )
    assumed = ", ".join(f"`{name}` {value:g}" for name, value in ASSUMED.items())
    lines += [
        "",
        f"Besides, whatever is called: {len(alarms)} alarms on {watched} metrics, "
        f"{money(watched * PRICES['alarm_month'])} a month; and {every} custom metrics, "
        f"{money(every * PRICES['metric_month'])} a month, of which a month idle has {idle}, "
        f"{money(idle * PRICES['metric_month'])}, as the sweep writes them; two more where the gateway errs or "
        f"throttles, and one for each code of refusals ({money(PRICES['metric_month'])} each). X-Ray is not in it. "
        f"Bytes that leave the region for the internet: {money(PRICES['gb_out'])} a GB, "
        f"{money(1_000 * PRICES['gb_out'])} a TB.",
        "",
        f"Assumed, not counted: {assumed}; the authorizer is asked once for {AUTHORIZED_EACH} calls; "
        f"{PLATFORM_LOG_BYTES} bytes of platform logs an invocation. Prices: " + prices() + ".",
    ]
    return "\n".join(lines)


def money(dollars: float) -> str:
    """Cents where there are any, else as many digits as say something."""
    return (
        f"${dollars:,.2f}"
        if dollars >= 0.10 or dollars == 0
        else f"${dollars:.2g}"
        if dollars >= 0.0001
        else "<$0.0001"
    )


def prices() -> str:
    """Every price, readably."""
    per = {
        "s3_put": 1e3,
        "s3_get": 1e3,
        "table_read": 1e6,
        "table_write": 1e6,
        "lambda_request": 1e6,
        "api_request": 1e6,
    }
    units = {1e3: " a thousand", 1e6: " a million"}
    return ", ".join(
        f"`{name}` ${price * per.get(name, 1):g}{units.get(per.get(name, 1), '')}" for name, price in PRICES.items()
    )


def main() -> None:
    """Count, and print the table or write it into a document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="the document between whose markers the table goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelkeep-cost-") as folder, Stack(Path(folder), Ports.free()) as stack:
        environment = stack.environment()
        for name in [name for name in environment if name.endswith(("_LIMIT_BYTES", "_SECONDS"))]:
            del environment[name]  # API Gateway's and Lambda's hold
        apply_environment({**environment, "REGISTRY_AUTHENTICATION": "authorizer", **METRICS})
        forget_everything()
        from registry import records

        records.create_table()
        with Meter().installed() as meter:
            text = table(cases(meter), meter.metrics)
    if arguments.write is None:
        sys.stdout.write(f"{text}\n")
        return
    document = arguments.write.read_text()
    before, _, rest = document.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{arguments.write} has not the lines {BEGIN} and {END}")
    arguments.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
