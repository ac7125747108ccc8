r"""Sum: several penalties on one tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from typing import ClassVar

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError
from shrinkage.penalties.base import Penalty
from shrinkage.penalties.joint import Part, joint_prox, joint_strength_max


@dataclass(frozen=True, eq=False, repr=False)
class Sum(Penalty):
    r"""The sum of several penalties, made by ``+``.

    .. math:: P(w) = \lambda \sum_k P_k(w)

    The strength is a factor of all terms, 1 for the sum as it was added up. Gradient: the sum of
    the terms' gradients. The prox exists where it is exact: for L2 beside one other penalty, for
    terms of one kind, and for L1 and group lassos of nested groups (``dim=(0, 1)`` lies within
    ``dim=0``, entries within both); all else is refused, and can be coupled or put into the loss.

    Args:
        strength: :math:`\lambda \ge 0`, number or 0-d tensor.
        terms: The penalties :math:`P_k`, each with its own strength and reference.

    Shape:
        w: what all terms take. value: (). gradient, prox: as w.

    Raises:
        ShrinkageError: The strength is out of range, or the prox or ``strength_max`` is asked of
            terms for which there is none.

    Example:
        >>> from shrinkage.penalties import L1, L2
        >>> both = L1(0.5) + L2(0.25)
        >>> both.prox(torch.tensor([2.0, 0.3]), step=1.0)
        tensor([1., 0.])
        >>> both.at(2.0)
        (L1(0.5) + L2(0.25)).at(2)
    """

    strength: float | Tensor = 1.0
    terms: tuple[Penalty, ...] = field(kw_only=True)

    takes_toward: ClassVar = False
    examples: ClassVar = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.terms or not all(isinstance(term, Penalty) for term in self.terms):
            raise ShrinkageError(f"Sum: terms={self.terms!r} must be penalties; add them with +.")

    @property
    def convex(self) -> bool:  # type: ignore[override]
        return all(term.convex for term in self.terms)

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        return all(term.smooth for term in self.terms)

    @property
    def absolute(self) -> bool:  # type: ignore[override]
        return all(term.absolute and term.toward is None for term in self.terms)

    def value(self, w: Tensor) -> Tensor:
        return self.strength * torch.stack([term.value(w) for term in self.terms]).sum()

    def gradient(self, w: Tensor) -> Tensor:
        return self.strength * sum((term.gradient(w) for term in self.terms), torch.zeros_like(w))

    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        return joint_prox(self.parts(), w, step)

    def strength_max(self, gradient: Tensor) -> Tensor:
        return joint_strength_max(replace(self, strength=1.0).parts(), gradient)

    def parts(self) -> list[Part]:
        inner = [part for term in self.terms for part in term.parts()]
        return [(self.strength * factor, penalty) for factor, penalty in inner]

    def strengths(self) -> list[float | Tensor]:
        return [self.strength, *(s for term in self.terms for s in term.strengths())]

    def with_strengths(self, strengths: Sequence[float | Tensor]) -> Sum:
        left = iter(strengths[1:])
        own = [[next(left) for _ in term.strengths()] for term in self.terms]
        terms = tuple(term.with_strengths(s) for term, s in zip(self.terms, own, strict=True))
        return replace(self, strength=strengths[0], terms=terms)

    def for_tensor(self, name: str, w: Tensor) -> Sum:
        terms = tuple(term.for_tensor(name, w) for term in self.terms)
        return self if all(map(is_, terms, self.terms)) else replace(self, terms=terms)

    def center(self, w: Tensor) -> Tensor:
        return self.terms[0].center(w)

    def __repr__(self) -> str:
        """Return the sum that makes this penalty."""
        terms = " + ".join(repr(term) for term in self.terms)
        return terms if _is_one(self.strength) else f"({terms}).at({float(self.strength):g})"


def added(*penalties: Penalty) -> Sum:
    """Return the sum of ``penalties``, flat; equal references become one."""
    terms: list[Penalty] = []
    for penalty in penalties:
        terms += (
            penalty.terms if isinstance(penalty, Sum) and _is_one(penalty.strength) else [penalty]
        )
    for k, term in enumerate(terms):
        same = (other.toward for other in terms[:k] if _agree(term.toward, other.toward))
        terms[k] = replace(term, toward=next(same, term.toward))
    return Sum(terms=tuple(terms))


def _is_one(strength: float | Tensor) -> bool:
    return not isinstance(strength, Tensor) and strength == 1


def _agree(one: object, other: object) -> bool:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping) or one.keys() != other.keys():
        return False
    return all(torch.equal(w, other[name]) for name, w in one.items())
