"""What a penalty is: four closed forms on one tensor, and a strength."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from shrinkage.errors import ShrinkageError
from shrinkage.parameters import Selection, selected_parameters, weights

P = TypeVar("P", bound="Penalty")


@dataclass(frozen=True, eq=False, repr=False)
class Penalty(ABC):
    r"""A function of one tensor that is added, with its strength, to the loss.

    A subclass is final: a frozen dataclass with keyword-only shape fields and closed forms for
    the four operations. The strength lives inside because not every penalty is linear in it.

    Args:
        strength: :math:`\lambda \ge 0`, a number or a 0-d tensor, in units of loss per unit of
            :math:`P(w) / \lambda`.

    Attributes:
        convex: Whether the value is convex in the tensor.
        smooth: Whether the gradient exists everywhere; penalties with kinks are coupled through
            their prox by default.
        examples: Keyword sets that tests, gallery and documentation build the penalty from.
    """

    strength: float | Tensor

    convex: ClassVar[bool]
    smooth: ClassVar[bool]
    examples: ClassVar[tuple[dict[str, Any], ...]]

    def __post_init__(self) -> None:
        check_strength(self.strength, type(self).__name__)

    @abstractmethod
    def value(self, w: Tensor) -> Tensor:
        """Return the penalty of ``w``, a 0-d tensor, accumulated in at least float32."""

    @abstractmethod
    def gradient(self, w: Tensor) -> Tensor:
        """Return the gradient at ``w``; at a kink the subgradient of smallest norm."""

    @abstractmethod
    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        r"""Return :math:`\arg\min_u \tfrac12 \lVert u - w \rVert^2 + \text{step} \cdot P(u)`."""

    @abstractmethod
    def strength_max(self, gradient: Tensor) -> Tensor:
        """Return the smallest strength at which zero is a minimizer.

        Args:
            gradient: Gradient of the loss at zero.
        """

    def at(self: P, strength: float | Tensor) -> P:
        """Return a copy with another strength."""
        return replace(self, strength=strength)

    def twins(self) -> dict[str, str]:
        """Return the same penalty in the conventions of other libraries."""
        return {}

    def __call__(self, model: nn.Module, select: Selection = weights) -> Tensor:
        """Return the total penalty of ``model``, ready to be added to a loss.

        Frozen parameters (``requires_grad=False``) are left out.

        Example:
            >>> from shrinkage.penalties import L2
            >>> net = nn.Linear(2, 1)
            >>> loss = net(torch.ones(1, 2)).mean() + L2(1e-3)(net)
        """
        tensors = selected_parameters(model, select).values()
        values = [self.value(tensor) for tensor in tensors if tensor.requires_grad]
        return torch.stack(values).sum() if values else torch.zeros(())

    def __repr__(self) -> str:
        """Return the call that makes this penalty, and its twins elsewhere."""
        shape = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self)[1:]]
        call = ", ".join([_show(self.strength), *shape])
        twins = ", ".join(f"{where} {what}" for where, what in self.twins().items())
        return f"{type(self).__name__}({call})" + (f"  # = {twins}" if twins else "")


def check_strength(strength: float | Tensor, owner: str) -> None:
    """Refuse a strength that is not a finite number >= 0 or a 0-d tensor."""
    if isinstance(strength, Tensor):
        if strength.dim() != 0:
            raise ShrinkageError(
                f"{owner}: strength is a tensor of shape {tuple(strength.shape)}; "
                "give one of shape ()."
            )
        return
    if isinstance(strength, bool) or not isinstance(strength, Real):
        raise ShrinkageError(f"{owner}: strength={strength!r} is not a number; give one >= 0.")
    if not (math.isfinite(strength) and strength >= 0):
        raise ShrinkageError(f"{owner}: strength={strength!r} must be finite and >= 0.")


def accumulated(w: Tensor) -> Tensor:
    """Return ``w`` in a type wide enough to sum in (at least float32)."""
    return w.float() if w.dtype in (torch.float16, torch.bfloat16) else w


def catalogue() -> dict[str, type[Penalty]]:
    """Return the penalties of this package by their command-line name.

    Example:
        >>> sorted(catalogue())
        ['elastic_net', 'group_lasso', 'l1', 'l2', ...]
    """
    ours = (c for c in Penalty.__subclasses__() if c.__module__.startswith("shrinkage.penalties."))
    return {_snake_case(c.__name__): c for c in ours}


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _show(strength: float | Tensor) -> str:
    return f"{strength.item():g}" if isinstance(strength, Tensor) else f"{strength:g}"
