"""Soft thresholding, of entries and of groups: the building blocks of every exact zero."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError


def soft_threshold(w: Tensor, threshold: float | Tensor) -> Tensor:
    r"""Move every entry towards zero by ``threshold`` and stop there.

    .. math:: \operatorname{sign}(w_i) \max(|w_i| - t, 0)

    Example:
        >>> soft_threshold(torch.tensor([3.0, -0.5]), 1.0)
        tensor([2., -0.])
    """
    return w.sign() * (w.abs() - threshold).clamp_min(0)


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


def group_norms(w: Tensor, dim: int, owner: str) -> tuple[Tensor, float]:
    """Return the norm of every slice along ``dim``, broadcastable to ``w``, and their weight.

    Args:
        w: The tensor.
        dim: Axis whose slices are the groups.
        owner: Name of the penalty, for the message.

    Returns:
        The norms, and the square root of the number of entries in a group.

    Raises:
        ShrinkageError: ``w`` has no axis ``dim``.
    """
    if not -w.dim() <= dim < w.dim():
        raise ShrinkageError(
            f"{owner}: dim={dim} is no axis of a tensor of shape {tuple(w.shape)}; "
            "choose another dim or leave the tensor out with select=."
        )
    size = max(w.numel() // max(w.shape[dim], 1), 1)
    others = [axis for axis in range(w.dim()) if axis != dim % w.dim()]
    norm = torch.linalg.vector_norm(w, dim=others, keepdim=True) if others else w.abs()
    return norm, sqrt(size)


def largest(w: Tensor) -> Tensor:
    """Return the largest absolute entry, 0 of an empty tensor."""
    return w.abs().max() if w.numel() else w.sum()
