"""Tiny training problems, and the plain loop that every engine is measured against."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from shrinkage.engine import fit_path
from shrinkage.engine.member.fresh import make_builder
from shrinkage.engine.member.problem import Problem, make_problem
from shrinkage.engine.member.settings import Settings
from shrinkage.penalties import L2, Penalty
from shrinkage.result.path_result import PathResult
from shrinkage.rows.folds import Folds
from shrinkage.rows.groups import ALL_ROWS, Group, generator, key
from shrinkage.rows.preprocess import Views
from shrinkage.rows.read import Data

SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)
ADAM = functools.partial(torch.optim.Adam, lr=0.02)

SMALL: dict[str, Any] = {
    "strengths": [0.01, 0.1],
    "folds": 3,
    "seeds": 2,
    "epochs": 2,
    "batch_size": 8,
    "optimizer": SGD,
    "compile": False,
}
"""32 rows in 3 folds: 21 or 22 rows to train on, so every last batch is short."""


def classes(n: int = 32, features: int = 4, count: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Rows of float64 and classes that a linear model partly explains; every class is common."""
    random = torch.Generator().manual_seed(seed)
    X = torch.randn(n, features, generator=random, dtype=torch.float64)
    noise = 0.7 * torch.randn(n, generator=random, dtype=torch.float64)
    score = X[:, 0] - 0.5 * X[:, 1] + noise
    return X, score.argsort().argsort() * count // n


def numbers(n: int = 32, features: int = 4, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Rows of float64 and a noisy linear target."""
    random = torch.Generator().manual_seed(seed)
    X = torch.randn(n, features, generator=random, dtype=torch.float64)
    y = 2 * X[:, 0] - X[:, 1] + 0.3 * torch.randn(n, generator=random, dtype=torch.float64)
    return X, y


def linear(features: int = 4, outputs: int = 3) -> nn.Module:
    return nn.Linear(features, outputs).double()


def perceptron(features: int = 4, outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


def fit(model: Any, X: Any, y: Any, penalty: Penalty | None = None, **changes: Any) -> PathResult:
    """Call ``fit_path`` with small settings."""
    return fit_path(model, X, y, penalty or L2(1.0), **{**SMALL, **changes})


def problem_of(
    model: Any, X: Tensor, y: Tensor, penalty: Penalty | None = None, **changes: Any
) -> Problem:
    """Call ``make_problem`` with small settings."""
    given = {"grid": {}, "optimizer": SGD, "epochs": 3, "batch_size": 8, **changes}
    penalty = penalty or L2(1.0)
    settings = Settings(**given).checked(penalty)
    data = Data(Views(X), y, None, Folds(len(X), (), ()), tests=0, columns=None, classes=None)
    return make_problem(model, data, penalty, settings, given["batch_size"])


@dataclass
class ByHand:
    """What one member trained by hand left behind."""

    model: nn.Module
    rows: Tensor
    train_loss: list[float] = field(default_factory=list)

    def weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self.model.state_dict().items()}


def by_hand(
    model: Any,
    X: Tensor,
    y: Tensor,
    folds: Tensor,
    group: Group,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    *,
    make_scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    epochs: int = SMALL["epochs"],
    batch_size: int = SMALL["batch_size"],
    after_step: Callable[[nn.Module, float], None] = lambda model, lr: None,
) -> ByHand:
    """Train one member as a user would: a DataLoader, a torch optimizer, nothing of the engine.

    Only the random keys (initial weights, order of the rows) are the engine's.
    """
    net = make_builder(model)(key("initial weights", group)).train()
    rows = (
        torch.arange(len(folds))
        if group.fold == ALL_ROWS
        else (folds != group.fold).nonzero()[:, 0]
    )
    optimizer = make_optimizer(net)
    scheduler = make_scheduler(optimizer) if make_scheduler else None
    done = ByHand(net, rows)
    for epoch in range(epochs):
        order = torch.randperm(len(rows), generator=generator("order", group, epoch)).tolist()
        total = 0.0
        for x, target in DataLoader(
            TensorDataset(X[rows], y[rows]), batch_size=batch_size, sampler=order, drop_last=False
        ):
            optimizer.zero_grad()
            value = loss(net(x), target)
            value.backward()
            optimizer.step()
            after_step(net, optimizer.param_groups[0]["lr"])
            total += value.item() * len(x)
        if scheduler is not None:
            scheduler.step()
        done.train_loss.append(total / len(rows))
    net.eval()
    return done


def split_decay(net: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Parameter groups with ``weight_decay`` on the weights and none on the biases."""
    chosen = [p for name, p in net.named_parameters() if name.endswith("weight")]
    others = [p for name, p in net.named_parameters() if not name.endswith("weight")]
    return [{"params": chosen, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def assert_same_result(one: PathResult, two: PathResult, *, rtol: float, atol: float) -> None:
    """Compare every tensor of two paths; ``rtol=atol=0`` asks for equal bits."""
    for name, tensor in tensors_of(one):
        torch.testing.assert_close(
            dict(tensors_of(two))[name], tensor, rtol=rtol, atol=atol, equal_nan=True, msg=name
        )


def tensors_of(result: PathResult) -> Iterable[tuple[str, Tensor]]:
    everything = {**vars(result), **{f"refit.{k}": v for k, v in vars(result.refit).items()}}
    everything.update({f"weights.{k}": v for k, v in result.refit.weights.items()})
    return [(name, value) for name, value in everything.items() if isinstance(value, Tensor)]
