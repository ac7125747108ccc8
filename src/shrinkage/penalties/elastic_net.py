r"""Elastic net: L1 and L2 in one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from shrinkage.penalties.base import Penalty
from shrinkage.penalties.l1 import L1
from shrinkage.penalties.l2 import L2
from shrinkage.tensors.norms import check_l1_ratio, largest
from shrinkage.tensors.threshold import soft_threshold


@dataclass(frozen=True, eq=False, repr=False)
class ElasticNet(Penalty):
    r"""A mixture of L1 and L2 in the convention of scikit-learn and glmnet.

    .. math:: P(w) = \lambda \Bigl( \rho \sum_i |w_i| + \frac{1 - \rho}{2} \sum_i w_i^2 \Bigr)

    Convention: the squared part carries the factor 1/2, unlike :class:`L2`, so
    ``ElasticNet(s, l1_ratio=0)`` is ``L2(s / 2)`` and ``ElasticNet(s, l1_ratio=1)`` is ``L1(s)``.
    scikit-learn's ``ElasticNet(alpha, l1_ratio)`` is ``ElasticNet(2 * alpha, l1_ratio)`` beside a
    mean squared error.

    Args:
        strength: :math:`\lambda \ge 0`, number or 0-d tensor.
        l1_ratio: :math:`\rho \in [0, 1]`, the share of L1.

    Shape:
        w: any. value: (). gradient, prox: as w.

    Raises:
        ShrinkageError: The strength or ``l1_ratio`` is out of range.

    Example:
        >>> ElasticNet(1.0, l1_ratio=0.5).prox(torch.tensor([2.0, 0.3]), step=1.0)
        tensor([1., 0.])

    References:
        Zou & Hastie (2005), Regularization and Variable Selection via the Elastic Net,
        JRSS-B 67(2), 301-320.
    """

    l1_ratio: float = field(default=0.5, kw_only=True)

    convex: ClassVar = True
    smooth: ClassVar = False
    absolute: ClassVar = True
    examples: ClassVar = (
        {"strength": 0.3, "l1_ratio": 0.5},
        {"strength": 0.3, "l1_ratio": 1.0},
        {"strength": 0.3, "l1_ratio": 0.0},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_l1_ratio(self.l1_ratio, type(self).__name__)

    def value(self, w: Tensor) -> Tensor:
        l1, l2 = w.abs().sum(), w.square().sum()
        return self.strength * (self.l1_ratio * l1 + (1 - self.l1_ratio) / 2 * l2)

    def gradient(self, w: Tensor) -> Tensor:
        return self.strength * (self.l1_ratio * w.sign() + (1 - self.l1_ratio) * w)

    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        t = step * self.strength
        return soft_threshold(w, t * self.l1_ratio) / (1 + t * (1 - self.l1_ratio))

    def strength_max(self, gradient: Tensor) -> Tensor:
        if self.l1_ratio == 0:
            return torch.where(gradient.any(), torch.inf, 0.0)
        return largest(gradient) / self.l1_ratio

    def parts(self) -> list[tuple[float | Tensor, Penalty]]:
        l1 = L1(self.strength * self.l1_ratio, toward=self.toward)
        return [(1.0, l1), (1.0, L2(self.strength * (1 - self.l1_ratio) / 2, toward=self.toward))]
