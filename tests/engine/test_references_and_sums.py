"""Penalties around a reference and sums of penalties reach every member of a path."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from torch import Tensor, nn
from torch.testing import assert_close

from shrinkage.engine import fit_path
from shrinkage.errors import ShrinkageError
from shrinkage.identity import identity
from shrinkage.penalties import L1, L2, MCP, Penalty
from shrinkage.result.path_result import PathResult

N, P = 40, 4
REFERENCE = torch.tensor([[1.0, -0.5, 0.3, 0.0]], dtype=torch.float64)


def data() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    X = torch.randn(N, P, generator=random, dtype=torch.float64)
    noise = torch.randn(N, generator=random, dtype=torch.float64)
    return X, X @ torch.tensor([2.0, -1.0, 0.3, 0.0], dtype=torch.float64) + noise


def solved(penalty: Penalty, strengths: Any) -> PathResult:
    X, y = data()
    settings: dict[str, Any] = {"folds": 2, "seeds": 1, "epochs": 150, "batch_size": N}
    sgd = functools.partial(torch.optim.SGD, lr=0.2)
    model = nn.Linear(P, 1, bias=False).double()
    return fit_path(
        model, X, y, penalty, strengths=strengths, optimizer=sgd, compile=False, **settings
    )


def test_ridge_toward_a_reference_is_its_closed_form() -> None:
    X, y = data()
    result = solved(L2(1.0, toward={"weight": REFERENCE}), [0.1, 1.0])
    assert result.refit is not None
    assert result.about["engine"].startswith("vectorized")
    for k, s in enumerate([0.0, 0.1, 1.0]):
        left = X.T @ X / N + s * torch.eye(P, dtype=X.dtype)
        expected = torch.linalg.solve(left, X.T @ y / N + s * REFERENCE[0])
        assert_close(result.refit.weights["weight"][k, 0, 0], expected, rtol=1e-6, atol=1e-8)


def test_the_automatic_path_starts_at_the_reference() -> None:
    result = solved(L1(1.0, toward={"weight": REFERENCE}), 3)
    assert result.refit is not None
    X, y = data()
    gradient = 2 * X.T @ (X @ REFERENCE[0] - y) / N
    assert_close(result.strengths[-1], gradient.abs().max())
    assert_close(result.refit.weights["weight"][-1, 0], REFERENCE)
    assert not (result.refit.weights["weight"][0, 0] == REFERENCE).any()


def test_a_sum_is_the_elastic_net_of_scikit_learn() -> None:
    X, y = data()
    result = solved(L1(0.3) + L2(0.35), [0.1, 1.0])
    assert result.refit is not None
    for k, s in ((1, 0.1), (2, 1.0)):
        oracle = SklearnElasticNet(alpha=s / 2, l1_ratio=0.3, tol=1e-12, fit_intercept=False)
        expected = torch.as_tensor(oracle.fit(X.numpy(), y.numpy()).coef_)
        assert_close(result.refit.weights["weight"][k, 0, 0], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (L1(0.1) + MCP(0.1), "has no exact prox.*Use how='coupled'"),
        (L2(0.1, toward={"wheight": REFERENCE}), "toward= has no 'weight'"),
        (L2(0.1, toward={"weight": REFERENCE[:, :2]}), r"weight: toward= has shape \(1, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(penalty: Penalty, message: str) -> None:
    with pytest.raises(ShrinkageError, match=message):
        solved(penalty, [0.1])


def test_the_key_of_a_compiled_step_reads_terms_and_references() -> None:
    penalties = [
        L1(1.0) + L2(1.0),
        L1(1.0) + L2(2.0),
        L1(1.0) + L2(1.0, toward=REFERENCE),
        L1(1.0) + L2(1.0, toward=2 * REFERENCE),
    ]
    assert len({identity(penalty) for penalty in penalties}) == len(penalties)
    assert identity(L1(1.0) + L2(1.0)) == identity(penalties[0])
