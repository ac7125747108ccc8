"""What a constraint is: a set of tensors, and the way back into it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor


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
