"""The automatic grid starts where the optimality condition says, or at a sane balance."""

from __future__ import annotations

import functools
import math
from typing import Any

import _problems
import pytest
import torch
import torch.nn.functional as F
from _problems import classes, fit, numbers, perceptron
from sklearn import linear_model
from torch import Tensor, nn

from shrinkage.engine.member.settings import Settings
from shrinkage.engine.plan.strengths import (
    automatic_strengths,
    balancing_strength,
    zeroing_strength,
)
from shrinkage.errors import ShrinkageError
from shrinkage.parameters import everything
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso, Penalty

problem_of = functools.partial(
    _problems.problem_of, optimizer=functools.partial(torch.optim.SGD, lr=0.1)
)
X, Y = classes(n=60)
_, T = numbers(n=60)
X_NUMBERS, T = numbers(n=60)


def null_gradient_of_classes() -> Tensor:
    """Gradient at zero weights of the mean cross-entropy, the intercepts at the class shares."""
    one_hot = F.one_hot(Y, 3).double()
    return (one_hot.mean(0) - one_hot).T @ X / len(X)


def null_gradient_of_numbers() -> Tensor:
    return (2 * (T.mean() - T) @ X_NUMBERS / len(T)).unsqueeze(0)


def top_l1(g: Tensor) -> float:
    return g.abs().max().item()


def top_rows(g: Tensor) -> float:
    return (g.norm(dim=1).max() / 2).item()  # 4 features: square root of the group size 2


def top_columns(g: Tensor) -> float:
    return (g.norm(dim=0).max() / g.shape[0] ** 0.5).item()


CASES: dict[str, tuple[Penalty, Any]] = {
    "l1": (L1(1.0), top_l1),
    "elastic net": (ElasticNet(1.0, l1_ratio=0.4), lambda g: top_l1(g) / 0.4),
    "rows": (GroupLasso(1.0), top_rows),
    "columns": (GroupLasso(1.0, dim=1), top_columns),
}


@pytest.mark.parametrize("task", ["classes", "numbers"])
@pytest.mark.parametrize("case", CASES)
def test_the_largest_strength_is_the_optimality_condition_at_zero(case: str, task: str) -> None:
    penalty, top = CASES[case]
    if task == "classes":
        problem = problem_of(nn.Linear(4, 3).double(), X, Y, penalty)
        expected = top(null_gradient_of_classes())
    else:
        problem = problem_of(nn.Linear(4, 1).double(), X_NUMBERS, T, penalty)
        expected = top(null_gradient_of_numbers())
    assert zeroing_strength(problem, 60) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.1])
def test_scikit_learn_zeroes_all_weights_there_and_not_below(l1_ratio: float) -> None:
    """Its objective has half the mean square; ours has the whole, so strengths are doubled."""
    penalty = ElasticNet(1.0, l1_ratio=l1_ratio)
    problem = problem_of(nn.Linear(4, 1).double(), X_NUMBERS, T, penalty)
    top = zeroing_strength(problem, 60)
    for factor, zero in [(1 + 1e-6, True), (1 - 1e-4, False)]:
        model = linear_model.ElasticNet(alpha=factor * top / 2, l1_ratio=l1_ratio, tol=1e-12)
        coefficients = model.fit(X_NUMBERS.numpy(), T.numpy().ravel()).coef_
        assert (not coefficients.any()) is zero


@pytest.mark.parametrize("case", CASES)
def test_all_weights_are_zero_there_and_some_are_not_just_below(case: str) -> None:
    penalty, _ = CASES[case]
    top = zeroing_strength(problem_of(nn.Linear(4, 3).double(), X, Y, penalty), 60)
    result = fit(
        nn.Linear(4, 3).double(), X, Y, penalty, strengths=[top * 0.95, top * (1 + 1e-6)],
        seeds=1, folds=2, epochs=150, batch_size=60,
        optimizer=functools.partial(torch.optim.SGD, lr=2.0),
    )  # fmt: skip
    weight = result.refit.weights["weight"][:, 0]
    assert weight[1].any()
    assert not weight[2].any()


