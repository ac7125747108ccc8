r"""Nuclear norm: the sum of singular values, for weights of low rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from shrinkage.penalties.base import Penalty
from shrinkage.tensors.singular import rounding, singular_values, with_singular_values
from shrinkage.tensors.threshold import soft_threshold


@dataclass(frozen=True, eq=False, repr=False)
class NuclearNorm(Penalty):
    r"""The sum of singular values, known as trace norm; its prox lowers the rank.

    .. math:: P(w) = \lambda \sum_i s_i, \qquad w = U \operatorname{diag}(s) V^T

    A weight of more than two axes is the matrix of its first axis against all others: that of a
    convolution, ``(out, in, kh, kw)``, has the shape ``(out, in * kh * kw)`` and a filter in each
    row; that of a transposed one has inputs in its rows. Gradient: :math:`U V^T` over the singular
    values above rounding, the subgradient of smallest norm.

    Args:
        strength: :math:`\lambda \ge 0`, number or 0-d tensor, in loss per unit of singular value.

    Shape:
        w: at least two axes. value: (). gradient, prox: as w.

    Raises:
        ShrinkageError: The strength is out of range, or a tensor has fewer than two axes.

    Example:
        >>> import torch
        >>> NuclearNorm(0.5).prox(torch.tensor([[3.0, 0.0], [0.0, 0.4]]), step=1.0)
        tensor([[2.5000, 0.0000],
                [0.0000, 0.0000]])

    References:
        Fazel, Hindi & Boyd (2001), A Rank Minimization Heuristic with Application to Minimum
        Order System Approximation, American Control Conference, 4734-4739.
        Cai, Candès & Shen (2010), A Singular Value Thresholding Algorithm for Matrix Completion,
        SIAM Journal on Optimization 20(4), 1956-1982.
    """

    convex: ClassVar = True
    smooth: ClassVar = False
    examples: ClassVar = ({"strength": 0.3},)

    def value(self, w: Tensor) -> Tensor:
        s = singular_values(w, type(self).__name__)
        return self.strength * (_shares(s) * s).sum()

    def gradient(self, w: Tensor) -> Tensor:
        return self.strength * with_singular_values(w, _shares, type(self).__name__)

    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        threshold = step * self.strength
        return with_singular_values(w, lambda s: soft_threshold(s, threshold), type(self).__name__)

    def strength_max(self, gradient: Tensor) -> Tensor:
        return singular_values(gradient, type(self).__name__)[:1].sum()


def _shares(s: Tensor) -> Tensor:
    """Return the derivative of the value for every singular value: 1, but 0 of a zero."""
    return (s > rounding(s)).to(s.dtype)
