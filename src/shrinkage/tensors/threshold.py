"""Soft thresholding, of entries and of groups: the building blocks of every exact zero."""

from __future__ import annotations

import torch
from torch import Tensor


def soft_threshold(w: Tensor, threshold: float | Tensor) -> Tensor:
    r"""Move every entry towards zero by ``threshold`` and stop there.

    .. math:: \operatorname{sign}(w_i) \max(|w_i| - t, 0)

    The sign of a zero stays, so that a threshold of 0 leaves every bit as it is.

    Example:
        >>> soft_threshold(torch.tensor([3.0, -0.5]), 1.0)
        tensor([2., -0.])
    """
    return torch.copysign((w.abs() - threshold).clamp_min(0), w)


def block_soft_threshold(w: Tensor, norm: Tensor, threshold: float | Tensor) -> Tensor:
    r"""Scale every group so that its norm falls by ``threshold`` and stops at zero.

    .. math:: \max(1 - t / \lVert w_g \rVert, 0) \, w_g

    Args:
        w: The tensor.
        norm: Norm of the group each entry belongs to, broadcastable to ``w``.
        threshold: :math:`t \ge 0`, a number or broadcastable to ``norm``.
    """
    kept = (norm - threshold).clamp_min(0) / torch.where(norm > 0, norm, 1)
    return w * torch.where(norm > 0, kept, norm >= threshold)
