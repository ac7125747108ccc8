r"""MCP: L1 for small weights, no pull on large ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from shrinkage.penalties.base import Penalty
from shrinkage.tensors.norms import check_gamma, largest
from shrinkage.tensors.threshold import soft_threshold


@dataclass(frozen=True, eq=False, repr=False)
class MCP(Penalty):
    r"""The minimax concave penalty: it drops weights as L1 does and leaves large ones unshrunk.

    .. math::
        P(w) = \sum_i \Bigl( \lambda m_i - \frac{m_i^2}{2 \gamma} \Bigr), \qquad
        m_i = \min(|w_i|, \gamma \lambda)

    The pull on a weight falls from :math:`\lambda` at zero to none at :math:`\gamma \lambda`, so
    the strength sets both pull and range. As :math:`\gamma` grows, MCP becomes ``L1(strength)``.
    Gradient at zero: zero, the subgradient of smallest norm. ``strength_max`` is where zero
    becomes a local minimizer; there may be others.

    Args:
        strength: :math:`\lambda \ge 0`, number or 0-d tensor, in loss per unit of weight.
        gamma: :math:`\gamma > 0`, in the unit of a step. From ``step = gamma`` on, the prox is a
            hard threshold.

    Shape:
        w: any. value: (). gradient, prox: as w.

    Raises:
        ShrinkageError: The strength or ``gamma`` is out of range.

    Example:
        >>> MCP(1.0, gamma=3.0).prox(torch.tensor([4.0, 2.0, 0.5]), step=1.0)
        tensor([4.0000, 1.5000, 0.0000])

    References:
        Zhang (2010), Nearly Unbiased Variable Selection under Minimax Concave Penalty,
        Annals of Statistics 38(2), 894-942.
    """

    gamma: float = field(default=3.0, kw_only=True)

    convex: ClassVar = False
    smooth: ClassVar = False
    absolute: ClassVar = True
    linear: ClassVar = False
    examples: ClassVar = ({"strength": 0.3}, {"strength": 0.3, "gamma": 0.5})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_gamma(self.gamma, 0, type(self).__name__)

    def value(self, w: Tensor) -> Tensor:
        m = w.abs().clamp_max(self.gamma * self.strength)
        return (self.strength * m - m.square() / (2 * self.gamma)).sum()

    def gradient(self, w: Tensor) -> Tensor:
        return w.sign() * (self.strength - w.abs() / self.gamma).clamp_min(0)

    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        r"""Return the minimizer; of two, at a tie, the smaller one.

        For steps below :math:`\gamma` the objective is convex, and the soft threshold falls to
        zero at :math:`\gamma \lambda`. Above, it is concave up to there, so only 0 and ``w`` are
        left, and ``w`` wins above :math:`\lambda \sqrt{\gamma \cdot \text{step}}`.
        """
        size, reach, bend = w.abs(), self.gamma * self.strength, step / self.gamma
        fading = (reach - size) * bend / (1 - bend)
        pull = torch.where(size > step * self.strength, fading, size)
        lower = (size <= reach) | (size <= reach * bend**0.5)
        return torch.where(lower, soft_threshold(w, pull), w)

    def strength_max(self, gradient: Tensor) -> Tensor:
        return largest(gradient)
