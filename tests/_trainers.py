"""What the trainers of other libraries are compared with: the loop that they stand for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, TensorDataset

from shrinkage import L1, L2, regularize
from shrinkage.schedules import linear

EPOCHS, RATE, SIZE = 3, 1e-2, 16
RAMP = linear(0, 1, steps=8)

every_penalty = pytest.mark.parametrize(
    "options",
    [
        {"penalty": L1(0.1)},
        {"penalty": L2(0.1)},
        {"penalty": L2(0.1), "how": "decoupled"},
        {"penalty": {"net.0.*": L1(0.2), "net.2.*": L2(0.1)}},
        {"penalty": L1(0.1), "select": "net.0.*", "schedule": RAMP},
    ],
    ids=["L1", "L2", "decoupled", "rules", "schedule"],
)


class Net(nn.Module):
    """A model that returns its loss, as Transformers wants it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": cross_entropy(self.net(x), labels)}


def rows() -> TensorDataset:
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(4 * SIZE, 4, generator=generator)
    return TensorDataset(X, torch.randint(0, 3, (len(X),), generator=generator))


def by_hand(optimizer: Any, accumulate: int = 1, clip: float | None = None, **options: Any) -> Net:
    """Train with what ``options`` say to ``regularize``."""
    net = Net()
    stepping = optimizer(net.parameters(), lr=RATE)
    regularize(net, stepping, **options)
    for _ in range(EPOCHS):
        for number, (x, y) in enumerate(DataLoader(rows(), batch_size=SIZE), 1):
            (net(x, y)["loss"] / accumulate).backward()
            if number % accumulate == 0:
                if clip:
                    clip_grad_norm_(net.parameters(), clip)
                stepping.step()
                stepping.zero_grad()
    return net
