"""Singular values of a weight, and the weight again from changed ones.

The matrix of a weight has its first axis in rows and all others, flattened, in columns: output
neurons against inputs for ``nn.Linear``, filters against their entries for a convolution. Weights
that torch stacks, such as the gates of ``nn.LSTM``, are one matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError


def as_matrix(w: Tensor, owner: str) -> Tensor:
    """Return the matrix of ``w``.

    Args:
        w: The weight.
        owner: Name of the penalty, for the message.

    Raises:
        ShrinkageError: ``w`` has fewer than two axes.
    """
    if w.dim() < 2:
        raise ShrinkageError(
            f"{owner}: a tensor of shape {tuple(w.shape)} is not a matrix; leave it out with "
            "select=."
        )
    return w.flatten(1)


def singular_values(w: Tensor, owner: str) -> Tensor:
    """Return the singular values of ``w``, largest first; NaN if ``w`` is not finite."""
    matrix, finite = _finite(as_matrix(w, owner))
    return torch.where(finite, torch.linalg.svdvals(matrix), torch.nan)


def with_singular_values(w: Tensor, change: Callable[[Tensor], Tensor], owner: str) -> Tensor:
    r"""Return :math:`U \operatorname{diag}(f(s)) V^T`, in the shape of ``w``.

    Values that :math:`f` leaves as they are give ``w`` itself, bit for bit.

    Args:
        w: The weight :math:`U \operatorname{diag}(s) V^T`.
        change: The function :math:`f` of all singular values, largest first.
        owner: Name of the penalty, for the message.
    """
    matrix, finite = _finite(as_matrix(w, owner))
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    changed = change(s)
    product = torch.where(finite, (u * changed) @ vh, torch.nan)
    return torch.where((changed == s).all() & finite, w, product.reshape(w.shape))


def rounding(s: Tensor) -> Tensor:
    """Return the difference below which singular values are equal, as they were rounded."""
    return 100 * torch.finfo(s.dtype).eps * s[:1]


def _finite(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the SVD can take: it raises at NaN, for every member when one diverged."""
    finite = matrix.isfinite().all()
    return torch.where(finite, matrix, 0), finite
