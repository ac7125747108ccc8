r"""Sparse group lasso: whole groups are dropped, and entries in the groups that stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor

from shrinkage.penalties.base import Penalty
from shrinkage.penalties.group_lasso import GroupLasso
from shrinkage.penalties.l1 import L1
from shrinkage.tensors.norms import Dim, check_dim, check_l1_ratio, group_axes, group_norms, largest
from shrinkage.tensors.threshold import block_soft_threshold, soft_threshold


@dataclass(frozen=True, eq=False, repr=False)
class SparseGroupLasso(Penalty):
    r"""A mixture of L1 and the group lasso: few groups, and few entries in each.

    .. math::
        P(w) = \lambda \Bigl( \rho \sum_i |w_i| + (1 - \rho) \sum_g \sqrt{p_g} \, \| w_g \| \Bigr)

    Groups and their weights are those of :class:`GroupLasso`, so ``l1_ratio=0`` is
    ``GroupLasso(strength)`` and ``l1_ratio=1`` is ``L1(strength)``. Prox: soft threshold, then
    block soft threshold; in this order exact. Gradient of zero entries and groups: zero, the
    subgradient of smallest norm.

    Args:
        strength: :math:`\lambda \ge 0`, number or 0-d tensor, in loss per unit of weight.
        l1_ratio: :math:`\rho \in [0, 1]`, the share of L1.
        dim: The axes that number the groups, as for :class:`GroupLasso`.

    Shape:
        w: with the axes ``dim``. value: (). gradient, prox: as w.

    Raises:
        ShrinkageError: A number is out of range, or a tensor has no axes ``dim``.

    Example:
        >>> SparseGroupLasso(1.0).prox(torch.tensor([[3.5, 0.4], [0.9, 0.8]]), step=1.0)
        tensor([[2.2929, 0.0000],
                [0.0000, 0.0000]])

    References:
        Simon, Friedman, Hastie & Tibshirani (2013), A Sparse-Group Lasso, Journal of
        Computational and Graphical Statistics 22(2), 231-245.
    """

    l1_ratio: float = field(default=0.5, kw_only=True)
    dim: Dim = field(default=0, kw_only=True)

    convex: ClassVar = True
    smooth: ClassVar = False
    absolute: ClassVar = True
    examples: ClassVar = (
        {"strength": 0.3},
        {"strength": 0.3, "l1_ratio": 0.2, "dim": 1},
        {"strength": 0.3, "l1_ratio": 1.0},
        {"strength": 0.3, "dim": (0, 1)},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_dim(self.dim, type(self).__name__)
        check_l1_ratio(self.l1_ratio, type(self).__name__)

    def value(self, w: Tensor) -> Tensor:
        norm, weight = self._groups(w)
        return self.strength * (self.l1_ratio * w.abs().sum() + weight * norm.sum())

    def gradient(self, w: Tensor) -> Tensor:
        norm, weight = self._groups(w)
        group = weight * w / torch.where(norm > 0, norm, 1)
        return self.strength * (self.l1_ratio * w.sign() + group)

    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        soft = soft_threshold(w, step * self.strength * self.l1_ratio)
        norm, weight = self._groups(soft)
        return block_soft_threshold(soft, norm, step * self.strength * weight)

    def strength_max(self, gradient: Tensor) -> Tensor:
        r"""Return the largest root, over groups, of the norm left by the soft threshold.

        A group with gradient :math:`v` is zero from the root of
        :math:`\lVert \operatorname{soft}(v, \lambda \rho) \rVert = \lambda (1 - \rho) \sqrt{p}`
        on: a quadratic equation in the entries above :math:`\lambda \rho`.
        """
        _, weight = self._groups(gradient)
        axes = group_axes(gradient, self.dim, type(self).__name__)
        first = gradient.abs().movedim(axes, tuple(range(len(axes))))
        groups = first.flatten(0, len(axes) - 1).unsqueeze(-1).flatten(1)
        size = groups.sort(dim=1, descending=True).values
        count = torch.arange(1, size.shape[1] + 1, dtype=size.dtype, device=size.device)
        left = size.square().cumsum(1) - 2 * size * size.cumsum(1) + count * size.square()
        falls = self.l1_ratio**2 * left < weight**2 * size.square()
        above = (falls | (size == size[:, :1])).to(size.dtype)
        total, squares = (above * size).sum(1), (above * size.square()).sum(1)
        curve = weight**2 - self.l1_ratio**2 * above.sum(1)
        root = ((self.l1_ratio * total).square() + squares * curve).clamp_min(0).sqrt()
        return largest(squares / torch.where(squares > 0, self.l1_ratio * total + root, 1))

    def parts(self) -> list[tuple[float | Tensor, Penalty]]:
        share = 1 - self.l1_ratio
        groups = GroupLasso(self.strength * share, dim=self.dim, toward=self.toward)
        return [(1.0, L1(self.strength * self.l1_ratio, toward=self.toward)), (1.0, groups)]

    def _groups(self, w: Tensor) -> tuple[Tensor, float]:
        """Return the norms of the groups, and the factor of their sum."""
        norm, size = group_norms(w, self.dim, type(self).__name__)
        return norm, (1 - self.l1_ratio) * sqrt(size)
