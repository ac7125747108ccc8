r"""Non-negativity: no weight below zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from shrinkage._tensors import check_real, largest
from shrinkage.constraints.base import Constraint


@dataclass(frozen=True)
class NonNegative(Constraint):
    r"""Every weight is zero or above; weights below become zero. Keras' ``NonNeg``.

    .. math:: w_i \ge 0

    Shape:
        w: any. project: as w. violation: (), in weights.

    Example:
        >>> import torch
        >>> NonNegative().project(torch.tensor([2.0, -0.3]))
        tensor([2., 0.])
    """

    convex: ClassVar = True
    examples: ClassVar = ({},)

    def project(self, w: Tensor) -> Tensor:
        check_real(w, "NonNegative")
        return w.clamp_min(0)

    def violation(self, w: Tensor) -> Tensor:
        check_real(w, "NonNegative")
        return largest(w.clamp_max(0))
