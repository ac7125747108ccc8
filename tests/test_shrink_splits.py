"""Layers of low rank: `shrink` splits them into two factors."""

from __future__ import annotations

import pytest
import torch
from _shrinking import Block, assert_shrinks, outputs, why
from torch import nn
from torch.testing import assert_close

from shrinkage.shrinking import shrink


@pytest.mark.parametrize("rank", [1, 3])
def test_low_rank_layers_become_two_factors(rank: int) -> None:
    model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 4))
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(20, rank) @ torch.randn(rank, 30))
    shrunk = shrink(model, X := torch.randn(8, 30))
    factors = shrunk.model[0]
    assert [tuple(f.weight.shape) for f in factors] == [(rank, 30), (20, rank)]
    assert_close(outputs(shrunk.model, X), outputs(model, X), rtol=1e-4, atol=1e-4)
    assert f"rank {rank}: two factors" in why(shrunk, "0")
    assert isinstance(shrunk.model[2], nn.Linear)


def test_a_stated_tolerance_drops_small_singular_values_and_reports_what_it_costs() -> None:
    model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 4))
    with torch.no_grad():
        exact = torch.randn(20, 2) @ torch.randn(2, 30)
        model[0].weight.copy_(exact + 1e-3 * torch.randn(20, 30))
    X = torch.randn(8, 30)
    assert isinstance(shrink(model, X).model[0], nn.Linear)
    shrunk = shrink(model, X, tolerance=0.01)
    assert shrunk.model[0][0].out_features == 2
    assert shrunk.difference == pytest.approx(
        float((outputs(shrunk.model, X) - outputs(model, X)).abs().max())
    )
    assert 1e-5 < shrunk.difference < 0.1


def test_a_split_layer_is_replaced_under_all_its_names() -> None:
    model = Block(lambda b, x: b.alias(b.one(x)))
    model.alias = model.two
    with torch.no_grad():
        model.two.weight.copy_(torch.ones(4, 1) @ torch.randn(1, 4))
    shrunk = assert_shrinks(model, torch.randn(6, 4))
    assert shrunk.model.alias is shrunk.model.two
    assert isinstance(shrunk.model.two, nn.Sequential)
