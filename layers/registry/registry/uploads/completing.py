"""What ends an upload at its client's word: complete and abort."""

from __future__ import annotations

from registry import naming, records
from registry.auth import Principal
from registry.deadlines import Deadline
from registry.errors import ConflictError, InvalidError
from registry.observability import get_logger
from registry.records import ResultRow, UploadRow
from registry.settings import MIB, get_settings
from registry.storage import multiparts, objects
from registry.storage.client import MultipartMissingError
from registry.uploads import ending, finding, showing, specs, waking, working
from registry.uploads.leases import OPEN
from registry.uploads.specs import Result, Spec

_MISSING_SHOWN = 100
_LOOKS = 3
_LARGE_BYTES = 1024 * MIB  # more may take longer than the minute that a request has


def complete_upload(*, principal: Principal, upload_id: str) -> UploadRow:
    """Finishes multiparts, and works until the version is published or the request has waited long enough. May be
    repeated. InvalidError `upload_incomplete` names what is missing."""
    upload = finding.find_upload(principal, upload_id, "write")
    if upload.status == "ready":
        return upload
    finding.refuse_ended(upload)
    deadline = working.request_deadline()
    for _ in range(_LOOKS):
        _refuse_incomplete(upload, _finish_multiparts(upload, deadline))
        actions = [UploadRow.complete.set(True), UploadRow.status.set("processing"), UploadRow.wake.add(1)]
        records.update_if(upload, actions, UploadRow.status.is_in(*OPEN))
        if get_settings().wait_seconds and upload.bytes_total > _LARGE_BYTES:
            waking.start_worker(upload_id)  # which lives longer than this request, and may read for minutes
            return UploadRow.find(upload.pk) or upload
        if deadline.passed:
            waking.start_worker(upload_id)
        else:
            working.work(upload_id, deadline)
        upload = working.wait(upload_id, deadline) or upload
        if upload.status not in OPEN or deadline.passed:
            break
        # Nobody works on it, and it is not done: a file was refused, and is missing now.
    return upload


def _refuse_incomplete(upload: UploadRow, missing: list[dict[str, object]]) -> None:
    if not missing:
        return
    now = UploadRow.find(upload.pk)
    if now is not None and now.status in OPEN:  # else it ended while we looked, and its inbox with it
        refused = sorted({str(each["code"]) for each in missing if "code" in each})
        reason = f", or were refused ({', '.join(refused)})" if refused else ""
        raise InvalidError(
            f"{len(missing)} files have not arrived in full{reason}: send what GET ?urls=true shows (parts that were "
            "signed with digests by POST …/parts are signed there again), then complete again",
            code="upload_incomplete",
            missing=missing[:_MISSING_SHOWN],
        )


def _finish_multiparts(upload: UploadRow, deadline: Deadline) -> list[dict[str, object]]:
    """Completes the multiparts whose parts are all there; what is missing, by file."""
    if upload.kind in ("archive", "folder"):
        row = ResultRow.find(upload.pk, specs.ARCHIVE_ROW)
        key = naming.inbox_key(upload.user_id, upload.upload_id, naming.ARCHIVE_SLOT)
        if row is None or upload.archive.get("etag"):
            return []
        missing = _finish(upload, key, upload.archive["size"], row, "0")
        return [{"path": None, "parts": missing}] if missing is not None else []
    arrived = {entry.key for entry in objects.list_objects(naming.inbox_prefix(upload.user_id, upload.upload_id))}
    _, done = specs.progress(upload)
    found: list[dict[str, object]] = []
    for spec_row in specs.iter_specs(upload):
        number = specs.row_number(spec_row)
        if number in done:
            continue
        row = ResultRow.find(upload.pk, specs.result_sk(number)) or specs.new_result_row(upload, "")
        results = specs.results_of(row)

        def check(spec: Spec, row: ResultRow = row, results: dict[int, Result] = results) -> dict[str, object] | None:
            missing = _finish(
                upload,
                naming.inbox_key(upload.user_id, upload.upload_id, spec.number),
                spec.size,
                row,
                str(spec.number),
            )
            result = results.get(spec.number)
            code = {"code": result.code} if result is not None and result.code else {}
            return None if missing is None else {"path": spec.path, "parts": missing, **code}

        open_specs = [
            spec
            for spec in specs.specs_of(spec_row)
            if showing.status_of(spec, results.get(spec.number)) in ("pending", "failed")
            and naming.inbox_key(upload.user_id, upload.upload_id, spec.number) not in arrived
        ]
        found += [each for each in records.side_by_side(check, open_specs) if each is not None]
        if deadline.passed:
            break
    # A file that a worker promoted since the inbox was listed is not missing.
    promoted = _promoted(upload) if found else set()
    return [each for each in found if each["path"] not in promoted]


def _promoted(upload: UploadRow) -> set[str]:
    return {
        spec.path
        for row in specs.iter_specs(upload)
        for results in [specs.find_results(upload, specs.row_number(row))]
        for spec in specs.specs_of(row)
        if showing.status_of(spec, results.get(spec.number)) in ("verified", "stored")
    }


def _finish(upload: UploadRow, key: str, size: int, row: ResultRow, slot: str) -> list[int] | None:
    """Completes one multipart; None if the object is there, else the numbers of missing parts (none: one PUT)."""
    begun = showing.read_multipart(row, slot)
    plan = multiparts.plan_parts(size)
    if begun is None:
        if objects.find_object(key) is not None:
            return None
        return [] if size <= plan.part_bytes else list(range(1, min(plan.count, 1000) + 1))
    try:
        parts = multiparts.list_parts(key, begun[1])
        good = [part for part in parts if part.number <= plan.count and part.size == plan.length(part.number)]
        if len(good) == plan.count:
            multiparts.complete_multipart(key, begun[1], good)
            get_logger().info("multipart completed", upload_id=upload.upload_id, slot=slot, parts=plan.count)
            return None
    except MultipartMissingError:
        if objects.find_object(key) is not None:
            return None
        _forget_multipart(upload, row, slot, begun)
        good = []
    have = {part.number for part in good}
    return [number for number in range(1, plan.count + 1) if number not in have][:1000]


def _forget_multipart(upload: UploadRow, row: ResultRow, slot: str, begun: tuple[str, str]) -> None:
    """It was completed, and its object has been refused since: the file begins anew."""
    attribute = ResultRow.multiparts[slot]
    records.update_if(ResultRow(upload.pk, row.sk), [attribute.remove()], attribute == ":".join(begun))


def abort_upload(*, principal: Principal, upload_id: str) -> UploadRow:
    """Ends an upload: nothing of it is left, and its version is free. ConflictError once it is ready."""
    upload = finding.find_upload(principal, upload_id, "write")
    if upload.status == "ready":
        raise ConflictError("The upload is ready: delete its version instead", code="upload_ready")
    if upload.status in OPEN:
        ending.fail(upload, code="aborted", detail="The upload was aborted", status="aborted")
    now = UploadRow.find(upload.pk) or upload
    if now.status == "ready":
        raise ConflictError("The upload is ready: delete its version instead", code="upload_ready")
    return now
