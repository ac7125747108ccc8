"""What `shrink` leaves as it is, and why: where the graph is no plain chain of layers."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from _shrinking import Block, assert_shrinks, perceptron, settled, why, zero
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.testing import assert_close


def twice(b: Block, x: Tensor) -> Tensor:
    return b.two(b.two(b.one(x)))


def residual(b: Block, x: Tensor) -> Tensor:
    y = b.one(x)
    return b.two(F.relu(y)) + y


def both(b: Block, x: Tensor) -> Tensor:
    y = b.one(x)
    return torch.cat([b.two(y), y[:, :1]], 1)


def added(b: Block, x: Tensor) -> Tensor:
    return b.two(b.one(x) + x)


def flipped(b: Block, x: Tensor) -> Tensor:
    return b.two(b.one(x).flip(1))


def reads_weight(b: Block, x: Tensor) -> Tensor:
    return b.two(b.one(x)) * b.one.weight.norm()


def depends_on_data(b: Block, x: Tensor) -> Tensor:
    return b.two(b.one(x)) if x.sum() > 0 else b.one(x)


def always_drops(b: Block, x: Tensor) -> Tensor:
    return b.two(F.dropout(b.one(x), 0.0, training=True))


def pools_neurons(b: Block, x: Tensor) -> Tensor:
    return b.two(F.max_pool1d(b.one(x), 3, 1, 1))


def reads_width(b: Block, x: Tensor) -> Tensor:
    y = b.one(x)
    return b.two(y) * y.shape[1]


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (twice, "followed by two: forward() calls it 2 times"),
        (residual, "its output is used in 2 places"),
        (both, "its output is used in 2 places"),
        (added, "followed by add, which brings branches together"),
        (flipped, "followed by flip, which may mix its neurons"),
        (reads_weight, "forward() reads one.weight itself"),
        (depends_on_data, "forward() cannot be traced: symbolically traced variables"),
        (always_drops, "followed by a dropout that is on even in evaluation"),
        (pools_neurons, "followed by max_pool1d along its neurons"),
        (reads_width, "its output is used in 2 places"),
    ],
)
@pytest.mark.parametrize("with_example", [True, False])
def test_what_is_no_plain_chain_is_left_and_listed(
    use: Callable[[Block, Tensor], Tensor], reason: str, with_example: bool
) -> None:
    model = Block(use)
    zero(model.one.weight, slice(2))
    shrunk = assert_shrinks(model, torch.randn(6, 4), with_example=with_example)
    assert why(shrunk, "one").startswith(reason)
    assert_close(shrunk.model.state_dict(), model.state_dict())


def test_a_chain_inside_a_branch_is_shrunk() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = perceptron(nn.ReLU(), outer=4)

        def forward(self, x: Tensor) -> Tensor:
            return operator.add(x, self.body(x))

    model = nn.Sequential(Residual(), Residual())
    zero(model[1].body[0].weight, slice(6))
    shrunk = assert_shrinks(model, torch.randn(6, 4))
    assert shrunk.model[1].body[0].out_features == 2
    assert shrunk.model[0].body[0].out_features == 8


def test_tied_hooked_and_parametrized_layers_are_left() -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    zero(tied[0].weight, 0)
    tied[2].weight = tied[0].weight
    assert why(assert_shrinks(tied, torch.randn(6, 4)), "0") == "shares a tensor with 2.weight"
    hooked = perceptron()
    zero(hooked[0].weight, 0)
    hooked[0].register_forward_hook(lambda module, inputs, output: output + 1)
    assert "has hooks" in why(assert_shrinks(hooked, torch.randn(6, 4)), "0")
    normed = perceptron()
    parametrizations.weight_norm(normed[1])
    zero(normed[0].weight, 0)
    shrunk = assert_shrinks(normed, torch.randn(6, 4))
    assert shrunk.model[0].out_features == 8
    assert "ParametrizedLinear" in why(shrunk, "0")


def test_unknown_layers_are_left() -> None:
    class Strange(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) if x.mean() > 0 else self.inner(-x)

    model = nn.Sequential(
        nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 8), Strange(), nn.Linear(8, 2)
    )
    for layer in (model[0], model[2]):
        zero(layer.weight, slice(5))
    shrunk = assert_shrinks(model, torch.randn(6, 4))
    assert "followed by LayerNorm" in why(shrunk, "0")
    assert "not a layer that can be shrunk" in why(shrunk, "1")
    assert "followed by Strange" in why(shrunk, "2")
    assert why(shrunk, "3.inner") == "inside Strange, which is left as it is"


def test_grouped_convolutions_are_left() -> None:
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Conv1d(4, 4, 3, groups=4), nn.Conv1d(4, 2, 3))
    zero(model[0].weight, 0)
    zero(model[1].weight, 0)
    shrunk = assert_shrinks(model, torch.randn(6, 2, 12))
    assert "grouped" in why(shrunk, "0")
    assert "grouped" in why(shrunk, "1")


def test_the_example_tells_which_axis_a_batch_normalization_takes() -> None:
    model = settled(perceptron(nn.BatchNorm1d(8), nn.ReLU()), (20, 8, 4))
    zero(model[0].weight, slice(3))
    shrunk = assert_shrinks(model, torch.randn(6, 8, 4))
    assert why(shrunk, "0") == "followed by BatchNorm1d along another axis"
    alone = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(4, 3))
    zero(alone[0].weight, 0)
    assert "interleaves" in why(assert_shrinks(alone, torch.randn(1, 4, 4)), "0")


def test_sequences_are_shrunk_along_their_last_axis() -> None:
    model = perceptron(nn.GELU())
    zero(model[0].weight, slice(3))
    shrunk = assert_shrinks(model, torch.randn(6, 5, 4))
    assert shrunk.model[0].out_features == 5


def test_a_linear_layer_behind_a_convolution_acts_on_another_axis() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(4, 4), nn.Conv2d(4, 2, 3))
    zero(model[0].weight, 0)
    shrunk = assert_shrinks(model, torch.randn(5, 1, 6, 6))
    assert why(shrunk, "0") == "followed by Linear along another axis"
    assert "along another axis" in why(shrunk, "1")


def test_a_layer_never_becomes_empty() -> None:
    model = perceptron(nn.ReLU())
    zero(model[0].weight)
    shrunk = assert_shrinks(model, torch.randn(6, 4))
    assert shrunk.model[0].out_features == 1
