r"""Soft orthogonality: rows that are orthonormal, or columns if there are fewer of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shrinkage.penalties.base import Penalty
from shrinkage.tensors.singular import as_matrix, with_singular_values


@dataclass(frozen=True, eq=False, repr=False)
class Orthogonal(Penalty):
    r"""The squared distance of :math:`W W^T` from the identity; pulls singular values to 1.

    .. math::
        P(W) = \lambda \lVert W W^T - I \rVert_F^2 = \lambda \sum_i (s_i^2 - 1)^2

    :math:`W` is the matrix of the first axis of ``w`` against all others,
    ``(out, in * kh * kw)`` for a convolution, ``(in, out * kh * kw)`` for a transposed one. It is
    transposed if it has more rows than columns, because then only its columns can be orthonormal.
    The sum is over its singular values. Zero is a stationary point and never a minimizer, so no
    strength drops all weights. Prox: closed form, by the one root :math:`t \ge 0` of
    :math:`t - s + 4 \lambda t (t^2 - 1)` that is a minimizer. Where singular values are zero it
    is not unique, and the SVD decides.

    Args:
        strength: :math:`\lambda \ge 0`, number or 0-d tensor, in loss per fourth power of a
            singular value.

    Shape:
        w: at least two axes. value: (). gradient, prox: as w.

    Raises:
        ShrinkageError: The strength is out of range, or a tensor has fewer than two axes.

    Example:
        >>> Orthogonal(0.5).value(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
        tensor(1.5000)

    References:
        Bansal, Chen & Wang (2018), Can We Gain More from Orthogonality Regularizations in
        Training Deep CNNs?, NeurIPS 31.
    """

    convex: ClassVar = False
    smooth: ClassVar = True
    takes_toward: ClassVar = False
    examples: ClassVar = ({"strength": 0.3},)

    def value(self, w: Tensor) -> Tensor:
        return self.strength * _excess(as_matrix(w, type(self).__name__)).square().sum()

    def gradient(self, w: Tensor) -> Tensor:
        matrix = as_matrix(w, type(self).__name__)
        excess = _excess(matrix)
        slope = 4 * (excess @ matrix if len(excess) == len(matrix) else matrix @ excess)
        return self.strength * slope.reshape(w.shape)

    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        pull = 4 * step * self.strength
        return with_singular_values(w, lambda s: _root(s, pull), type(self).__name__)

    def strength_max(self, gradient: Tensor) -> Tensor:
        as_matrix(gradient, type(self).__name__)
        return torch.where(gradient.any(), torch.inf, 0.0)


def _excess(matrix: Tensor) -> Tensor:
    """Return how the products of rows, or of columns if fewer, differ from the identity."""
    rows = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    return rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)


def _root(s: Tensor, pull: float | Tensor) -> Tensor:
    r"""Return the largest root of :math:`p t^3 + (1 - p) t = s`, by the triple-angle formulas.

    For :math:`s > 0` it is the only positive one; for :math:`s = 0` it is 0 as long as 0 is the
    minimizer.
    """
    p = torch.zeros_like(s) + pull
    linear = (1 - p).abs().clamp_min(torch.finfo(s.dtype).eps)
    scale = 2 * (linear / (3 * p)).sqrt()
    triple = 3 * s / (scale * linear)
    rising = torch.sinh(triple.asinh() / 3)
    falling = torch.where(triple < 1, (triple.acos() / 3).cos(), (triple.acosh() / 3).cosh())
    return torch.where(p > 0, scale * torch.where(p < 1, rising, falling), s)
