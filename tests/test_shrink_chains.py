"""Random chains with random zeros: the outputs never change, and nothing dead is left."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from shrinkage.shrinking import shrink

ACTIVATIONS: list[Callable[[], nn.Module]] = [
    nn.ReLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.Softplus, nn.Hardshrink, nn.Identity, nn.PReLU,
]  # fmt: skip


def perceptron(draw: st.DrawFn) -> tuple[nn.Sequential, Tensor]:
    widths = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers.append(nn.Linear(inputs, outputs, bias=draw(st.booleans())))
        if draw(st.booleans()):
            layers.append(nn.BatchNorm1d(outputs, affine=draw(st.booleans())))
        layers.append(draw(st.sampled_from(ACTIVATIONS))())
        if draw(st.booleans()):
            layers.append(nn.Dropout(0.3))
    return nn.Sequential(*layers, nn.Linear(widths[-1], 3)), torch.randn(6, widths[0])


def convnet(draw: st.DrawFn) -> tuple[nn.Sequential, Tensor]:
    channels = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(channels):
        kernel = draw(st.sampled_from([1, 3]))
        padding = draw(st.sampled_from([0, 1, "same"]))
        mode = draw(st.sampled_from(["zeros", "zeros", "circular"]))
        layers.append(nn.Conv2d(inputs, outputs, kernel, padding=padding, padding_mode=mode))
        if draw(st.booleans()):
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(draw(st.sampled_from(ACTIVATIONS))())
        layers.append(
            draw(
                st.sampled_from(
                    [nn.Identity(), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), nn.Dropout2d()]
                )
            )
        )
    size = draw(st.integers(1, 2))
    layers += [nn.AdaptiveAvgPool2d(size), nn.Flatten()]
    if draw(st.booleans()):
        layers.append(nn.BatchNorm1d(channels[-1] * size**2))
    layers.append(nn.Linear(channels[-1] * size**2, 3))
    return nn.Sequential(*layers), torch.randn(3, channels[0], 8, 8)


def sparsify(draw: st.DrawFn, model: nn.Module) -> None:
    """Fill buffers and affine parameters, then zero random rows, columns and entries."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        for name, tensor in module.named_parameters(recurse=False):
            if tensor.dim() == 1:
                tensor.normal_()
                if name == "weight" and draw(st.booleans()):
                    tensor[draw(st.integers(0, len(tensor) - 1))] = 0
                continue
            for axis in (0, 1):
                groups = st.lists(st.integers(0, tensor.shape[axis] - 1), max_size=6)
                tensor.index_fill_(axis, torch.tensor(draw(groups), dtype=torch.int64), 0)
            if draw(st.booleans()):
                tensor.mul_(torch.rand_like(tensor) < 0.5)


def find_dead(model: nn.Sequential) -> list[str]:
    """Neurons of a layer that nothing reads; behind a perceptron's constant ones as well."""
    layers = [m for m in model if isinstance(m, (nn.Linear, nn.Conv2d))]
    found = []
    for index, (first, second) in enumerate(itertools.pairwise(layers)):
        entries = second.weight.flatten(1).reshape(len(second.weight), len(first.weight), -1)
        dead = (entries == 0).all(2).all(0)
        if isinstance(second, nn.Linear) and isinstance(first, nn.Linear):
            dead |= (first.weight == 0).all(1)
        if dead.any() and len(dead) > 1:
            found.append(f"layer {index}: {dead}")
    return found


@given(data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=150)
def test_outputs_of_random_chains_are_kept_and_nothing_dead_is_left(
    data: st.DataObject, seed: int
) -> None:
    torch.manual_seed(seed)
    draw = data.draw
    model, X = draw(st.sampled_from([perceptron, convnet]))(draw)
    with torch.no_grad():
        sparsify(draw, model)
    before = copy.deepcopy(model)
    shrunk = shrink(model, X)
    model, X = model.double().eval(), X.double()
    small = copy.deepcopy(shrunk.model).double().eval()
    flat = nn.Sequential(
        *[part for m in shrunk.model for part in (m if isinstance(m, nn.Sequential) else [m])]
    )
    with torch.no_grad():
        assert_close(small(X), model(X), rtol=1e-4, atol=1e-4)
    assert_close(model.state_dict(), before.double().state_dict(), rtol=0, atol=0)
    assert not find_dead(flat)
    numbers = [sum(p.numel() for p in m.parameters()) for m in (before, shrunk.model)]
    assert numbers[1] <= numbers[0] + 9 * len(shrunk.rows)
