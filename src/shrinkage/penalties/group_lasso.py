r"""Group lasso: whole rows, columns or filters are kept or dropped together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from shrinkage.penalties._threshold import block_soft_threshold, group_norms, largest
from shrinkage.penalties.base import Penalty, accumulated


@dataclass(frozen=True, eq=False, repr=False)
class GroupLasso(Penalty):
    r"""The sum of the Euclidean norms of groups of weights; its prox drops whole groups.

    .. math:: P(w) = \lambda \sum_g \sqrt{p_g} \, \lVert w_g \rVert_2

    A group is a slice along one axis, :math:`p_g` its number of entries. Gradient of a zero
    group: zero, the subgradient of smallest norm.

    Args:
        strength: :math:`\lambda \ge 0`, number or 0-d tensor, in loss per unit of weight norm.
        dim: Axis whose slices are the groups: 0 for the output neurons of ``nn.Linear`` and the
            filters of a convolution, 1 for their inputs.

    Shape:
        w: at least ``dim + 1`` axes. value: (). gradient, prox: as w.

    Raises:
        ShrinkageError: The strength is out of range, or a tensor has no axis ``dim``.

    Example:
        >>> GroupLasso(0.5).prox(torch.tensor([[3.0, 4.0], [0.1, 0.1]]), step=1.0)
        tensor([[2.5757, 3.4343],
                [0.0000, 0.0000]])

    References:
        Yuan & Lin (2006), Model Selection and Estimation in Regression with Grouped Variables,
        JRSS-B 68(1), 49-67.
    """

    dim: int = field(default=0, kw_only=True)

    convex: ClassVar = True
    smooth: ClassVar = False
    examples: ClassVar = ({"strength": 0.3}, {"strength": 0.3, "dim": 1})

    def value(self, w: Tensor) -> Tensor:
        norm, root_size = group_norms(accumulated(w), self.dim, type(self).__name__)
        return self.strength * root_size * norm.sum()

    def gradient(self, w: Tensor) -> Tensor:
        norm, root_size = group_norms(w, self.dim, type(self).__name__)
        return self.strength * root_size * w / torch.where(norm > 0, norm, 1)

    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        norm, root_size = group_norms(w, self.dim, type(self).__name__)
        return block_soft_threshold(w, norm, step * self.strength * root_size)

    def strength_max(self, gradient: Tensor) -> Tensor:
        norm, root_size = group_norms(gradient, self.dim, type(self).__name__)
        return largest(norm) / root_size
