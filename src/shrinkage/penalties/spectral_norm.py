r"""Spectral norm: the largest singular value, the most a weight can stretch its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from shrinkage.penalties.base import Penalty
from shrinkage.tensors.singular import rounding, singular_values, with_singular_values


@dataclass(frozen=True, eq=False, repr=False)
class SpectralNorm(Penalty):
    r"""The largest singular value; its prox lowers the largest ones to one level.

    .. math:: P(w) = \lambda \max_i s_i, \qquad w = U \operatorname{diag}(s) V^T

    Convention: the norm itself, not half its square as in the paper. A weight of more than two
    axes is the matrix of its first axis against all others, ``(out, in * kh * kw)`` for a
    convolution; that norm is not the one of the convolution as an operator. A transposed
    convolution has inputs first, so its matrix has inputs in its rows, while
    ``torch.nn.utils.spectral_norm`` takes its outputs. Gradient:
    :math:`u_1 v_1^T`, or its mean over largest values that are equal up to rounding, the
    subgradient of smallest norm.

    Args:
        strength: :math:`\lambda \ge 0`, number or 0-d tensor, in loss per unit of singular value.

    Shape:
        w: at least two axes. value: (). gradient, prox: as w.

    Raises:
        ShrinkageError: The strength is out of range, or a tensor has fewer than two axes.

    Example:
        >>> SpectralNorm(1.0).prox(torch.tensor([[3.0, 0.0], [0.0, 0.5]]), step=1.0)
        tensor([[2.0000, 0.0000],
                [0.0000, 0.5000]])

    References:
        Yoshida & Miyato (2017), Spectral Norm Regularization for Improving the Generalizability
        of Deep Learning, arXiv:1705.10941.
        Parikh & Boyd (2014), Proximal Algorithms, Foundations and Trends in Optimization 1(3),
        127-239: the prox of a norm from the projection onto the ball of its dual.
    """

    convex: ClassVar = True
    smooth: ClassVar = False
    takes_toward: ClassVar = False
    examples: ClassVar = ({"strength": 0.3},)

    def value(self, w: Tensor) -> Tensor:
        s = singular_values(w, type(self).__name__)
        return self.strength * (_shares(s) * s).sum()

    def gradient(self, w: Tensor) -> Tensor:
        return self.strength * with_singular_values(w, _shares, type(self).__name__)

    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        r"""Return :math:`w` less its projection onto the nuclear norm ball of the threshold.

        The projection takes from every singular value what it has above one level, such that
        the threshold is taken in all.
        """
        threshold = step * self.strength

        def lowered(s: Tensor) -> Tensor:
            count = torch.arange(1, s.numel() + 1, dtype=s.dtype, device=s.device)
            levels = (s.cumsum(0) - threshold) / count
            return torch.minimum(s, F.pad(levels, (1, 0)).max())

        return with_singular_values(w, lowered, type(self).__name__)

    def strength_max(self, gradient: Tensor) -> Tensor:
        return singular_values(gradient, type(self).__name__).sum()


def _shares(s: Tensor) -> Tensor:
    """Return the derivative of the value for every singular value: shared by the largest."""
    first = ((s >= s[:1] - rounding(s)) & (s > 0)).to(s.dtype)
    return first / first.sum().clamp_min(1)