@pytest.mark.parametrize(
    "settings", [{}, {"nesterov": True}, {"dampening": 0.5}], ids=["heavy", "nesterov", "damped"]
)
def test_momentum_moves_the_strength_that_zeroes_all(settings: dict[str, Any]) -> None:
    """The loss moves weights by lr / (1 - m), the prox by lr: more strength is needed."""
    sgd = functools.partial(torch.optim.SGD, lr=0.4, momentum=0.8, **settings)
    make, gain = nn.Linear(4, 3).double(), 5 * (1 - settings.get("dampening", 0))
    top = zeroing_strength(problem_of(make, X, Y, L1(1.0), optimizer=sgd), 60)
    assert top == pytest.approx(gain * top_l1(null_gradient_of_classes()), rel=1e-7)
    result = fit(
        make, X, Y, L1(1.0), strengths=[top * 0.95, top * (1 + 1e-6)],
        seeds=1, folds=2, epochs=150, batch_size=60, optimizer=sgd,
    )  # fmt: skip
    weight = result.refit.weights["weight"][:, 0]
    assert weight[1].any()
    assert not weight[2].any()


def test_momentum_does_not_count_where_the_penalty_has_it_too() -> None:
    def balance(momentum: float, how: str) -> float:
        sgd = functools.partial(torch.optim.SGD, lr=0.1, momentum=momentum)
        problem = problem_of(perceptron(), X, Y, L2(1.0), optimizer=sgd, how=how)
        return balancing_strength(problem, 60)

    assert balance(0.9, "decoupled") == pytest.approx(10 * balance(0, "decoupled"))
    assert balance(0.9, "coupled") == balance(0, "coupled") == balance(0, "decoupled")
    assert balance(1.0, "decoupled") == balance(0, "decoupled"), "nothing finite can be said"


def test_test_rows_do_not_move_the_grid() -> None:
    problem = problem_of(
        nn.Linear(4, 3).double(), torch.cat([X, X * 50]), torch.cat([Y, Y]), L1(1.0)
    )
    alone = problem_of(nn.Linear(4, 3).double(), X, Y, L1(1.0))
    assert zeroing_strength(problem, 60) == zeroing_strength(alone, 60)


@pytest.mark.parametrize(
    "penalty", [L2(1.0), L1(1.0), GroupLasso(1.0), ElasticNet(1.0, l1_ratio=0.0)]
)
@pytest.mark.parametrize("model", ["linear", "perceptron", "deep"])
def test_every_grid_is_finite_positive_and_rising(penalty: Penalty, model: str) -> None:
    make = {
        "linear": lambda: nn.Linear(4, 3),
        "perceptron": lambda: perceptron().float(),
        "deep": lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(),
                                      nn.BatchNorm1d(6), nn.Linear(6, 3)),
    }[model]  # fmt: skip
    grid = automatic_strengths(problem_of(make, X.float(), Y, penalty), 60, 7)
    assert grid.shape == (7,)
    assert grid.dtype == torch.float64
    assert grid.isfinite().all()
    assert (grid > 0).all()
    exact = model == "linear" and penalty.strength_max(torch.ones(3, 4)).isfinite()
    ratios = grid[1:] / grid[:-1]
    torch.testing.assert_close(ratios, torch.full_like(ratios, 10 ** ((4 if exact else 5) / 6)))
    assert 1e-4 < grid[-1] < 100


def test_l2_balances_loss_and_penalty_at_the_initial_weights() -> None:
    problem = problem_of(perceptron(), X, Y, L2(1.0))
    model = problem.build(0)
    weights = [model[0].weight, model[2].weight]
    gradients = torch.autograd.grad(F.cross_entropy(model(X), Y), weights)
    size = torch.cat([g.flatten() for g in gradients]).norm()
    pull = torch.cat([2 * w.flatten() for w in weights]).norm()
    balance = (size / pull).item()
    assert zeroing_strength(problem, 60) is None
    assert balancing_strength(problem, 60) == pytest.approx(balance, rel=1e-9)
    ends = automatic_strengths(problem, 60, 2).log10() - math.log10(balance)
    assert ends.tolist() == pytest.approx([-4.5, 0.5])


