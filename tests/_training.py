"""One small net and one training, with a penalty in the loss or on the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.testing import assert_close

from shrinkage.parameters import Selection, weights
from shrinkage.penalties import Penalty
from shrinkage.regularizing.regularize import regularize

STRENGTH = 0.01


def make_net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def batches(steps: int = 8) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        X = torch.randn(16, 4, generator=generator, dtype=torch.float64)
        yield X, torch.randint(0, 3, (16,), generator=generator)


def data_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    X, y = batch
    return nn.functional.cross_entropy(model(X), y)


def train(
    make_optimizer: Callable[..., Optimizer],
    *,
    in_loss: Callable[[nn.Module], Tensor] | None = None,
    penalty: Penalty | None = None,
    how: str | None = None,
    select: Selection = weights,
    closure: bool = False,
    steps: int = 8,
) -> nn.Module:
    """Train the same net on the same batches, with a penalty in the loss or on the optimizer."""
    model = make_net()
    optimizer = make_optimizer(model.parameters())
    if penalty is not None:
        regularize(model, optimizer, penalty, select=select, how=how)

    def compute(batch: tuple[Tensor, Tensor]) -> Tensor:
        optimizer.zero_grad()
        loss = data_loss(model, batch)
        if in_loss is not None:
            loss = loss + in_loss(model)
        loss.backward()
        return loss

    for batch in batches(steps):
        if closure:
            optimizer.step(partial(compute, batch))
        else:
            compute(batch)
            optimizer.step()
    return model


def assert_same(one: nn.Module, other: nn.Module, **tolerance: float) -> None:
    assert_close(one.state_dict(), other.state_dict(), **tolerance)


def moved(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return any(not torch.equal(a, b) for a, b in pairs)


def forward_backward(
    model: nn.Module, optimizer: Optimizer, batch: tuple[Tensor, Tensor]
) -> Tensor:
    optimizer.zero_grad()
    loss = data_loss(model, batch)
    loss.backward()
    return loss.detach()
