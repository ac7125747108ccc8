"""Random views of 32 rows: with noise from all three global generators, and mixed in a batch."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _problems import classes
from torch import Tensor
from torch.utils.data import Dataset, default_collate

X, Y = classes()


class Jittered(Dataset[Any]):
    """Rows with noise from all three global generators."""

    def __init__(self, X: Tensor = X, Y: Tensor = Y, noise: float = 0.3) -> None:
        self.X, self.Y, self.noise = X, Y, noise

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, i: int) -> Any:
        away = torch.randn(4, dtype=self.X.dtype) + np.random.normal() + random.gauss(0, 1)
        return self.X[i] + self.noise * away, int(self.Y[i])


def mixed(items: list[Any]) -> tuple[Tensor, Tensor]:
    """Mix each row and its target with another one of the batch, as mixup does."""
    x, y = default_collate(items)
    share, other = float(np.random.beta(0.4, 0.4)), torch.randperm(len(x))
    y = y if y.is_floating_point() else F.one_hot(y, 3).double()
    return share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]


def seed_all(seed: int) -> None:
    """Seed the three global generators."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
