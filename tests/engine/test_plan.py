"""Which rows a member sees, and when; and every grid and seed that is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shrinkage.engine.member.given import make_seeds, make_strengths
from shrinkage.engine.plan.plan import Plan
from shrinkage.errors import ShrinkageError, ShrinkageWarning
from shrinkage.rows.folds import by_ids
from shrinkage.rows.groups import ALL_ROWS, Group, key

FOLDS = torch.arange(23) % 4


def plan_of(folds: Tensor = FOLDS, **changes: Any) -> Plan:
    settings = {"seeds": (0, 7), "tests": 5, "epochs": 2, "batch_size": 5, **changes}
    return Plan(torch.tensor([0.0, 1.0], dtype=torch.float64), by_ids(folds), **settings)


def test_groups_are_folds_times_seeds_with_the_refits_last() -> None:
    groups = plan_of().groups()
    assert len(groups) == len(set(groups)) == (4 + 1) * 2
    assert [g.fold for g in groups[-2:]] == [ALL_ROWS] * 2
    assert len(plan_of(refit=False).groups()) == 4 * 2


@pytest.mark.parametrize("fold", range(4))
def test_a_fold_never_trains_on_the_rows_it_holds(fold: int) -> None:
    plan, group = plan_of(), Group(fold, 0)
    train, held = plan.train_rows(group).tolist(), plan.held_rows(group).tolist()
    assert sorted(train + held) == list(range(23))
    assert (FOLDS[held] == fold).all()


def test_the_refit_trains_on_every_training_row_and_holds_the_test_rows() -> None:
    plan, group = plan_of(), Group(ALL_ROWS, 0)
    assert plan.train_rows(group).tolist() == list(range(23))
    assert plan.held_rows(group).tolist() == list(range(23, 28))


@pytest.mark.parametrize("batch_size", [1, 4, 5, 17, 18, 23, 100])
@pytest.mark.parametrize("fold", [ALL_ROWS, 0, 3])
def test_an_epoch_visits_every_row_once(fold: int, batch_size: int) -> None:
    plan, group = plan_of(batch_size=batch_size), Group(fold, 0)
    rows, real = plan.batches(group, epoch=1)
    n = len(plan.train_rows(group))
    assert rows.shape == real.shape == (plan.steps(group), batch_size)
    assert plan.padding(group) == rows.numel() - n
    assert sorted(rows[real].tolist()) == plan.train_rows(group).tolist()
    counts = real.sum(1)
    assert counts.tolist() == [len(part) for part in torch.arange(n).split(batch_size)]


@pytest.mark.parametrize("fold", range(4))
def test_padding_repeats_a_row_of_the_same_batch(fold: int) -> None:
    plan = plan_of(batch_size=7)
    rows, real = plan.batches(Group(fold, 0), epoch=0)
    assert not real.all()
    for batch, own in zip(rows, real, strict=True):
        assert set(batch.tolist()) == set(batch[own].tolist())


def test_batch_order_depends_on_fold_seed_and_epoch_alone() -> None:
    orders = {
        (fold, seed, epoch): tuple(
            plan_of().batches(Group(fold, seed), epoch)[0].flatten().tolist()
        )
        for fold in (ALL_ROWS, 0, 1)
        for seed in (0, 7)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == len(orders)
    torch.manual_seed(99)
    again = plan_of(epochs=9, seeds=(7,)).batches(Group(1, 7), 1)[0]
    assert tuple(again.flatten().tolist()) == orders[1, 7, 1]


def test_keys_differ_and_never_change() -> None:
    assert key("initial weights", Group(0, 1)) != key("initial weights", Group(1, 0))
    assert key("order", Group(0, 1), 2) != key("training", Group(0, 1), 2)
    assert key("order", Group(0, 1), 2) == 7850826676731975555


# strengths


@pytest.mark.parametrize(
    "given",
    [[0.1, 0.01], [0.0, 0.1, 0.01], (0.01, 0.1), np.array([0.1, 0.01]), torch.tensor([0.01, 0.1]),
     {0.1, 0.01}],
)  # fmt: skip
def test_strengths_are_sorted_with_zero_in_front(given: Any) -> None:
    strengths = make_strengths(given)
    assert strengths.dtype == torch.float64
    torch.testing.assert_close(strengths, torch.tensor([0, 0.01, 0.1], dtype=torch.float64))


@pytest.mark.parametrize(
    ("given", "kept", "said"),
    [([0.1, 0.2, 0.1], [0, 0.1, 0.2], "0.1"), ([0.0, 0.0, 1.0, 1], [0, 1.0], "0, 1")],
)
def test_fault_21_strengths_given_twice_are_merged_and_said(
    given: list[float], kept: list[float], said: str
) -> None:
    with pytest.warns(ShrinkageWarning, match=f"^strengths: given more than once .*: {said}\\. "):
        assert make_strengths(given).tolist() == kept


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([-0.1, 1.0], "-0.1"),
        ([float("nan"), 1.0], "nan"),
        ([float("inf")], "inf"),
        ([], "no strength above 0"),
        ([0.0], "no strength above 0"),
        ("ab", "not numbers"),
        ("20", "not numbers"),
        (["a"], "not numbers"),
        (["1e-3", 1.0], "not numbers"),
        (None, "not numbers"),
        (0.5, "not numbers"),
        (torch.ones(2, 2), "not numbers"),
    ],
)
def test_bad_strengths_are_refused(given: Any, words: str) -> None:
    with pytest.raises(ShrinkageError, match=words):
        make_strengths(given)


# seeds


def test_a_number_of_seeds_counts_from_zero() -> None:
    assert make_seeds(3) == make_seeds(np.int64(3)) == (0, 1, 2)
    assert make_seeds([5, 2]) == (5, 2)
    assert make_seeds(np.array([5, 2])) == (5, 2)


@pytest.mark.parametrize("given", [0, -1, [], [1, 1], [0.5], "a", "3", 2.0, None, True])
def test_bad_seeds_are_refused(given: Any) -> None:
    with pytest.raises(ShrinkageError, match="seeds="):
        make_seeds(given)
