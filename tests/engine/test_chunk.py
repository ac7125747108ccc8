"""Chunks hold every member once, have one shape, and keep to their memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from shrinkage.engine.member.member import MemberBytes
from shrinkage.engine.plan.chunk import Chunk, Limits, make_chunks
from shrinkage.engine.plan.plan import Plan
from shrinkage.errors import ShrinkageError
from shrinkage.rows.folds import by_ids

PLENTY = 10**12


def plan_of(strengths: int, folds: int, seeds: int, rows: int, batch_size: int) -> Plan:
    return Plan(
        torch.arange(strengths, dtype=torch.float64),
        by_ids(torch.arange(rows) % folds),
        tuple(range(seeds)),
        tests=0,
        epochs=1,
        batch_size=batch_size,
    )


PLANS = [
    plan_of(strengths, folds, seeds, rows, batch_size)
    for strengths in (2, 5, 21)
    for folds, rows in ((2, 40), (3, 22), (5, 64))
    for seeds in (1, 3)
    for batch_size in (8,)
]


def cut(plan: Plan, **changes: Any) -> list[Chunk]:
    settings = {"workers": 1, "max_memory": PLENTY, **changes}
    member = MemberBytes(settings.pop("state", 1), settings.pop("step", 1))
    return make_chunks(plan, member, Limits(**settings))


@pytest.mark.parametrize("members", [None, 1, 2, 3, 5, 7, 16, 1000])
@pytest.mark.parametrize("plan", PLANS)
def test_every_member_is_in_one_chunk_and_all_chunks_have_one_shape(
    plan: Plan, members: int | None
) -> None:
    chunks = cut(plan, members=members)
    seen = Counter((chunk.group, k) for chunk in chunks for k in chunk.own_strengths)
    everyone = {(g, k) for g in plan.groups() for k in range(len(plan.strengths))}
    assert set(seen) == everyone
    assert set(seen.values()) == {1}
    assert len({len(chunk.strengths) for chunk in chunks}) == 1
    for chunk in chunks:
        assert chunk.members == len(chunk.own_strengths) > 0
        assert set(chunk.strengths) == set(chunk.own_strengths)


@pytest.mark.parametrize("members", [1, 2, 3, 5, 7, 16, 40])
@pytest.mark.parametrize("plan", PLANS)
def test_no_chunk_is_larger_than_asked(plan: Plan, members: int) -> None:
    assert max(len(chunk.strengths) for chunk in cut(plan, members=members)) <= members


def test_strengths_are_shared_out_evenly() -> None:
    plan = plan_of(21, 2, 1, 40, 8)
    assert sorted({chunk.members for chunk in cut(plan, members=20)}) == [10, 11]


def test_the_longest_come_first() -> None:
    plan = PLANS[4]
    steps = [plan.steps(chunk.group) for chunk in cut(plan)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) > 1


def test_memory_of_all_workers_bounds_the_chunk() -> None:
    plan = plan_of(21, 2, 1, 40, 8)
    assert len(cut(plan, step=1000, max_memory=10_500)[0].strengths) <= 10
    assert len(cut(plan, step=1000, max_memory=10_500, workers=3)[0].strengths) == 3
    assert len(cut(plan, step=1, max_memory=1)[0].strengths) == 1


def test_free_memory_bounds_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shrinkage.engine.plan.chunk.free_memory", lambda: 10_000)
    plan = plan_of(21, 2, 1, 40, 8)
    assert len(cut(plan, step=1000, max_memory=None)[0].strengths) <= 5


def test_a_large_model_comes_in_small_chunks() -> None:
    plan = plan_of(21, 2, 1, 40, 8)
    small, large = cut(plan, state=10_000), cut(plan, state=10_000_000)
    assert len(small[0].strengths) == 21
    assert len(large[0].strengths) < 5


def test_a_member_that_does_not_fit_is_refused_with_both_sizes() -> None:
    with pytest.raises(ShrinkageError, match=r"needs 3 MB.* and 4 MB are allowed"):
        cut(PLANS[0], step=3_000_000, max_memory=4_000_000, workers=2)


def test_the_shape_of_earlier_chunks_is_taken_over() -> None:
    plan = plan_of(7, 2, 1, 40, 8)
    assert {len(chunk.strengths) for chunk in cut(plan, width=5)} == {5}
    assert {chunk.members for chunk in cut(plan, width=5)} == {5, 2}
    assert {len(chunk.strengths) for chunk in cut(plan, width=9)} == {9}
    assert {len(chunk.strengths) for chunk in cut(plan, width=9, step=1, max_memory=4)} == {4}
    assert {len(chunk.strengths) for chunk in cut(plan, width=5, members=7)} == {7}
