"""The split of the noise: exact identities, known components, and what pairing buys."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from _results import make_result, with_losses
from scipy import stats
from torch import Tensor

from shrinkage.choose import noise
from shrinkage.choose.scatter import components
from shrinkage.errors import ShrinkageError

NAMES = ("strength", "fold", "seed", "strength_by_fold", "residual")


def table(sizes: tuple[int, int, int], deviations: dict[str, float], seed: int) -> Tensor:
    """A table with these standard deviations, by name of the component."""
    K, F, S = sizes
    normal = np.random.default_rng(seed).normal
    shapes = {
        "strength": (K, 1, 1),
        "fold": (1, F, 1),
        "seed": (1, F, S),
        "strength_by_fold": (K, F, 1),
        "residual": (K, F, S),
    }
    parts = [normal(size=shape) * deviations[name] for name, shape in shapes.items()]
    return torch.from_numpy(sum(parts, np.zeros(sizes)))


@pytest.mark.parametrize("largest", NAMES)
def test_known_components_come_back(largest: str) -> None:
    deviations = dict.fromkeys(NAMES, 1.0) | {largest: 3.0}
    found = [components(table((40, 40, 4), deviations, seed)) for seed in range(10)]
    for name in NAMES:
        mean = sum(split[name] for split in found) / len(found)
        assert mean == pytest.approx(deviations[name] ** 2, rel=0.35), name


def test_without_noise_only_the_strength_is_left() -> None:
    strength = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).view(3, 1, 1)
    split = components(strength.expand(3, 4, 2))
    assert split["strength"] == pytest.approx(stats.tvar([1, 2, 4]))
    assert all(split[name] == 0 for name in NAMES if name != "strength")


def test_the_mean_squares_are_those_of_the_analysis_of_variance() -> None:
    """The sums of squares of the model's terms add up to the total."""
    values = table((3, 4, 2), dict.fromkeys(NAMES, 1.0), 4)
    split = components(values)
    K, F, S = 3, 4, 2
    # Sums of squares back from the components; no component is cut at 0 in this table.
    assert all(split[name] > 0 for name in NAMES)
    e = split["residual"]
    ab = e + S * split["strength_by_fold"]
    c = e + K * split["seed"]
    b = ab + c - e + K * S * split["fold"]
    a = ab + F * S * split["strength"]
    freedom = (K - 1, F - 1, F * (S - 1), (K - 1) * (F - 1), (K - 1) * F * (S - 1))
    total = sum(n * square for n, square in zip(freedom, (a, b, c, ab, e), strict=True))
    assert total == pytest.approx((values - values.mean()).square().sum().item(), rel=1e-9)


def test_one_seed_leaves_seed_and_residual_open() -> None:
    values = table((30, 30, 1), dict.fromkeys(NAMES, 1.0), 2)
    split = components(values)
    assert math.isnan(split["seed"])
    assert math.isnan(split["residual"])
    assert split["strength_by_fold"] == pytest.approx(2, rel=0.4)
    assert split["fold"] == pytest.approx(2, rel=0.6)


def test_pairing_removes_what_folds_share() -> None:
    shared = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    own = torch.tensor([0.01, -0.01, 0.02, 0.0], dtype=torch.float64)
    split = noise(with_losses(torch.stack([shared + 5, shared + 4 + own])))
    assert split.paired_error == pytest.approx(stats.sem(own.numpy()), rel=1e-9)
    apart = math.hypot(stats.sem(shared.numpy()), stats.sem((shared + own).numpy()))
    assert split.unpaired_error == pytest.approx(apart, rel=1e-9)
    assert split.folds_saved == pytest.approx((apart / split.paired_error) ** 2)
    assert split.fold == pytest.approx(stats.tvar([0, 1, 2, 3]), rel=0.02)


def test_strengths_that_diverged_are_left_out() -> None:
    whole = make_result(6, 4, 3)
    without = components(whole.metric().double()[[0, 1, 2, 3, 4]])
    split = noise(make_result(6, 4, 3, diverged=[(5, 1, 0)]))
    assert {name: getattr(split, name) for name in NAMES} == pytest.approx(without, rel=1e-6)


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(ShrinkageError, match="one fold"):
        noise(make_result(4, 1, 3))
    lost = [(k, 0, 0) for k in range(3)]
    with pytest.raises(
        ShrinkageError, match="two strengths at which no member diverged; this path has"
    ):
        noise(make_result(4, 3, 1, diverged=lost))
