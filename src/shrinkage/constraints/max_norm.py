r"""Max norm: no group of weights longer than a limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

from torch import Tensor

from shrinkage._tensors import Dim, check_dim, is_number, largest
from shrinkage.constraints._norms import differences, with_norms
from shrinkage.constraints.base import Constraint
from shrinkage.errors import ShrinkageError


@dataclass(frozen=True)
class MaxNorm(Constraint):
    r"""Every group of weights has at most a given norm; longer ones are cut to it.

    .. math:: \lVert w_g \rVert_2 \le c \quad \text{for every group } g

    Convention: ``dim`` numbers the groups, as for :class:`shrinkage.GroupLasso` and in
    ``torch.renorm(w, 2, dim, limit)``; ``dim=0`` limits the incoming weights of each output neuron
    of ``nn.Linear`` and each filter of a convolution. Keras' ``axis`` names what is summed over
    instead, and its kernels have outputs last: there ``MaxNorm(c, axis=0)`` of ``Dense`` and
    ``axis=[0, 1, 2]`` of ``Conv2D`` are ``MaxNorm(c, dim=0)`` here.

    Args:
        limit: :math:`c > 0`, in weights.
        dim: The axes that number the groups.

    Shape:
        w: with the axes ``dim``. project: as w. violation: (), in weights.

    Raises:
        ShrinkageError: The limit is out of range, or a tensor has no axes ``dim``.

    Example:
        >>> import torch
        >>> MaxNorm(1.0).project(torch.tensor([[3.0, 4.0], [0.1, 0.1]]))
        tensor([[0.6000, 0.8000],
                [0.1000, 0.1000]])

    References:
        Srebro, Rennie & Jaakkola (2004), Maximum-Margin Matrix Factorization, NeurIPS 17.
        Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov (2014), Dropout, JMLR 15,
        1929-1958: on the incoming weights of every neuron.
    """

    limit: float
    dim: Dim = field(default=0, kw_only=True)

    convex: ClassVar = True
    examples: ClassVar = ({"limit": 1.0}, {"limit": 0.5, "dim": 1}, {"limit": 2.0, "dim": (0, 1)})

    def __post_init__(self) -> None:
        if not (is_number(self.limit) and 0 < self.limit < inf):
            raise ShrinkageError(f"MaxNorm: limit={self.limit!r} must be a finite number above 0.")
        check_dim(self.dim, "MaxNorm")

    def project(self, w: Tensor) -> Tensor:
        return with_norms(w, self.dim, self._allowed, "MaxNorm")

    def violation(self, w: Tensor) -> Tensor:
        return largest(differences(w, self.dim, self._allowed, "MaxNorm"))

    def _allowed(self, norm: Tensor) -> Tensor:
        return norm.clamp_max(self.limit)
