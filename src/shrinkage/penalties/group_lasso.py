r"""Group lasso: whole rows, columns or filters are kept or dropped together."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor

from shrinkage.penalties.base import Penalty
from shrinkage.tensors.norms import Dim, check_dim, group_norms, largest
from shrinkage.tensors.threshold import block_soft_threshold


@dataclass(frozen=True, eq=False, repr=False)
class GroupLasso(Penalty):
    r"""The sum of the Euclidean norms of groups of weights; its prox drops whole groups.

    .. math:: P(w) = \lambda \sum_g \sqrt{p_g} \, \lVert w_g \rVert_2

    A group is a row, a column, a filter or what ``dim`` says, :math:`p_g` its number of entries.
    Gradient of a zero group: zero, the subgradient of smallest norm.

    Args:
        strength: :math:`\lambda \ge 0`, number or 0-d tensor, in loss per unit of weight norm.
        dim: The axes that number the groups; a group is what lies along all others. For
            ``nn.Linear`` and convolutions ``dim=0`` is one group per output neuron or filter,
            ``dim=1`` one per input or channel; ``dim=(0, 1)`` is one per kernel of a convolution.
            A transposed convolution has inputs first: ``dim=1`` is its filters. In a grouped
            convolution ``dim=1`` numbers the channels within a group of channels.

    Shape:
        w: with the axes ``dim``. value: (). gradient, prox: as w.

    Raises:
        ShrinkageError: The strength is out of range, or a tensor has no axes ``dim``.

    Example:
        >>> GroupLasso(0.5).prox(torch.tensor([[3.0, 4.0], [0.1, 0.1]]), step=1.0)
        tensor([[2.5757, 3.4343],
                [0.0000, 0.0000]])

    References:
        Yuan & Lin (2006), Model Selection and Estimation in Regression with Grouped Variables,
        JRSS-B 68(1), 49-67.
    """

    dim: Dim = field(default=0, kw_only=True)

    convex: ClassVar = True
    smooth: ClassVar = False
    absolute: ClassVar = True
    examples: ClassVar = (
        {"strength": 0.3},
        {"strength": 0.3, "dim": 1},
        {"strength": 0.3, "dim": (0, 1)},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_dim(self.dim, type(self).__name__)

    def value(self, w: Tensor) -> Tensor:
        norm, size = group_norms(w, self.dim, type(self).__name__)
        return self.strength * sqrt(size) * norm.sum()

    def gradient(self, w: Tensor) -> Tensor:
        norm, size = group_norms(w, self.dim, type(self).__name__)
        return self.strength * sqrt(size) * w / torch.where(norm > 0, norm, 1)

    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        norm, size = group_norms(w, self.dim, type(self).__name__)
        return block_soft_threshold(w, norm, step * self.strength * sqrt(size))

    def strength_max(self, gradient: Tensor) -> Tensor:
        norm, size = group_norms(gradient, self.dim, type(self).__name__)
        return largest(norm) / sqrt(size)
