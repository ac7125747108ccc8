"""The picture of a penalty: every one of the catalogue, in tensors that show what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2, GroupLasso, NuclearNorm, Orthogonal, SpectralNorm, catalogue
from shrinkage.penalties.base import Penalty
from shrinkage.plots import PenaltyDisplay, plot_penalty


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_penalty_of_the_catalogue_is_drawn(name: str) -> None:
    display = plot_penalty(catalogue()[name](**catalogue()[name].examples[0]))
    display.figure_.canvas.draw()
    assert not display.value.isnan().any()
    assert display.value.isfinite().any()


def test_panels_show_the_formulas_of_l1() -> None:
    display = PenaltyDisplay.from_penalty(L1(0.5))
    a = display.a
    assert display.family == "w = [[a, b]]"
    assert torch.allclose(display.value, 0.5 * a.abs())
    assert torch.allclose(display.gradient, 0.5 * a.sign())
    assert torch.allclose(display.prox, a.sign() * (a.abs() - 0.5).clamp_min(0))
    b, a2 = torch.meshgrid(display.grid.double(), display.grid.double(), indexing="ij")
    assert torch.allclose(display.ball, a2.abs() + b.abs())
    assert torch.allclose(display.moved[:, 2:], L1(0.5).prox(display.moved[:, :2], 1.0))


@pytest.mark.parametrize(
    ("penalty", "family"),
    [
        (L2(0.5), "w = [[a, b]]"),
        (GroupLasso(0.5), "w = [[a, b]]"),
        (GroupLasso(0.5, dim=1), "w = [[a], [b]]"),
        (NuclearNorm(0.5), "w = [[a, b], [b, a]]"),
        (SpectralNorm(0.5), "w = [[a, b], [b, a]]"),
        (Orthogonal(0.5), "w = [[a, b], [b, a]]"),
    ],
    ids=repr,
)
def test_tensors_show_what_the_penalty_is_made_of(penalty: Penalty, family: str) -> None:
    assert PenaltyDisplay.from_penalty(penalty).family == family


def test_slope_of_the_value_is_the_gradient() -> None:
    display = PenaltyDisplay.from_penalty(Orthogonal(0.5))
    slope = torch.gradient(display.value, spacing=(display.a,), dim=1)[0]
    assert torch.allclose(slope[:, 1:-1], display.gradient[:, 1:-1], atol=5e-3, rtol=5e-3)


def test_ball_of_singular_values_has_its_corners_at_rank_one() -> None:
    display = PenaltyDisplay.from_penalty(NuclearNorm(0.5))
    b, a = torch.meshgrid(display.grid.double(), display.grid.double(), indexing="ij")
    assert torch.allclose(display.ball, 2 * torch.maximum(a.abs(), b.abs()), atol=1e-6)


def test_jumps_are_gaps() -> None:
    line = plot_penalty(L1(0.5)).axes_[1].get_lines()[0].get_ydata()
    assert sum(torch.as_tensor(line).isnan().tolist()) == 1


def test_a_second_line_only_where_parameters_meet() -> None:
    assert len(PenaltyDisplay.from_penalty(L1(0.5)).beside) == 1
    assert len(PenaltyDisplay.from_penalty(GroupLasso(0.5)).beside) == 2


def test_the_reference_is_left_out() -> None:
    display = PenaltyDisplay.from_penalty(L2(0.5, toward=torch.ones(7)))
    assert torch.allclose(display.value, 0.5 * display.a.square())


def test_a_penalty_of_large_tensors_only_is_refused() -> None:
    @dataclass(frozen=True, eq=False, repr=False)
    class Curvature(Penalty):
        convex: ClassVar = True
        smooth: ClassVar = True
        examples: ClassVar = ({"strength": 1.0},)

        def value(self, w: Tensor) -> Tensor:
            return self.strength * w[:, 4].square().sum()

        def gradient(self, w: Tensor) -> Tensor:
            return 2 * self.strength * w

        def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
            return w

        def strength_max(self, gradient: Tensor) -> Tensor:
            return gradient.norm()

    with pytest.raises(ShrinkageError, match=r"Curvature\(1\) takes no matrix of 2 x 2"):
        plot_penalty(Curvature(1.0))


def test_what_is_no_penalty_is_refused() -> None:
    with pytest.raises(ShrinkageError, match="'l2' is not a penalty; give one"):
        plot_penalty("l2")  # type: ignore[arg-type]
