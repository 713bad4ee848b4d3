"""What `registry.records` promises, on moto and on DynamoDB Local."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.parsers import JSONParser
from pynamodb.exceptions import PutError, PynamoDBException, TransactWriteError, UpdateError
from registry import records
from registry.errors import UnavailableError
from registry.records import ModelRow, OpenRow, PostingRow, Row, Transaction, UploadRow, VersionRow
from registry.records.writing import condition_failed
from registry.settings import get_settings


@pytest.fixture(autouse=True, params=["on_moto", "on_servers"])
def on_store(request: pytest.FixtureRequest) -> Iterator[None]:
    """All of these, on each; races only on the real one, as moto decides none."""
    if request.param == "on_moto" and request.node.get_closest_marker("races"):
        pytest.skip("moto looks, then writes: between threads two may win")
    request.getfixturevalue(request.param)
    yield


def word(user_id: str, name: str = "word", token: str = "1") -> PostingRow:
    return PostingRow(f"P#{user_id}", name, upload_id="0", token=token)


def names(user_id: str) -> list[str]:
    return [row.sk for row in PostingRow.query(f"P#{user_id}", consistent_read=True)]


# -- one row ----------------------------------------------------------------------------------------------------------


def test_save_if(user_id: str) -> None:
    assert records.save_if(word(user_id), PostingRow.pk.does_not_exist())
    assert not records.save_if(word(user_id, token="2"), PostingRow.pk.does_not_exist())
    found = PostingRow.find(f"P#{user_id}", "word")
    assert found is not None
    assert found.token == "1"
    assert records.save_if(word(user_id, token="2"), PostingRow.token == "1")
    assert not records.save_if(word(user_id, token="3"), PostingRow.token == "1")


def test_update_if_changes_the_row_and_the_object(user_id: str) -> None:
    row = ModelRow(f"M#{user_id}#m", "#")
    assert records.update_if(row, [ModelRow.highest.add(1)], ModelRow.pk.does_not_exist())
    assert row.highest == 1
    assert not records.update_if(row, [ModelRow.highest.add(1)], ModelRow.highest == 5)
    assert records.update_if(row, [ModelRow.highest.set(7)], ModelRow.highest == 1)
    assert row.highest == 7
    found = ModelRow.find(row.pk)
    assert found is not None
    assert found.highest == 7


def test_delete_if(user_id: str) -> None:
    row = word(user_id)
    row.save()
    assert not records.delete_if(row, PostingRow.token == "2")
    assert names(user_id) == ["word"]
    assert records.delete_if(row, PostingRow.token == "1")
    assert names(user_id) == []
    assert not records.delete_if(row, PostingRow.token == "1"), "of a row that is gone no condition holds"
    row.delete()


def test_find_is_none_for_what_is_not_there(user_id: str) -> None:
    assert PostingRow.find(f"P#{user_id}", "none") is None
    assert UploadRow.find(f"A#{user_id}") is None


@pytest.mark.races
def test_condition_decides_between_many(user_id: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        won = list(
            pool.map(
                lambda number: records.save_if(word(user_id, token=str(number)), PostingRow.pk.does_not_exist()),
                range(16),
            )
        )
    assert won.count(True) == 1
    found = PostingRow.find(f"P#{user_id}", "word")
    assert found is not None
    assert found.token == str(won.index(True))


@pytest.mark.races
def test_counter_loses_no_step(user_id: str) -> None:
    def step(_: int) -> int:
        row = ModelRow(f"M#{user_id}#m", "#")
        row.update(actions=[ModelRow.highest.add(1)])
        return int(row.highest)

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(step, range(40))) == list(range(1, 41))


# -- transactions -----------------------------------------------------------------------------------------------------


def test_transaction_does_all(user_id: str) -> None:
    word(user_id, "old").save()
    ModelRow(f"M#{user_id}#m", "#", highest=1).save()
    done = (
        Transaction()
        .save(word(user_id, "new"), PostingRow.pk.does_not_exist())
        .update(ModelRow(f"M#{user_id}#m", "#"), [ModelRow.highest.set(2)], ModelRow.highest == 1)
        .delete(word(user_id, "old"), PostingRow.token == "1")
        .commit()
    )
    assert done
    assert names(user_id) == ["new"]
    found = ModelRow.find(f"M#{user_id}#m")
    assert found is not None
    assert found.highest == 2


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_transaction_does_all_or_nothing(user_id: str, failing: int) -> None:
    word(user_id, "old").save()
    ModelRow(f"M#{user_id}#m", "#", highest=1).save()
    transaction = (
        Transaction()
        .save(word(user_id, "new"), PostingRow.pk.exists() if failing == 0 else PostingRow.pk.does_not_exist())
        .update(
            ModelRow(f"M#{user_id}#m", "#"), [ModelRow.highest.set(2)], ModelRow.highest == (9 if failing == 1 else 1)
        )
        .delete(word(user_id, "old"), PostingRow.token == ("9" if failing == 2 else "1"))
    )
    assert transaction.commit() is False
    assert names(user_id) == ["old"]
    found = ModelRow.find(f"M#{user_id}#m")
    assert found is not None
    assert found.highest == 1


def test_transaction_may_be_committed_again(user_id: str) -> None:
    """As `publish` does after a conflict."""
    transaction = Transaction().save(word(user_id, "new"), PostingRow.pk.does_not_exist()).delete(word(user_id, "lock"))
    word(user_id, "new").save()
    assert not transaction.commit()
    word(user_id, "new").delete()
    assert transaction.commit()
    assert names(user_id) == ["new"]


@pytest.mark.races
def test_transactions_on_one_row_at_once(user_id: str) -> None:
    def take(number: int) -> bool:
        return (
            Transaction()
            .save(word(user_id, "name", token=str(number)), PostingRow.pk.does_not_exist())
            .save(OpenRow(f"O#{user_id}", f"{number:02d}"))
            .commit()
        )

    with ThreadPoolExecutor(10) as pool:
        won = list(pool.map(take, range(10)))
    assert won.count(True) <= 1
    assert any(won) or not names(user_id), "who was refused has written nothing"
    opened = [row.sk for row in OpenRow.query(f"O#{user_id}", consistent_read=True)]
    assert opened == [f"{number:02d}" for number, each in enumerate(won) if each]


def test_other_errors_of_a_transaction_are_raised(user_id: str) -> None:
    twice = Transaction().save(word(user_id)).delete(word(user_id))
    with pytest.raises(TransactWriteError):
        twice.commit()
    assert names(user_id) == []
    transaction = Transaction()
    for number in range(101):
        transaction.save(word(user_id, str(number)))
    with pytest.raises(PynamoDBException):
        transaction.commit()
    assert names(user_id) == []


def test_large_transaction_is_raised(user_id: str) -> None:
    transaction = Transaction().save(word(user_id, "small")).save(word(user_id, "large", token="x" * 450_000))
    with pytest.raises(TransactWriteError):
        transaction.commit()
    assert names(user_id) == []


# -- many rows --------------------------------------------------------------------------------------------------------


def test_save_and_delete_of_1_000(user_id: str) -> None:
    rows = [PostingRow(f"P#{user_id}", f"{number:04d}", upload_id="u" * 32, rev=number) for number in range(1_000)]
    records.save_all(rows)
    found = list(PostingRow.query(f"P#{user_id}", consistent_read=True))
    assert [(row.sk, row.rev) for row in found] == [(row.sk, row.rev) for row in rows]
    records.delete_all(Row(row.pk, row.sk) for row in found[:-1])
    assert [row.sk for row in PostingRow.query(f"P#{user_id}", consistent_read=True)] == ["0999"]
    records.save_all([])
    records.delete_all([])


def test_save_all_raises_what_fails(user_id: str) -> None:
    with pytest.raises(PynamoDBException):
        records.save_all([word(user_id, "fine"), word(user_id, "large", token="x" * 450_000)])


def test_side_by_side_keeps_order_and_raises_the_first(user_id: str) -> None:
    assert records.side_by_side(lambda n: (time.sleep((10 - n) / 1000), n)[1], range(10)) == list(range(10))
    assert records.side_by_side(str, []) == []

    def fail(number: int) -> int:
        if number > 2:
            raise ValueError(number)
        return number

    with pytest.raises(ValueError, match="3"):
        records.side_by_side(fail, range(20))


# -- sizes and kinds --------------------------------------------------------------------------------------------------


def test_item_of_more_than_400_kb(user_id: str) -> None:
    """Neither a failed condition nor silence."""
    with pytest.raises(PutError) as put:
        records.save_if(word(user_id, token="x" * 450_000), PostingRow.pk.does_not_exist())
    assert put.value.cause_response_code == "ValidationException"
    word(user_id).save()
    with pytest.raises(UpdateError) as updated:
        records.update_if(word(user_id), [PostingRow.token.set("x" * 450_000)], PostingRow.pk.exists())
    assert updated.value.cause_response_code == "ValidationException"
    found = PostingRow.find(f"P#{user_id}", "word")
    assert found is not None
    assert found.token == "1"


def test_which_errors_are_failed_conditions(user_id: str) -> None:
    word(user_id).save()
    with pytest.raises(PutError) as put:
        word(user_id).save(condition=PostingRow.pk.does_not_exist())
    assert condition_failed(put.value)
    with pytest.raises(PutError) as large:
        word(user_id, token="x" * 450_000).save()
    assert not condition_failed(large.value)
    transaction = Transaction().save(word(user_id), PostingRow.pk.does_not_exist())
    with pytest.raises(TransactWriteError) as cancelled:
        transaction._write._commit()
    assert condition_failed(cancelled.value)
    both = (
        Transaction().save(word(user_id), PostingRow.pk.does_not_exist()).save(word(user_id, "b", token="x" * 450_000))
    )
    with pytest.raises(TransactWriteError) as mixed:
        both._write._commit()
    assert not condition_failed(mixed.value), "a row that never fits is no lost race"


@pytest.mark.parametrize("verb", ["save", "update", "delete"])
def test_a_transaction_on_the_row_is_waited_for(user_id: str, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """It is no refusal: who is told of one draws conclusions from what the row says."""
    there = PostingRow.pk.exists()
    writes: dict[str, Callable[[], bool]] = {
        "save": lambda: records.save_if(word(user_id, token="2"), there),
        "update": lambda: records.update_if(word(user_id), [PostingRow.token.set("2")], there),
        "delete": lambda: records.delete_if(word(user_id), there),
    }
    word(user_id).save()
    write, conflicts = getattr(PostingRow, verb), itertools.count()
    monkeypatch.setattr("registry.records.writing._PAUSE_SECONDS", 0)

    def conflict(up_to: int) -> Callable[..., Any]:
        def meet(row: PostingRow, *given: Any, **named: Any) -> Any:
            if next(conflicts) < up_to:
                cause = ClientError({"Error": {"Code": "TransactionConflictException", "Message": "ongoing"}}, verb)
                raise PynamoDBException("conflict", cause)
            return write(row, *given, **named)

        return meet

    monkeypatch.setattr(PostingRow, verb, conflict(1_000))
    with pytest.raises(UnavailableError):
        writes[verb]()
    found = PostingRow.find(f"P#{user_id}", "word")
    assert found is not None
    assert found.token == "1"
    conflicts = itertools.count()
    monkeypatch.setattr(PostingRow, verb, conflict(2))
    assert writes[verb]()
    found = PostingRow.find(f"P#{user_id}", "word")
    assert next(conflicts) == 3
    assert (found is None) if verb == "delete" else (found is not None and found.token == "2")


def test_row_keeps_what_it_is_given(user_id: str) -> None:
    fields = {"name": "Größe \U0001f600", "nested": {"a": [1, 2.5, None, True, ""]}, "empty": {}, "n": 2**60}
    row = VersionRow(
        *records.version_key(user_id, "m", "v1"),
        status="ready",
        user_id=user_id,
        model_id="m",
        version="v1",
        upload_id="0" * 32,
        prefix="",
        fields=fields,
        files=[["path", 5 * 1024**4, "0" * 64, "etag", 2**32 - 1, None]],
        total_size=5 * 1024**4,
    )
    row.save()
    found = VersionRow.find(row.pk, row.sk)
    assert found is not None
    assert (found.fields, found.files, found.prefix) == (fields, row.files, "")
    assert int(found.total_size) == 5 * 1024**4
    assert found.primary is None
    assert found.active is True
    assert found.rev == 0


def test_what_is_read_is_what_botocores_own_parser_reads(user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value, of whatever type, is not walked through on its way; and errors are what they were."""
    pk, table = f"A#{user_id}", get_settings().table
    row = VersionRow(pk, "1", status="ready", user_id="é", model_id="m", version="v1", upload_id="0", prefix="p/")
    row.fields, row.active, row.total_size = {"name": "ü" * 9}, False, 2**53 + 1
    records.save_all([row, records.ProgressRow(pk, "2", stored={"0": "1"}, done={1, 2})])
    keys = [{"pk": {"S": pk}, "sk": {"S": sk}} for sk in ("1", "2", "3")]
    by_pk = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": pk}}}
    asked: list[tuple[str, dict[str, Any]]] = [
        *(("get_item", {"TableName": table, "Key": key}) for key in keys),
        ("query", {"TableName": table, **by_pk, "Limit": 1, "ReturnConsumedCapacity": "TOTAL"}),
        ("query", {"TableName": table, **by_pk, "Select": "COUNT"}),
        ("batch_get_item", {"RequestItems": {table: {"Keys": keys}}}),
    ]
    ours = Row._get_connection().connection.client
    own = botocore.session.get_session().create_client(
        "dynamodb", ours.meta.region_name, endpoint_url=ours.meta.endpoint_url
    )
    walked: list[str] = []
    parse = JSONParser._handle_structure

    def note(parser: Any, shape: Any, value: Any) -> Any:
        walked.append(shape.name)
        return parse(parser, shape, value)

    monkeypatch.setattr(JSONParser, "_handle_structure", note)
    for operation, request in asked:
        read = [getattr(client, operation)(**request) for client in (own, ours)]
        answers = [{name: value for name, value in each.items() if name != "ResponseMetadata"} for each in read]
        assert answers[0] == answers[1], operation
        assert read[1]["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert "AttributeValue" in walked
    walked.clear()
    assert [found.sk for found in Row.query(pk, consistent_read=True)] == ["1", "2"]
    assert walked.count("AttributeValue") == 0
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        ours.get_item(TableName="no-such-table", Key=keys[0])


def test_sets_and_maps_are_changed_by_element(user_id: str) -> None:
    """What makes it idempotent to mark a file as done."""
    from registry.records import ProgressRow, ResultRow

    progress = ProgressRow(f"A#{user_id}", "P", stored={})
    progress.save()
    for number in (1, 2, 2):
        ProgressRow(progress.pk, "P").update(
            actions=[ProgressRow.stored[str(number)].set("5"), ProgressRow.done.add({number})]
        )
    ProgressRow(progress.pk, "P").update(actions=[ProgressRow.done.delete({1})])
    found = ProgressRow.find(progress.pk, "P")
    assert found is not None
    assert found.stored.as_dict() == {"1": "5", "2": "5"}
    assert found.done == {2}
    ProgressRow(progress.pk, "P").update(actions=[ProgressRow.done.delete({2})])
    found = ProgressRow.find(progress.pk, "P")
    assert found is not None
    assert not found.done, "an empty set is no attribute"
    gone = ResultRow(f"A#{user_id}", "R#00000")
    with pytest.raises(UpdateError):
        gone.update(actions=[ResultRow.done["1"].set("x")])
    assert ResultRow.find(gone.pk, gone.sk) is None


def test_queries_are_sorted_by_bytes(user_id: str) -> None:
    listed = ["A", "Z", "a", "a b", "ab", "z", "é", "模", "\U0001f600"]
    records.save_all([word(user_id, name) for name in reversed(listed)])
    assert names(user_id) == sorted(listed, key=str.encode)


# -- the table --------------------------------------------------------------------------------------------------------


def test_create_table_may_be_done_twice(user_id: str) -> None:
    word(user_id).save()
    records.create_table()
    assert names(user_id) == ["word"]
    client = Row._get_connection().connection.client
    table = client.describe_table(TableName=get_settings().table)["Table"]
    assert {(key["AttributeName"], key["KeyType"]) for key in table["KeySchema"]} == {("pk", "HASH"), ("sk", "RANGE")}
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_time_to_live_is_seconds_in_expires(user_id: str) -> None:
    """The template names the attribute; DynamoDB takes a number of whole seconds."""
    OpenRow(f"O#{user_id}", "x", expires=int(time.time()) + 60).save()
    client = Row._get_connection().connection.client
    key = {"pk": {"S": f"O#{user_id}"}, "sk": {"S": "x"}}
    item = client.get_item(TableName=get_settings().table, Key=key, ConsistentRead=True)["Item"]
    assert item["expires"]["N"].isdecimal()
    client.update_time_to_live(
        TableName=get_settings().table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    told = client.describe_time_to_live(TableName=get_settings().table)["TimeToLiveDescription"]
    assert told["AttributeName"] == "expires"
    client.update_time_to_live(
        TableName=get_settings().table, TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires"}
    )
