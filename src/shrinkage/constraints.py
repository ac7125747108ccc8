"""Sets that weights have to lie in: what a constraint is, and each of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any, ClassVar

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError
from shrinkage.tensors.norms import (
    Dim,
    accumulated,
    check_dim,
    check_real,
    group_norms,
    is_number,
    largest,
)


@dataclass(frozen=True)
class Constraint(ABC):
    """A set that a tensor has to lie in.

    A subclass is final: a frozen dataclass with closed forms for the two operations. What lies in
    the set up to rounding lies in it, so a projection never moves what it returned.

    Attributes:
        convex: Whether the set is convex.
        examples: Keyword sets that tests and documentation build the constraint from.
    """

    convex: ClassVar[bool]
    examples: ClassVar[tuple[dict[str, Any], ...]]

    @abstractmethod
    def project(self, w: Tensor) -> Tensor:
        """Return the nearest tensor of the set, in the type of ``w``; inside, ``w`` as it is."""

    @abstractmethod
    def violation(self, w: Tensor) -> Tensor:
        """Return how far ``w`` is outside in its worst place, a 0-d tensor, 0 inside."""


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


@dataclass(frozen=True)
class MaxNorm(Constraint):
    r"""Every group of weights has at most a given norm; longer ones are cut to it.

    .. math:: \lVert w_g \rVert_2 \le c \quad \text{for every group } g

    Convention: ``dim`` numbers the groups, as for :class:`shrinkage.GroupLasso` and in
    ``torch.renorm(w, 2, dim, limit)``; ``dim=0`` limits the incoming weights of each output neuron
    of ``nn.Linear`` and each filter of a convolution; a transposed one has inputs first, and its
    filters are ``dim=1``. Keras' ``axis`` names what is summed over instead, and its kernels have
    outputs last: there ``MaxNorm(c, axis=0)`` of ``Dense`` and ``axis=[0, 1, 2]`` of ``Conv2D`` are
    ``MaxNorm(c, dim=0)`` here.

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
