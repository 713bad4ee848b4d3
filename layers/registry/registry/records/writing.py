"""Writing rows: under a condition, together in a transaction, or many at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pynamodb.exceptions import PynamoDBException, TransactWriteError
from pynamodb.expressions.condition import Condition, size
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from registry.errors import UnavailableError
from registry.records.rows import Row

T = TypeVar("T")
V = TypeVar("V")
_CONFLICT = "TransactionConflictException"
_TRIES, _PAUSE_SECONDS = 7, 0.01  # the pauses double: 1.3 s in all


def condition_failed(error: PynamoDBException) -> bool:
    """Whether a write was refused by its condition, or a transaction lost against another one on the same rows."""
    code = error.cause_response_code
    if code == "TransactionCanceledException" and isinstance(error, TransactWriteError):
        reasons = {reason.code for reason in error.cancellation_reasons if reason is not None}
        return bool(reasons) and reasons <= {"None", "ConditionalCheckFailed", "TransactionConflict"}
    return code == "ConditionalCheckFailedException"


def save_if(row: Row, condition: Condition) -> bool:
    """Writes a row if the condition holds; False if it does not. UnavailableError if transactions held the row at every
    try."""
    return _write_if(lambda: row.save(condition=condition))


def update_if(row: Row, actions: Sequence[Action], condition: Condition) -> bool:
    """Changes a row, and this object with it, if the condition holds; False if it does not. UnavailableError if
    transactions held the row at every try."""
    return _write_if(lambda: row.update(actions=list(actions), condition=condition))


def delete_if(row: Row, condition: Condition) -> bool:
    """Deletes a row if the condition holds; False if it does not. UnavailableError if transactions held the row at
    every try."""
    return _write_if(lambda: row.delete(condition=condition))


def _write_if(write: Callable[[], object]) -> bool:
    """A transaction that holds the row is no refusal, as it may come to nothing: the write is tried again, which AWS's
    SDK does not do for a single row."""
    for number in range(_TRIES):
        try:
            write()
        except PynamoDBException as error:
            if error.cause_response_code != _CONFLICT:
                if condition_failed(error):
                    return False
                raise
            time.sleep(_PAUSE_SECONDS * 2**number)
        else:
            return True
    raise UnavailableError("many change this at once: try again", code="busy")


def fewer_than(count: int, attribute: Any) -> Condition:
    """A condition: a map or list of the row has fewer entries than this."""
    fewer: Condition = size(attribute) < count  # type: ignore[no-untyped-call]
    return fewer


class Transaction:
    """Some writes that happen all or not at all; at most 100 (DynamoDB's limit)."""

    def __init__(self) -> None:
        self._write = TransactWrite(connection=Row._get_connection().connection)

    def save(self, row: Row, condition: Condition | None = None) -> Transaction:
        """Adds a put."""
        self._write.save(row, condition=condition)
        return self

    def update(self, row: Row, actions: Sequence[Action], condition: Condition | None = None) -> Transaction:
        """Adds an update of the row with this key."""
        self._write.update(row, actions=list(actions), condition=condition)
        return self

    def delete(self, row: Row, condition: Condition | None = None) -> Transaction:
        """Adds a delete."""
        self._write.delete(row, condition=condition)
        return self

    def commit(self) -> bool:
        """Writes; False if a condition did not hold, or another transaction held one of the rows."""
        try:
            self._write._commit()
        except PynamoDBException as error:
            if condition_failed(error):
                return False
            raise
        return True


def save_all(rows: Iterable[Row]) -> None:
    """Puts many rows, 25 a call, several calls at once; not atomic."""
    _in_batches(list(rows), "save")


def delete_all(rows: Iterable[Row]) -> None:
    """Deletes many rows by their keys, 25 a call, several calls at once; not atomic."""
    _in_batches(list(rows), "delete")


def _in_batches(rows: list[Row], verb: str) -> None:
    def write(batch: list[Row]) -> None:
        with Row.batch_write() as writer:
            for row in batch:
                getattr(writer, verb)(row)

    side_by_side(write, [rows[i : i + 25] for i in range(0, len(rows), 25)])


def side_by_side(work: Callable[[T], V], items: Iterable[T], *, at_once: int = 8) -> list[V]:
    """Does the same for each item, some at once as these are calls that wait; results in order, first error raised."""
    listed = list(items)
    if len(listed) <= 1:
        return [work(item) for item in listed]
    with ThreadPoolExecutor(min(at_once, len(listed))) as pool:
        return list(pool.map(work, listed))
