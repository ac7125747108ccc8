"""Simultaneous intervals against Student, Tukey and simulated coverage."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats

from shrinkage.comparing.intervals import critical_value, simultaneous
from shrinkage.errors import ShrinkageError


def noise(contenders: int, rows: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(contenders, rows, generator=random, dtype=torch.float64)


def all_pairs(contenders: int) -> torch.Tensor:
    return torch.tensor(list(itertools.combinations(range(contenders), 2)))


def test_one_pair_is_students_paired_interval() -> None:
    losses = noise(2, 12) + torch.tensor([[0.3], [0.0]])
    ((mean, low, high),) = simultaneous(losses, torch.tensor([[0, 1]]), 0.9).tolist()
    gap = (losses[0] - losses[1]).numpy()
    expected = stats.ttest_1samp(gap, 0).confidence_interval(0.9)
    assert mean == pytest.approx(gap.mean())
    reach = (expected.high - expected.low) / 2
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.02 * reach)


@pytest.mark.parametrize("contenders", [3, 8])
def test_all_pairs_of_independent_contenders_are_tukeys(contenders: int) -> None:
    rows = 4000
    expected = stats.studentized_range.ppf(0.95, contenders, rows) / 2**0.5
    found = critical_value(noise(contenders, rows), all_pairs(contenders), 0.95)
    assert found == pytest.approx(expected, rel=0.02)


def test_contenders_that_go_together_cost_no_width() -> None:
    one, other = noise(2, 500)
    shared = torch.stack([one, other, other + 1e-9 * one, other - 1e-9 * one])
    pairs = torch.tensor([[1, 0], [2, 0], [3, 0]])
    assert critical_value(shared, pairs, 0.95) == pytest.approx(1.965, rel=0.02)


def test_a_contender_that_is_the_same_differs_by_nothing() -> None:
    losses = noise(2, 30)
    losses = torch.stack([losses[0], losses[0], losses[1]])
    found = simultaneous(losses, torch.tensor([[1, 0], [2, 0]]), 0.95)
    assert found[0].tolist() == [0, 0, 0]
    assert found[1, 1] < found[1, 0] < found[1, 2]
    assert simultaneous(losses, torch.tensor([[0, 1]]), 0.95).tolist() == [[0, 0, 0]]


def test_all_intervals_hold_together_as_often_as_they_say() -> None:
    pairs, missed = all_pairs(5), 0
    for seed in range(400):
        intervals = simultaneous(noise(5, 25, seed), pairs, 0.9)
        missed += bool((intervals[:, 1] > 0).any() or (intervals[:, 2] < 0).any())
    assert 0.06 < missed / 400 < 0.14


def test_one_row_is_refused() -> None:
    with pytest.raises(ShrinkageError, match="two test rows, not 1"):
        simultaneous(noise(2, 1), torch.tensor([[0, 1]]), 0.95)
