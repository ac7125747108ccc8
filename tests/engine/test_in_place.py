"""Models that work on their input in place, and models that keep a state of their own in Python."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad

from shrinkage import L1, L2, PathResult, fit_path, train

X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long()

FIRST: dict[str, Any] = {
    "leaky": partial(nn.LeakyReLU, 0.1),
    "relu": nn.ReLU,
    "dropout": partial(nn.Dropout, 0.2),
}


def net(first: str, inplace: bool) -> nn.Module:
    return nn.Sequential(FIRST[first](inplace=inplace), nn.Linear(5, 2))


def path(model: Any, rows: Any, **given: Any) -> PathResult:
    small = {"folds": 2, "seeds": 1, "epochs": 3, "batch_size": 8, "compile": False}
    settings = {**small, "strengths": 2, "optimizer": partial(SGD, lr=0.1), **given}
    return fit_path(model, rows, Y, L1(1.0), **settings)


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("optimizer", [SGD, Adagrad])
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_a_path_keeps_rows_that_a_first_layer_changes_in_place(
    first: str, optimizer: Any, kind: str
) -> None:
    rows = X.clone()
    given = rows if kind == "tensor" else rows.numpy()
    within = path(partial(net, first, True), given, optimizer=partial(optimizer, lr=0.1))
    apart = path(partial(net, first, False), X, optimizer=partial(optimizer, lr=0.1))
    assert torch.equal(rows, X)
    assert torch.equal(within.strengths, apart.strengths)
    assert torch.equal(within.valid_loss, apart.valid_loss)


@pytest.mark.parametrize("first", FIRST)
def test_a_training_keeps_rows_that_a_first_layer_changes_in_place(first: str) -> None:
    rows, held = X.clone(), X[:9].clone()
    curves = []
    for inplace in (True, False):
        torch.manual_seed(0)
        model = net(first, inplace)
        trained = train(model, rows, Y, L2(0.1), epochs=3, batch_size=13, valid=(held, Y[:9]))
        curves.append(trained.curves)
    assert torch.equal(rows, X)
    assert torch.equal(held, X[:9])
    assert curves[0] == curves[1]


class WarmingUp(nn.Module):
    """Lets more through the more often it was called while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = nn.Linear(5, 2), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return min(1.0, self.calls / 20) * self.inner(x)


def test_a_model_that_counts_its_calls_trains_one_by_one_and_is_judged_with_its_count() -> None:
    result = path(WarmingUp, X, strengths=[1e-3], epochs=4)
    assert result.about["engine"].startswith("one by one")
    losses = result.valid_loss[0, 0, 0]
    assert losses[-1] < losses[0] < 0.6931