def test_the_intercept_may_be_penalized_too() -> None:
    problem = problem_of(nn.Linear(4, 1).double(), X_NUMBERS, T, L1(1.0), select=everything)
    weight = (-2 * T @ X_NUMBERS / 60).abs().max()
    bias = (-2 * T.mean()).abs()
    assert zeroing_strength(problem, 60) == pytest.approx(float(max(weight, bias)), rel=1e-9)


class Unused(nn.Module):
    """Selected, and no output depends on it."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.spare = nn.Linear(4, 3).double(), nn.Linear(4, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


def test_an_unused_weight_does_not_stop_the_grid() -> None:
    assert 0 < balancing_strength(problem_of(Unused, X, Y, L1(1.0)), 60) < 10


@pytest.mark.parametrize("y", [torch.zeros(60, dtype=torch.long), torch.full((60,), 2.0)])
def test_a_constant_target_gives_a_finite_grid(y: Tensor) -> None:
    outputs = 1 if y.is_floating_point() else 3
    problem = problem_of(nn.Linear(4, outputs).double(), X, y, L1(1.0))
    grid = automatic_strengths(problem, 60, 3)
    assert grid.isfinite().all()
    assert (grid > 0).all()


def test_rows_of_zeros_have_no_grid() -> None:
    problem = problem_of(nn.Linear(4, 3).double(), torch.zeros(60, 4), Y, L1(1.0))
    with pytest.raises(ShrinkageError, match="no automatic strengths"):
        automatic_strengths(problem, 60, 5)


@pytest.mark.parametrize("count", [1, 0, -4])
def test_a_path_of_one_automatic_strength_is_refused(count: int) -> None:
    with pytest.raises(ShrinkageError, match="at least 2"):
        Settings(strengths=count).checked(L1(1.0))


class SelfNormalizing(nn.Module):
    """Random numbers that only training draws, by another function than dropout's."""

    def __init__(self) -> None:
        super().__init__()
        self.noise, self.layer = nn.AlphaDropout(0.3), nn.Linear(4, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.noise(x))


DROPPING: dict[str, tuple[Any, Any]] = {
    "input": (lambda p: nn.Sequential(nn.Dropout(p), nn.Linear(4, 3)).double(), L1(1.0)),
    "hidden": (
        lambda p: nn.Sequential(
            nn.Linear(4, 8), nn.ReLU(), nn.Dropout(p), nn.Linear(8, 3)
        ).double(),
        L2(1.0),
    ),
}


@pytest.mark.parametrize("case", DROPPING)
def test_dropout_draws_nothing_into_the_zeroing_strength(case: str) -> None:
    build, penalty = DROPPING[case]
    one, none = (
        automatic_strengths(problem_of(functools.partial(build, p), X, Y, penalty), 60, 2).tolist()
        for p in (0.5, 0)
    )
    assert one == none


def test_no_other_noise_of_training_enters_the_zeroing_strength() -> None:
    noisy = zeroing_strength(problem_of(SelfNormalizing, X, Y, L1(1.0)), 60)
    assert noisy == pytest.approx(top_l1(null_gradient_of_classes()), rel=1e-7)


def test_batch_normalization_is_by_the_rows_as_in_training() -> None:
    """In a new model the running mean and variance are those of nothing: 0 and 1."""
    far = 5 + 3 * X
    build = lambda: nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.Linear(4, 3)).double()  # noqa: E731
    scaled = (far - far.mean(0)) / (far.var(0, correction=0) + 1e-5).sqrt()
    one_hot = F.one_hot(Y, 3).double()
    expected = top_l1((one_hot.mean(0) - one_hot).T @ scaled / len(X))
    assert zeroing_strength(problem_of(build, far, Y, L1(1.0)), 60) == pytest.approx(expected)
