"""The second round: where its strengths lie, and that it changes nothing else."""

from __future__ import annotations

import functools

import pytest
import torch
from _problems import classes, fit, perceptron
from torch import nn

from shrinkage.engine.refine import around_minimum
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L2

GRID = torch.tensor([0, 0.01, 0.1, 1.0], dtype=torch.float64)
X, Y = classes(n=60)


@pytest.mark.parametrize(
    ("losses", "count", "expected"),
    [
        ([4, 3, 1, 2], 4, [-5 / 3, -4 / 3, -2 / 3, -1 / 3]),
        ([4, 3, 1, 2], 3, [-5 / 3, -4 / 3, -1 / 2]),
        ([4, 3, 1, 1], 2, [-1 / 2, 1 / 2]),
        ([4, 1, 2, 3], 2, [-3, -1.5]),
        ([1, 2, 3, 4], 3, [-3.5, -3, -2.5]),
        ([float("inf"), 3, float("inf"), 4], 2, [-3, -1.5]),
        ([4, 3, 1, 2], 1, [-1.5]),
    ],
)
def test_the_second_round_lies_around_the_minimum(
    losses: list[float], count: int, expected: list[float]
) -> None:
    found = around_minimum(GRID, torch.tensor(losses, dtype=torch.float64), count)
    assert found.log10().tolist() == pytest.approx(expected, abs=1e-12)


def test_nothing_is_added_where_everything_diverged() -> None:
    assert len(around_minimum(GRID, torch.full((4,), torch.inf), 3)) == 0


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.NAdam])
def test_two_rounds_are_the_same_path_as_one(optimizer: type[torch.optim.Optimizer]) -> None:
    settings = {
        "folds": 2,
        "seeds": 2,
        "epochs": 2,
        "test": (X[:10], Y[:10]),
        "optimizer": functools.partial(optimizer, lr=0.02),
    }
    given = [0.001, 0.01, 0.1]
    refined = fit(perceptron(), X, Y, L2(1.0), strengths=given, refine=3, **settings)
    assert len(refined.strengths) == 7
    assert set(given) < set(refined.strengths.tolist())
    once = fit(perceptron(), X, Y, L2(1.0), strengths=refined.strengths.tolist(), **settings)
    for name in ("strengths", "train_loss", "valid_loss", "fit_loss", "norms", "predictions"):
        torch.testing.assert_close(getattr(refined, name), getattr(once, name))
    for name in ("train_loss", "fit_loss", "test_loss", "test_predictions"):
        torch.testing.assert_close(getattr(refined.refit, name), getattr(once.refit, name))
    for name, weight in refined.refit.weights.items():
        torch.testing.assert_close(weight, once.refit.weights[name])
    assert torch.equal(refined.diverged, once.diverged)


def test_the_minimum_can_only_get_better() -> None:
    settings = {"strengths": [1e-3, 1e-1], "folds": 2, "seeds": 1, "epochs": 2}
    coarse = fit(nn.Linear(4, 3), X.float(), Y, L2(1.0), **settings)
    fine = fit(nn.Linear(4, 3), X.float(), Y, L2(1.0), refine=True, **settings)
    assert len(fine.strengths) == len(coarse.strengths) + 8
    best, better = (r.valid_loss[..., -1].mean((1, 2)).min() for r in (coarse, fine))
    assert better <= best


def test_fewer_than_no_strengths_are_refused() -> None:
    with pytest.raises(ShrinkageError, match="refine=-1"):
        fit(nn.Linear(4, 3), X.float(), Y, L2(1.0), strengths=[0.1], refine=-1, folds=2, epochs=1)


def test_the_second_round_stays_on_the_path_of_the_best_point() -> None:
    settings = {"folds": 2, "seeds": 1, "epochs": 2, "strengths": [0.01, 0.1]}
    grid = {"weight_decay": [0.0, 0.3]}
    first = fit(perceptron(), X, Y, L2(1.0), grid=grid, **settings)
    both = fit(perceptron(), X, Y, L2(1.0), grid=grid, refine=2, **settings)
    best = first.valid_loss[..., -1].mean((1, 2)).argmin()
    decay = first.knobs["weight_decay"][best].item()
    other = 0.3 - decay
    assert len(both.slice(weight_decay=decay).strengths) == 5
    torch.testing.assert_close(
        both.slice(weight_decay=other).valid_loss, first.slice(weight_decay=other).valid_loss
    )
    kept = [k for k, s in enumerate(both.strengths.tolist()) if s in (0, 0.01, 0.1)]
    torch.testing.assert_close(both.valid_loss[kept], first.valid_loss)
