r"""SCAD: L1 for small weights, less pull on larger ones, none on large ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from shrinkage.penalties.base import Penalty
from shrinkage.tensors.norms import check_gamma, largest
from shrinkage.tensors.threshold import soft_threshold


@dataclass(frozen=True, eq=False, repr=False)
class SCAD(Penalty):
    r"""The smoothly clipped absolute deviation: L1 up to the strength, then fading out.

    .. math::
        P(w) = \sum_i \Bigl( \lambda (m_i + e_i) - \frac{e_i^2}{2 (\gamma - 1)} \Bigr), \quad
        m_i = \min(|w_i|, \lambda), \quad
        e_i = \min \bigl( \max(|w_i| - \lambda, 0), (\gamma - 1) \lambda \bigr)

    The pull on a weight is :math:`\lambda` up to :math:`\lambda`, then falls to none at
    :math:`\gamma \lambda`. As :math:`\gamma` grows, SCAD becomes ``L1(strength)``. Gradient at
    zero: zero, the subgradient of smallest norm. ``strength_max`` is where zero becomes a local
    minimizer; there may be others.

    Args:
        strength: :math:`\lambda \ge 0`, number or 0-d tensor, in loss per unit of weight, and the
            size, in weights, up to which it pulls in full.
        gamma: :math:`\gamma > 2`, where the pull ends, in strengths; 3.7 in the paper.

    Shape:
        w: any. value: (). gradient, prox: as w.

    Raises:
        ShrinkageError: The strength or ``gamma`` is out of range.

    Example:
        >>> SCAD(1.0, gamma=3.0).prox(torch.tensor([4.0, 2.5, 1.5, 0.5]), step=1.0)
        tensor([4.0000, 2.0000, 0.5000, 0.0000])

    References:
        Fan & Li (2001), Variable Selection via Nonconcave Penalized Likelihood and its Oracle
        Properties, JASA 96(456), 1348-1360.
    """

    gamma: float = field(default=3.7, kw_only=True)

    convex: ClassVar = False
    smooth: ClassVar = False
    absolute: ClassVar = True
    linear: ClassVar = False
    examples: ClassVar = ({"strength": 0.3}, {"strength": 0.3, "gamma": 2.5})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_gamma(self.gamma, 2, type(self).__name__)

    def value(self, w: Tensor) -> Tensor:
        size, fade = w.abs(), self.gamma - 1
        m = size.clamp_max(self.strength)
        e = (size - self.strength).clamp_min(0).clamp_max(fade * self.strength)
        return (self.strength * (m + e) - e.square() / (2 * fade)).sum()

    def gradient(self, w: Tensor) -> Tensor:
        fading = (self.gamma * self.strength - w.abs()) / (self.gamma - 1)
        return w.sign() * fading.clamp_min(0).clamp_max(self.strength)

    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        r"""Return the minimizer; of two, at a tie, the smaller one.

        For steps below :math:`\gamma - 1` the objective is convex, and the soft threshold falls
        to zero where the pull fades. Above, it is concave there, so only the full soft threshold
        and ``w`` are left, and the lower objective decides.
        """
        size, reach, bend = w.abs(), self.gamma * self.strength, step / (self.gamma - 1)
        full, fading = step * self.strength, (reach - size) * bend / (1 - bend)
        pull = torch.where((size < reach) & (bend < 1), fading, full).clamp_max(full)
        zero_wins = size <= self.strength * (step * (self.gamma + 1)) ** 0.5
        soft_wins = size <= self.strength * (step + self.gamma + 1) / 2
        lower = (size < reach) | torch.where(size <= full, zero_wins, soft_wins)
        return torch.where(lower, soft_threshold(w, pull), w)

    def strength_max(self, gradient: Tensor) -> Tensor:
        return largest(gradient)
