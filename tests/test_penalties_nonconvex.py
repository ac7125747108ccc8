"""MCP and SCAD: the prox is the global minimizer for every step; values by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError
from shrinkage.penalties import MCP, SCAD, Penalty

PENALTIES = [MCP(0.7, gamma=3.0), MCP(0.7, gamma=0.4), SCAD(0.7), SCAD(0.7, gamma=2.1)]
W = torch.linspace(-8, 8, 161, dtype=torch.float64)


def objective(penalty: Penalty, w: Tensor, step: float, u: Tensor) -> Tensor:
    """Of every entry alone."""
    values = torch.func.vmap(penalty.value)(u.reshape(-1, 1)).reshape(u.shape)
    return (u - w).square() / 2 + step * values


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("factor", [0.05, 0.5, 0.999, 1.0, 1.001, 1.3, 2.0, 5.0, 100.0])
def test_b10_prox_is_the_minimizer_on_a_grid(penalty: MCP | SCAD, factor: float) -> None:
    """For steps below, at and above the one where the objective stops being convex."""
    step = factor * (penalty.gamma - isinstance(penalty, SCAD))
    grid = torch.linspace(-8, 8, 3201, dtype=torch.float64)
    best = objective(penalty, W[:, None], step, grid.expand(len(W), -1)).min(1)
    found = penalty.prox(W, step)
    ours = objective(penalty, W, step, found)
    assert (ours <= best.values + 1e-12).all()
    assert (found.abs() <= W.abs()).all()
    assert (found * W >= 0).all()


@pytest.mark.parametrize("kind", [MCP, SCAD])
@pytest.mark.parametrize("ulps", [-1000, -10, -1, 0, 1, 10, 1000])
def test_prox_is_the_minimizer_up_to_rounding_where_the_formula_divides_by_zero(
    kind: type[MCP] | type[SCAD], ulps: int
) -> None:
    for strength in torch.linspace(0.1, 2, 50).tolist():
        penalty = kind(strength)
        step = (penalty.gamma - (kind is SCAD)) * (1 + ulps * 2.0**-52)
        near = torch.arange(-20, 21, dtype=torch.float64) * abs(ulps) * 2.0**-53
        w = torch.cat([penalty.gamma * strength * (1 + near), W[W > 0]])
        found = penalty.prox(w, step)
        candidates = torch.stack([w, torch.zeros_like(w), (w - step * strength).clamp_min(0)])
        best = objective(penalty, w.expand(3, -1), step, candidates).min(0).values
        assert (objective(penalty, w, step, found) <= best * (1 + 1e-12)).all()


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_prox_maps_over_strengths_and_steps(penalty: MCP | SCAD) -> None:
    bend = penalty.gamma - isinstance(penalty, SCAD)
    strengths = torch.tensor([0.0, 0.3, 1.0, 2.0, 0.5], dtype=torch.float64)
    steps = torch.tensor([0.5, 0.3 * bend, bend, 2 * bend, 0.0], dtype=torch.float64)
    mapped = torch.func.vmap(lambda s, t: penalty.at(s).prox(W, t))(strengths, steps)
    pairs = zip(strengths.tolist(), steps.tolist(), strict=True)
    assert torch.equal(mapped, torch.stack([penalty.at(s).prox(W, t) for s, t in pairs]))


def test_values_by_hand() -> None:
    w = torch.tensor([0.5, -1.5, 9.0])
    mcp, scad = MCP(1.0, gamma=3.0), SCAD(1.0, gamma=3.0)
    assert_close(mcp.value(w), torch.tensor(0.5 - 0.25 / 6 + 1.5 - 2.25 / 6 + 1.5))
    assert_close(scad.value(w), torch.tensor(0.5 + (9 - 2.25 - 1) / 4 + 2.0))
    assert_close(mcp.gradient(w), torch.tensor([1 - 0.5 / 3, -0.5, 0.0]))
    assert_close(scad.gradient(w), torch.tensor([1.0, -0.75, 0.0]))
    assert mcp.strength_max(w) == scad.strength_max(w) == 9


def test_from_a_step_of_gamma_on_mcp_is_a_hard_threshold() -> None:
    w = torch.tensor([5.9, -6.1, 0.1])
    assert torch.equal(MCP(1.0).prox(w, 12.0), torch.tensor([0.0, -6.1, 0.0]))


def test_large_weights_are_left_as_they_are() -> None:
    w = torch.tensor([5.0, -7.0])
    for penalty in (MCP(1.0), SCAD(1.0)):
        assert torch.equal(penalty.prox(w, 1.0), w)
        assert not penalty.gradient(w).any()


@pytest.mark.parametrize("kind", [MCP, SCAD])
@pytest.mark.parametrize("gamma", [0.0, -1.0, float("inf"), float("nan"), "3", None, True])
def test_bad_gamma_is_refused(kind: type[MCP] | type[SCAD], gamma: Any) -> None:
    with pytest.raises(ShrinkageError, match=r"gamma=.* must be a finite number above [02]"):
        kind(0.1, gamma=gamma)
    with pytest.raises(ShrinkageError, match=r"SCAD: gamma=2 must be a finite number above 2"):
        SCAD(0.1, gamma=2)
