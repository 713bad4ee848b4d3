"""How a file is cut into parts: within S3's limits whatever its size."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from registry.settings import get_settings
from registry.storage.multiparts import plan_parts

settings.register_profile("unhurried", deadline=None)  # others work on this machine too
settings.load_profile("unhurried")


MIB, GIB, TIB = 2**20, 2**30, 2**40
sizes = st.one_of(
    st.integers(1, 100 * MIB), st.integers(1, 5 * TIB), st.integers(0, 320).map(lambda n: 16 * MIB * n + 1)
)


@pytest.fixture(autouse=True, scope="module")
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGISTRY_BUCKET", "b")
        patch.setenv("REGISTRY_TABLE", "t")
        patch.delenv("REGISTRY_PART_BYTES", raising=False)
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()


@given(sizes, st.one_of(st.none(), st.integers(1, GIB)))
@example(5 * TIB, None)
@example(5 * TIB, 1)
@example(10_000 * 16 * MIB, None)
@example(10_000 * 16 * MIB + 1, None)
@example(1, None)
def test_parts_keep_s3s_limits_and_add_up_to_the_file(size, smallest):
    plan = plan_parts(size, smallest=smallest)
    assert 1 <= plan.count <= 10_000
    assert 5 * MIB <= plan.part_bytes <= 5 * GIB
    assert all(
        plan.length(number) == plan.part_bytes for number in {1, plan.count // 2, plan.count - 1} - {0, plan.count}
    )
    assert 1 <= plan.length(plan.count) <= plan.part_bytes
    assert plan.part_bytes * (plan.count - 1) + plan.length(plan.count) == size


@given(st.integers(1, 10_000 * 16 * MIB))
def test_parts_are_of_the_set_size_while_10000_of_them_do(size):
    assert plan_parts(size).part_bytes == 16 * MIB


@given(sizes)
def test_the_same_size_is_always_cut_alike(size):
    assert plan_parts(size) == plan_parts(size)


def test_a_file_of_one_part_is_one_part():
    for size in (0, 1, 16 * MIB):
        plan = plan_parts(size)
        assert (plan.count, plan.length(1)) == (1, size)
    assert plan_parts(16 * MIB + 1).count == 2


@pytest.mark.parametrize(("part_bytes", "expected"), [(1, 5 * MIB), (5 * MIB, 5 * MIB), (64 * MIB, 64 * MIB)])
def test_the_part_size_is_a_setting_but_never_below_s3s_least(monkeypatch, part_bytes, expected):
    with monkeypatch.context() as patch:
        patch.setenv("REGISTRY_PART_BYTES", str(part_bytes))
        get_settings.cache_clear()
        assert plan_parts(100).part_bytes == expected
    get_settings.cache_clear()


def test_a_part_size_beyond_s3s_largest_is_not_planned(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("REGISTRY_PART_BYTES", str(6 * GIB))
        get_settings.cache_clear()
        try:
            assert plan_parts(10 * GIB).part_bytes <= 5 * GIB
        finally:
            patch.undo()
            get_settings.cache_clear()
