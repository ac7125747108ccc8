r"""Unit norm: every group of weights on the sphere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from shrinkage._tensors import Dim, check_dim, largest
from shrinkage.constraints._norms import differences, with_norms
from shrinkage.constraints.base import Constraint


@dataclass(frozen=True)
class UnitNorm(Constraint):
    r"""Every group of weights has norm 1.

    .. math:: \lVert w_g \rVert_2 = 1 \quad \text{for every group } g

    All points of the sphere are equally near to a group of zeros, so it stays zero, with a
    violation of 1. Convention: ``dim`` numbers the groups, see :class:`MaxNorm`.

    Args:
        dim: The axes that number the groups.

    Shape:
        w: with the axes ``dim``. project: as w. violation: (), in weights.

    Raises:
        ShrinkageError: A tensor has no axes ``dim``.

    Example:
        >>> UnitNorm().project(torch.tensor([[3.0, 4.0], [0.0, 0.1]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 1.0000]])
    """

    dim: Dim = field(default=0, kw_only=True)

    convex: ClassVar = False
    examples: ClassVar = ({}, {"dim": 1}, {"dim": (0, 1)})

    def __post_init__(self) -> None:
        check_dim(self.dim, "UnitNorm")

    def project(self, w: Tensor) -> Tensor:
        return with_norms(w, self.dim, lambda norm: (norm > 0).to(norm.dtype), "UnitNorm")

    def violation(self, w: Tensor) -> Tensor:
        return largest(differences(w, self.dim, torch.ones_like, "UnitNorm"))
