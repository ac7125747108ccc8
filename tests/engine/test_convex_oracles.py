"""Convex problems have one answer: the path must land on scikit-learn's."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from torch import Tensor, nn

from shrinkage.engine import fit_path
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso, Penalty
from shrinkage.result.path_result import PathResult

N, P = 60, 6
PLAIN = torch.optim.SGD
NESTEROV = functools.partial(torch.optim.SGD, momentum=0.5, nesterov=True)
ACCELERATED = functools.partial(torch.optim.SGD, lr=0.5, momentum=0.9, nesterov=True)
TIGHT = {"rtol": 1e-6, "atol": 1e-7}


def data(classes: int = 0) -> tuple[Tensor, Tensor]:
    """Standardized, correlated rows; three features tell, three do not."""
    random = torch.Generator().manual_seed(5)
    X = torch.randn(N, P, generator=random, dtype=torch.float64)
    X[:, 1] += 0.5 * X[:, 0]
    X = (X - X.mean(0)) / X.std(0, correction=0)
    truth = torch.tensor([2.0, -1.0, 0.7, 0, 0, 0], dtype=torch.float64)
    noise = torch.randn(N, generator=random, dtype=torch.float64)
    score = X @ truth + 1.5 + noise
    if not classes:
        return X, score
    score += 2 * torch.randn(N, generator=random, dtype=torch.float64)
    return X, score.argsort().argsort() * classes // N


def solved(
    penalty: Penalty, strengths: list[float], classes: int = 0, **changes: Any
) -> PathResult:
    X, y = data(classes)
    outputs = max(classes, 1)
    settings: dict[str, Any] = {
        "folds": 2,
        "seeds": 1,
        "epochs": 200 if classes else 60,
        "batch_size": N,
        "optimizer": functools.partial(PLAIN, lr=1.5 if classes else 0.3),
        "compile": False,
        **changes,
    }
    model = nn.Linear(P, outputs).double()
    result = fit_path(model, X, y, penalty, strengths=strengths, **settings)
    assert result.about["engine"].startswith("vectorized")
    return result


def found(result: PathResult, k: int) -> tuple[Tensor, Tensor]:
    return result.refit.weights["weight"][k, 0], result.refit.weights["bias"][k, 0]


def assert_lands_on(result: PathResult, k: int, coef: Any, intercept: Any) -> None:
    weight, bias = found(result, k)
    expected = torch.as_tensor(np.atleast_2d(coef))
    torch.testing.assert_close(weight, expected, **TIGHT)
    torch.testing.assert_close(bias, torch.as_tensor(np.atleast_1d(intercept)), **TIGHT)
    assert torch.equal(weight == 0, expected == 0)


REGRESSION = {
    "ridge": (L2(1.0), [1e-3, 0.1, 1.0], lambda s: Ridge(alpha=s * N, tol=1e-12)),
    "lasso": (L1(1.0), [0.02, 0.3, 2.0], lambda s: Lasso(alpha=s / 2, tol=1e-12)),
    "elastic net": (
        ElasticNet(1.0, l1_ratio=0.3),
        [0.02, 0.5, 2.0],
        lambda s: SklearnElasticNet(alpha=s / 2, l1_ratio=0.3, tol=1e-12),
    ),
}


@pytest.mark.parametrize(
    ("name", "how"),
    [("ridge", None), ("ridge", "proximal"), ("lasso", None), ("elastic net", None)],
)
def test_least_squares_lands_on_scikit_learns_coefficients(name: str, how: str | None) -> None:
    penalty, strengths, oracle = REGRESSION[name]
    X, y = data()
    result = solved(penalty, strengths, how=how)
    assert torch.equal(result.strengths[1:], torch.tensor(strengths, dtype=torch.float64))
    for k, strength in enumerate(strengths, start=1):
        model = oracle(strength).fit(X.numpy(), y.numpy())
        assert_lands_on(result, k, model.coef_, model.intercept_)
    if penalty.smooth is False:
        zeros = [int((found(result, k)[0] == 0).sum()) for k in range(4)]
        assert zeros[0] == 0
        assert 0 < zeros[3] < P


def test_momentum_leaves_coupled_ridge_where_it_is() -> None:
    X, y = data()
    result = solved(L2(1.0), [0.1], optimizer=functools.partial(NESTEROV, lr=0.1))
    ridge = Ridge(alpha=0.1 * N, tol=1e-12).fit(X.numpy(), y.numpy())
    assert_lands_on(result, 1, ridge.coef_, ridge.intercept_)


def test_momentum_weakens_a_proximal_lasso() -> None:
    # steps on the loss are 1 / (1 - momentum) times as long, steps of the prox are not
    X, y = data()
    result = solved(L1(1.0), [0.6], optimizer=functools.partial(NESTEROV, lr=0.1))
    lasso = Lasso(alpha=(1 - 0.5) * 0.6 / 2, tol=1e-12).fit(X.numpy(), y.numpy())
    assert_lands_on(result, 1, lasso.coef_, lasso.intercept_)


def test_strength_zero_is_least_squares() -> None:
    X, y = data()
    result = solved(L2(1.0), [1.0])
    design = torch.cat([X, torch.ones(N, 1, dtype=torch.float64)], 1)
    solution = torch.linalg.lstsq(design, y.unsqueeze(1)).solution.flatten()
    weight, bias = found(result, 0)
    torch.testing.assert_close(torch.cat([weight.flatten(), bias]), solution, **TIGHT)


def test_every_fold_lands_on_its_own_ridge() -> None:
    X, y = data()
    result = solved(L2(1.0), [0.2])
    for fold in range(2):
        train, held = result.folds != fold, result.folds == fold
        ridge = Ridge(alpha=0.2 * int(train.sum()), tol=1e-12).fit(
            X[train].numpy(), y[train].numpy()
        )
        expected = torch.as_tensor(ridge.predict(X[held].numpy()))
        torch.testing.assert_close(
            result.predictions[1, 0, held, 0].double(), expected, rtol=1e-5, atol=1e-5
        )


def softmax_oracle(classes: int, **settings: Any) -> Any:
    X, y = data(classes)
    settings = {"tol": 1e-9, "max_iter": 20_000, **settings}
    return LogisticRegression(**settings).fit(X.numpy(), y.numpy())


def centered(t: Tensor) -> Tensor:
    return t - t.mean(0, keepdim=True)


@pytest.mark.parametrize("strengths", [[5e-3, 0.03, 0.3]])
def test_softmax_ridge_lands_on_scikit_learns_coefficients(strengths: list[float]) -> None:
    result = solved(L2(1.0), strengths, classes=3, optimizer=ACCELERATED)
    for k, strength in enumerate(strengths, start=1):
        model = softmax_oracle(3, C=1 / (2 * N * strength))
        weight, bias = found(result, k)
        torch.testing.assert_close(weight, torch.as_tensor(model.coef_), rtol=1e-5, atol=1e-5)
        expected = centered(torch.as_tensor(model.intercept_))
        torch.testing.assert_close(centered(bias), expected, rtol=1e-4, atol=1e-4)


def test_two_logits_share_the_weight_of_one() -> None:
    # w = (-v/2, v/2): the sum of squares of two logits is half that of one
    result = solved(L2(1.0), [0.01, 0.1], classes=2, optimizer=ACCELERATED, epochs=150)
    for k, strength in enumerate([0.01, 0.1], start=1):
        model = softmax_oracle(2, C=1 / (N * strength))
        weight, bias = found(result, k)
        one = torch.as_tensor(model.coef_)
        torch.testing.assert_close(weight[1:] - weight[:1], one, rtol=1e-5, atol=1e-5)
        difference = (bias[1] - bias[0]).item()
        assert difference == pytest.approx(model.intercept_[0], abs=1e-4)


@pytest.mark.parametrize("strengths", [[5e-3, 0.02, 0.08]])
def test_a_lasso_of_one_logit_lands_on_scikit_learns_coefficients(strengths: list[float]) -> None:
    X, y = data(2)
    model = nn.Sequential(nn.Linear(P, 1), nn.Flatten(0)).double()
    result = fit_path(
        model, X, y.double(), L1(1.0), strengths=strengths, folds=2, seeds=1, epochs=150,
        batch_size=N, optimizer=functools.partial(PLAIN, lr=3.0), compile=False,
        loss=nn.BCEWithLogitsLoss(),
    )  # fmt: skip
    for k, strength in enumerate(strengths, start=1):
        oracle = softmax_oracle(2, C=1 / (N * strength), l1_ratio=1.0, solver="saga")
        weight = result.refit.weights["0.weight"][k, 0]
        expected = torch.as_tensor(oracle.coef_)
        torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(weight == 0, expected == 0)
    zeros = (result.refit.weights["0.weight"][:, 0, 0] == 0).sum(1)
    assert zeros[0] == 0
    assert 0 < zeros[3] < P


def test_softmax_lasso_meets_its_optimality_condition() -> None:
    X, y = data(3)
    strengths = [0.01, 0.05]
    result = solved(L1(1.0), strengths, classes=3, epochs=350)
    for k, strength in enumerate(strengths, start=1):
        weight, bias = (t.clone().requires_grad_() for t in found(result, k))
        torch.nn.functional.cross_entropy(X @ weight.T + bias, y).backward()
        zero = weight == 0
        assert zero.any()
        assert not zero.all()
        slope = weight.grad[~zero]
        torch.testing.assert_close(slope, -strength * weight[~zero].sign(), rtol=1e-4, atol=1e-6)
        assert (weight.grad[zero].abs() <= strength * (1 + 1e-6)).all()
        assert bias.grad.abs().max() < 1e-6


def test_group_lasso_meets_its_optimality_condition() -> None:
    X, y = data(3)
    penalty = GroupLasso(1.0, dim=1)
    result = solved(penalty, [0.06, 0.12], classes=3, epochs=150)
    for k, strength in enumerate([0.06, 0.12], start=1):
        weight, bias = (t.clone().requires_grad_() for t in found(result, k))
        torch.nn.functional.cross_entropy(X @ weight.T + bias, y).backward()
        kept = weight.detach().norm(dim=0) > 0
        assert kept.any()
        assert not kept.all()
        assert not weight[:, ~kept].any()
        pull = penalty.at(strength).gradient(weight.detach())
        torch.testing.assert_close(weight.grad[:, kept], -pull[:, kept], rtol=1e-4, atol=1e-6)
        limit = strength * 3**0.5 * (1 + 1e-6)
        assert (weight.grad[:, ~kept].norm(dim=0) <= limit).all()
