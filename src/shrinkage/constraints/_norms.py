"""Groups of weights brought to another norm."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from shrinkage._tensors import Dim, accumulated, check_real, group_norms


def with_norms(w: Tensor, dim: Dim, wanted: Callable[[Tensor], Tensor], owner: str) -> Tensor:
    """Return ``w`` with every group scaled to the norm ``wanted(norm)``.

    A group that has this norm up to rounding stays as it is, bit for bit.
    """
    check_real(w, owner)
    wide = accumulated(w)
    norm, _ = group_norms(wide, dim, owner)
    scaled = wide * (wanted(norm) / torch.where(norm > 0, norm, 1))
    return torch.where(_differs(norm, wanted(norm), w.dtype), scaled.to(w.dtype), w)


def differences(w: Tensor, dim: Dim, wanted: Callable[[Tensor], Tensor], owner: str) -> Tensor:
    """Return how the norm of every group differs from ``wanted(norm)``, 0 up to rounding."""
    check_real(w, owner)
    norm, _ = group_norms(accumulated(w), dim, owner)
    away = (norm - wanted(norm)).abs()
    return torch.where(_differs(norm, wanted(norm), w.dtype), away, 0)


def _differs(norm: Tensor, wanted: Tensor, dtype: torch.dtype) -> Tensor:
    """Every entry of a scaled group is rounded to ``dtype``, and its norm once more when summed."""
    rounding = torch.finfo(dtype).eps + 8 * torch.finfo(norm.dtype).eps
    return (norm - wanted).abs() > rounding * wanted
