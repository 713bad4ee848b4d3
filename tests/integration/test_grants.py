"""Grants that are given and taken away at once: DynamoDB decides, and none is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from registry import grants
from registry.auth import ANYBODY
from registry.errors import ConflictError

from tests.integration.harness import World


def put(world: World, place: str) -> bool:
    try:
        grants.put_grant(principal=ANYBODY, user_id=world.user_id, place=place, role="read")
    except ConflictError as error:
        assert error.code == "too_many_grants"
        return False
    return True


def listed(world: World) -> list[str | None]:
    found, _ = grants.list_grants(principal=ANYBODY, user_id=world.user_id, limit=1000, cursor=None)
    return [grant.model_id for grant in found]


def test_of_grants_given_at_once_each_counts_and_no_more_than_one_may_have(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "MAX_GRANTS", 15)
    places = [f"m{number:02d}/bob" for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        taken = list(pool.map(lambda place: put(world, place), places))
    given = [place.partition("/")[0] for place, done in zip(places, taken, strict=True) if done]
    assert len(given) == 15
    assert listed(world) == given


def test_a_grant_survives_that_another_of_its_grantee_is_revoked(world: World) -> None:
    for _ in range(10):
        put(world, "old/bob")
        with ThreadPoolExecutor(2) as pool:
            revoked = pool.submit(grants.delete_grant, principal=ANYBODY, user_id=world.user_id, place="old/bob")
            given = pool.submit(put, world, "new/bob")
            revoked.result()
            assert given.result()
        assert listed(world) == ["new"]
        grants.delete_grant(principal=ANYBODY, user_id=world.user_id, place="new/bob")
        assert listed(world) == []
