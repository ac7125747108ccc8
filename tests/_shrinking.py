"""Models to shrink, and the oracle: the sparse model itself, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from shrinkage.shrinking import Shrunk, shrink


def outputs(model: nn.Module, X: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = copy.deepcopy(model).eval()(X)
    return result


def assert_shrinks(model: nn.Module, X: Tensor, *, with_example: bool = True) -> Shrunk:
    """Shrink a model in float64 and compare what it says of ``X`` with what it said."""
    model, X = model.double(), X.double()
    before = copy.deepcopy(model.state_dict())
    shrunk = shrink(model, X if with_example else None)
    assert_close(outputs(shrunk.model, X), outputs(model, X), rtol=1e-10, atol=1e-10)
    assert_close(model.state_dict(), before, rtol=0, atol=0)
    return shrunk


def zero(tensor: Tensor, *index: object) -> None:
    with torch.no_grad():
        tensor[index] = 0


def why(shrunk: Shrunk, name: str) -> str:
    (row,) = (row for row in shrunk.rows if row["name"] == name)
    return str(row["why"])


def perceptron(*between: nn.Module, outer: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), *between, nn.Linear(8, outer))


def settled(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Give batch normalization statistics of its own and weights that differ."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.affine:
                module.weight.uniform_(0.5, 2)
                module.bias.normal_()
        for _ in range(3):
            model(torch.randn(shape))
    return model


class Block(nn.Module):
    """Two linear layers and what the test puts around them."""

    def __init__(self, use: Callable[[Block, Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two, self.use = nn.Linear(4, 4), nn.Linear(4, 4), use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self, x)
