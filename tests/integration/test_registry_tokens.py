"""Registry tokens on DynamoDB Local: who makes, uses and revokes at once, and what a death leaves behind."""

from __future__ import annotations

from typing import Any

import pytest
from registry import tokens
from registry.errors import ConflictError, UnauthenticatedError, UnavailableError
from registry.principals import Principal
from registry.schemas.tokens import CreateToken, NewToken

from tests.integration.harness import World, at_once


def make(world: World, **asked: Any) -> NewToken:
    return tokens.create_token(principal=Principal(world.user_id), asked=CreateToken(name="ci", **asked))


def revoke(world: World, token_id: str) -> Any:
    return tokens.revoke_token(principal=Principal(world.user_id), token_id=token_id)


def kinds(world: World) -> list[str]:
    return sorted(pk.partition("#")[0] for pk, _ in world.rows())


def test_of_many_made_at_once_there_are_as_many_as_places(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_TOKENS", 5)
    results = at_once([lambda: make(world) for _ in range(20)])
    made = [each for each in results if isinstance(each, NewToken)]
    assert 1 <= len(made) <= 5
    assert {type(each) for each in results} <= {NewToken, ConflictError, UnavailableError}
    assert kinds(world) == ["T"] * len(made) + ["TK"] * len(made)
    for each in made:
        assert tokens.authenticate(each.token).token_id == each.token_id
    listed = tokens.list_tokens(principal=Principal(world.user_id))
    assert {each.token_id for each in listed} == {each.token_id for each in made}


@pytest.mark.case("N12")
def test_uses_and_revocations_at_once_leave_nothing(world: World) -> None:
    made = [make(world) for _ in range(4)]
    works = [lambda each=each: tokens.authenticate(each.token) for each in made] * 5
    works += [lambda each=each: revoke(world, each.token_id) for each in made]
    results = at_once(works)
    assert {type(each) for each in results[:20]} <= {Principal, UnauthenticatedError}
    for each, result in zip(made, results[20:], strict=True):
        if isinstance(result, UnavailableError):  # as a user does who is told to try again
            revoke(world, each.token_id)
    assert world.rows() == {}


@pytest.mark.case("N11")
def test_who_dies_has_made_all_of_a_token_or_none_and_revoked_likewise(world: World) -> None:
    def once(token_id: str | None = None) -> NewToken | None:
        return make(world) if token_id is None else revoke(world, token_id)

    assert world.process.run_to_death(once, 1)
    assert world.rows() == {}
    assert not world.process.run_to_death(once, 2)  # one write is all there is
    assert kinds(world) == ["T", "TK"]
    ((_, place),) = [(pk, row) for (pk, _), row in world.rows().items() if pk.startswith("TK#")]
    assert world.process.run_to_death(lambda: once(place["token_id"]), 1)
    assert kinds(world) == ["T", "TK"]
    assert not world.process.run_to_death(lambda: once(place["token_id"]), 2)
    assert world.rows() == {}


@pytest.mark.case("N11")
def test_a_token_costs_one_read_and_in_an_hour_one_write(world: World) -> None:
    made = make(world)
    for expected in ({"GetItem": 1, "UpdateItem": 1}, {"GetItem": 1}):
        with world.process.watched():
            tokens.authenticate(made.token)
        assert world.process.table_calls() == expected
    assert made.token not in str(world.rows()) and made.token[3:] not in str(world.rows())
